"""A GPU that is none: tensors on a device `pretended:0` whose numbers lie on the CPU.

It refuses what CUDA refuses: tensors of two devices in one operation, the CPU's generator for its own tensors,
`numpy()`. It rounds as CUDA does where TF32 is allowed. And it counts what costs time there: kernels that are launched,
and waits of the host for the device; and what its memory would hold at most. So tests find a copy from the host or a
wait in a loop where there is no card; what they cannot find is how long anything takes.

    with pretended_gpu() as device:
        ...
        ACCOUNT.launches, ACCOUNT.waits, ACCOUNT.peak

PyTorch calls it the Python backend of `PrivateUse1`.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

NAME = "pretended"
TAKES_MORE = {"constant_pad_nd": 2, "_fft_c2r": 2, "sort": 6, "topk": 6, "argsort": 6, "_unique2": 8, "median": 2}
TAKES_MORE |= {"nonzero": 3, "convolution": 2, "convolution_backward": 4, "repeat_interleave": 3, "linalg_inv_ex": 4}
TAKES_MORE |= {"_linalg_eigh": 20, "_embedding_bag": 2, "index_put_": 2, "bincount": 3, "native_group_norm": 3}
"""Kernels of an operation, where it has not one."""
VIEWS = {"detach", "alias", "view", "_unsafe_view", "t", "transpose", "permute", "slice", "select", "unsqueeze"}
VIEWS |= {"squeeze", "expand", "as_strided", "unbind", "split", "split_with_sizes", "chunk", "unfold", "narrow", "real"}
VIEWS |= {"view_as_real", "view_as_complex", "_reshape_alias", "imag", "diagonal", "lift_fresh", "movedim", "_conj"}
VIEWS |= {"resolve_conj", "resolve_neg", "_neg_view"}
FREE = VIEWS | {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "_local_scalar_dense"}
FREE |= {"is_same_size", "_fused_sdp_choice"}
"""Operations that launch nothing."""
WAITING = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount", "equal", "item"}
WAITING |= {"linalg_inv_ex", "_linalg_eigh", "linalg_cholesky_ex", "_linalg_solve_ex", "_linalg_svd", "is_nonzero"}
WAITING |= {"histc", "tolist", "_local_scalar_dense"}
"""Operations whose result, or its shape, the host must know."""
COPIES = {"to", "cpu", "_to_copy", "copy_", "_copy_from", "copy"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
SCALARS_FROM_CPU = {"where", "index_fill", "masked_fill", "masked_fill_", "fill_", "index_put_", "lerp"}
PRODUCTS = {"mm", "bmm", "addmm", "baddbmm"}


class Account:
    """What has been asked of the device."""

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()
        self.held: Counter[int] = Counter()
        """How many tensors lie in each piece of memory, by its address."""
        self.bytes = self.peak = 0

    def clear(self) -> None:
        self.waits.clear()
        self.launches.clear()
        self.peak = self.bytes

    def hold(self, address: int, size: int) -> None:
        self.bytes += size * (self.held[address] == 0)
        self.held[address] += 1
        self.peak = max(self.peak, self.bytes)

    def release(self, address: int, size: int) -> None:
        self.held[address] -= 1
        self.bytes -= size * (self.held[address] == 0)


ACCOUNT = Account()


class Pretended(Tensor):
    """A tensor that says it lies on the device; `raw` is where it lies."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw):
        strides, offset = raw.stride(), raw.storage_offset()
        return Tensor._make_wrapper_subclass(
            cls, raw.shape, strides=strides, storage_offset=offset, dtype=raw.dtype, device=torch.device(NAME, 0)
        )

    def __init__(self, raw):
        self.raw = raw
        memory = raw.untyped_storage()
        place = memory.data_ptr(), memory.nbytes()
        ACCOUNT.hold(*place)
        weakref.finalize(self, ACCOUNT.release, *place)

    def __repr__(self):
        return f"Pretended({self.raw})"

    def __reduce_ex__(self, protocol):
        return self.raw.__reduce_ex__(protocol)  # as what `map_location="cpu"` gives

    def __deepcopy__(self, memo):
        with torch.no_grad():
            return wrapped(self.raw.clone()).requires_grad_(self.requires_grad)

    def tolist(self):
        ACCOUNT.waits["tolist"] += 1
        return self.raw.tolist()

    def numpy(self, **_):
        raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy. Use Tensor.cpu() to copy it first.")

    def __array__(self, *_):
        return self.numpy()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def wrapped(x):
    return Pretended(x) if isinstance(x, Tensor) and not isinstance(x, Pretended) else x


def raw(x):
    return x.raw if isinstance(x, Pretended) else x


def leaves(x) -> Iterator:
    """What lies in the lists and tuples of arguments; `torch.utils._pytree` would take half of the time."""
    if isinstance(x, list | tuple):
        for part in x:
            yield from leaves(part)
    else:
        yield x


def mapped(f, x):
    """`f` of each of `leaves`, and these where they were."""
    return type(x)(mapped(f, part) for part in x) if type(x) in (list, tuple) else f(x)


def tensors_of(args, kwargs) -> list[Tensor]:
    return [x for x in (*leaves(args), *leaves((*kwargs.values(),))) if isinstance(x, Tensor)]


class Schema(NamedTuple):
    """What is asked of an operation each time it runs."""

    name: str
    changes_shape: bool
    writes: tuple[int, ...]
    """The arguments that are written to, and returned; none if it returns something else."""
    returns: int
    pointwise: bool


@cache
def schema_of(func) -> Schema:
    schema = func._schema
    written = [i for i, a in enumerate(schema.arguments) if a.alias_info is not None and a.alias_info.is_write]
    own = schema.is_mutable and all(r.alias_info is not None for r in schema.returns)
    return Schema(
        schema.name.split("::")[1],
        torch.Tag.inplace_view in func.tags,
        tuple(written) if own else (),
        len(schema.returns),
        torch.Tag.pointwise in func.tags,
    )


def is_pretended(device) -> bool:
    return device is not None and torch.device(device).type == NAME


LAZY = {torch.ops.aten._conj.default: torch.ops.aten.conj_physical.default}
LAZY |= {torch.ops.aten._neg_view.default: torch.ops.aten.neg.default}
"""Below the wrapper nobody resolves a lazy bit: what is lazy elsewhere is done at once."""


def run(func, args, kwargs):
    """One operation: refused, counted, and done on the CPU."""
    func = LAZY.get(func, func)
    name = schema_of(func).name
    tensors = tensors_of(args, kwargs)
    ours = [x for x in tensors if isinstance(x, Pretended)]
    theirs = [x for x in tensors if not isinstance(x, Pretended)]
    target = kwargs.get("device")
    if name == "to" and target is None and len(args) > 1 and isinstance(args[1], torch.device):
        target = args[1]  # in inference mode composite operations come whole
    here = is_pretended(target) or (target is None and bool(ours))

    refuse_generator(func, args, kwargs, here)
    if name in COPIES:
        if (ours and theirs) or (target is not None and is_pretended(target) != bool(ours)):
            inwards = here and not isinstance(args[0], Pretended)
            ACCOUNT.waits["copy to the device" if inwards else "copy to the host"] += 1
    elif ours and theirs:
        refuse_mixture(func, name, args, theirs)
    if ours and (name in WAITING or (name in INDEXING and has_mask(args[1]))):
        ACCOUNT.waits[name] += 1
    if (ours or here) and name not in FREE:
        ACCOUNT.launches[name] += TAKES_MORE.get(name, 1)

    if schema_of(func).changes_shape:
        with no_dispatch():
            func(*args, **kwargs)
        func(*mapped(raw, args), **kwargs)
        return args[0]
    named = {key: mapped(raw, x) for key, x in kwargs.items()}
    out = computed(func, name, mapped(raw, args), named, device=target)
    if not here or name in {"_local_scalar_dense", "equal"}:
        return out
    return given_back(func, args, kwargs, out, aliases=bool(ours))


def has_mask(index) -> bool:
    return any(isinstance(x, Tensor) and x.dtype == torch.bool for x in leaves(index))


def refuse_generator(func, args, kwargs, here) -> None:
    generator = kwargs.get("generator") or next((x for x in args if isinstance(x, torch.Generator)), None)
    if generator is not None and here != (generator._cdata in GENERATORS):
        wanted, got = (NAME, "cpu") if here else ("cpu", NAME)
        raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{got}' ({func})")


def refuse_mixture(func, name, args, theirs) -> None:
    """As CUDA does: a CPU tensor may index, or be a number among the arguments of an elementwise operation."""
    if name in INDEXING and isinstance(args[0], Pretended):
        ACCOUNT.waits["copy of an index to the device"] += 1
        return
    number_allowed = schema_of(func).pointwise or name in SCALARS_FROM_CPU
    if any(x.dim() > 0 or not number_allowed for x in theirs):
        shapes = [tuple(x.shape) for x in theirs]
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and cpu! "
            f"({func}, {shapes})"
        )


def computed(func, name, args, kwargs, device):
    """On the CPU, with what goes into products rounded where CUDA would."""
    if is_pretended(device):
        kwargs = kwargs | {"device": torch.device("cpu")}
    if "pin_memory" in kwargs:
        kwargs["pin_memory"] = False
    backends = torch.backends
    if name == "convolution" and backends.cudnn.conv.fp32_precision == "tf32":
        args = (tf32(args[0]), tf32(args[1]), *args[2:])
    if name in PRODUCTS and backends.cuda.matmul.fp32_precision == "tf32":
        args = (*args[:-2], tf32(args[-2]), tf32(args[-1]))
    return ON_DEVICE[name](*args) if name in ON_DEVICE else func(*args, **kwargs)


def tf32(x: Tensor) -> Tensor:
    """Rounded to 10 bits of mantissa, to nearest, ties away from zero."""
    if x.dtype != torch.float32:
        return x
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def given_back(func, args, kwargs, out, *, aliases):
    """What the caller gets: its own tensor where it was written to, else a new one."""
    name, _, writes, returns, _ = schema_of(func)
    if writes:
        names = [argument.name for argument in func._schema.arguments]
        got = [kwargs[names[i]] if names[i] in kwargs else args[i] for i in writes]
        return None if not returns else got[0] if len(got) == 1 else tuple(got)
    out = mapped(wrapped, out)
    return return_and_correct_aliasing(func, args, kwargs, out) if name in VIEWS and aliases else out


def gru_cell(inputs, hidden, hx, input_bias=None, hidden_bias=None):
    inputs = inputs if input_bias is None else inputs + input_bias
    hidden = hidden if hidden_bias is None else hidden + hidden_bias
    (ir, iz, i), (hr, hz, h) = inputs.chunk(3, 1), hidden.chunk(3, 1)
    r, z = (ir + hr).sigmoid(), (iz + hz).sigmoid()
    n = (i + r * h).tanh()
    return n + z * (hx - n), torch.cat((r, z, n, hx, h), 1)


def gru_cell_backward(g, workspace, has_bias):
    r, z, n, hx, h = workspace.chunk(5, 1)
    dz, dn = g * (hx - n) * z * (1 - z), g * (1 - z) * (1 - n * n)
    dr = dn * h * r * (1 - r)
    inputs, hidden = torch.cat((dr, dz, dn), 1), torch.cat((dr, dz, dn * r), 1)
    return inputs, hidden, g * z, *((inputs.sum(0), hidden.sum(0)) if has_bias else (None, None))


ON_DEVICE = {"_thnn_fused_gru_cell": gru_cell, "_thnn_fused_gru_cell_backward": gru_cell_backward}
"""What a GPU has and the CPU has not."""
GENERATORS: "dict[int, PretendedGenerator]" = {}
"""The device's generators by their addresses, by which alone C++ knows them; kept, so that no address comes again."""


class PretendedGenerator(torch._C.Generator):
    def __new__(cls):
        return super().__new__(cls, "cpu")

    def __init__(self):
        GENERATORS[self._cdata] = self

    @property
    def device(self):
        return torch.device(NAME, 0)

    def manual_seed(self, seed):
        super().manual_seed(seed)
        return self


class GeneratorMeta(type):
    """`torch.Generator(device)` of either kind."""

    real = torch.Generator

    def __instancecheck__(cls, x):
        return isinstance(x, cls.real)

    def __call__(cls, device="cpu"):
        return PretendedGenerator() if is_pretended(device) else cls.real(device)


class AnyGenerator(metaclass=GeneratorMeta):
    pass


class Mode(TorchDispatchMode):
    """So that what makes a tensor on the device comes here too."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        concerned = is_pretended(kwargs.get("device")) or "generator" in kwargs
        if concerned or any(isinstance(x, Pretended) for x in tensors_of(args, kwargs)):
            return run(func, args, kwargs)
        return func(*args, **kwargs)


class Backend(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self):
        return [torch.bfloat16, torch.float16]

    def synchronize(self, device=None):
        pass

    def get_rng_state(self, device=None):
        return torch.get_rng_state()

    def set_rng_state(self, state, device=None):
        pass


LIBRARY: list[torch.library.Library] = []


def register() -> None:
    """Once a process, before the package is imported."""
    if LIBRARY:
        return
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Backend())
    lib = torch.library.Library("aten", "IMPL")
    LIBRARY.append(lib)

    def copy_from(self, target, non_blocking=False):  # torch.tensor(..., device=...) calls this without a dispatch
        if isinstance(self, Pretended) != isinstance(target, Pretended):
            ACCOUNT.waits["copy to the device" if isinstance(target, Pretended) else "copy to the host"] += 1
        with torch.no_grad():
            raw(target).copy_(raw(self))
        return target

    lib.impl("_copy_from", copy_from, "PrivateUse1")
    for full in torch._C._dispatch_get_all_op_names():
        if full.startswith("aten::"):
            implement_factory(lib, full)
    torch.Generator = AnyGenerator


def implement_factory(lib, full: str) -> None:
    """An operation that makes a tensor from none, such as `torch.zeros`."""
    base, _, overload = full[6:].partition(".")
    try:
        op = getattr(getattr(torch.ops.aten, base), overload or "default")
    except (AttributeError, RuntimeError):
        return
    arguments = op._schema.arguments
    if not any(a.name == "device" for a in arguments) or any("Tensor" in str(a.type) for a in arguments):
        return
    if torch._C._dispatch_has_kernel_for_dispatch_key(full, "CompositeImplicitAutograd"):
        return

    def kernel(*args, **kwargs):
        return run(op, args, {**kwargs, "device": torch.device(NAME, 0)})

    with suppress(RuntimeError):  # where it is implemented already
        lib.impl(full[6:], kernel, "PrivateUse1")


class Cost(NamedTuple):
    launches: int
    waits: int
    memory: int
    """Bytes at the peak, beside what was held before."""


def cost(op: Callable[[Tensor], object], x: Tensor) -> Cost:
    """Of a call, where what is made once is made."""
    op(x)
    ACCOUNT.clear()
    held = ACCOUNT.bytes
    op(x)
    return Cost(ACCOUNT.launches.total(), ACCOUNT.waits.total(), ACCOUNT.peak - held)


@contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """The device, with its account cleared."""
    register()
    ACCOUNT.clear()
    with Mode():
        yield torch.device(NAME, 0)
