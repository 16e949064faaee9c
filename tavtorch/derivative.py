"""The one place where a solution gets its derivative.

A solver finds a value without recording how; `with_derivative` then attaches the derivative that the optimality
condition implies. It is right in reverse mode and in forward mode, and under `torch.func`: `grad`, `vjp`, `jvp`,
`jacrev`, `jacfwd`, `vmap` of an op, and `vmap` of its derivative. The derivative of a `vmap`, and second derivatives of
iterated ops, are errors that say what to do; never are they wrong numbers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from tavtorch.precision import exact

ONCE = (
    "This op has first derivatives only. For a gradient penalty take finite differences of its gradient along one "
    "direction, or an op in closed form, such as tikhonov with one weight an image."
)


def with_derivative(
    expression: Tensor,
    value: Tensor,
    *,
    pull: Callable[[Tensor], Tensor],
    push: Callable[[Tensor], Tensor] | None = None,
    once: bool = True,
) -> Tensor:
    """Give a solution the derivative that its optimality condition implies.

    Let the solution `u(θ)` satisfy `du = M dE` with an expression `E(θ)` that is cheap to differentiate and a linear
    map `M`. Then

        reverse mode:  dL/dθ = (∂E/∂θ)ᵀ Mᵀ g,        forward mode:  du = M dE.

    Args:
        expression: `E`, of the shape of `value`; only its derivative counts.
        value: `u`.
        pull: `g ↦ Mᵀ g`.
        push: `t ↦ M t`; without one `M` is symmetric.
        once: `pull` and `push` are not differentiable: second derivatives are an error.

    Returns:
        `value`, unchanged to the bit, with that derivative.
    """
    if once and _nests_forward_mode():
        raise RuntimeError(ONCE)
    return _WithDerivative.apply(expression, value, _Map(pull, push or pull, once))


def derivatives_recorded() -> bool:
    """Whether any derivative can be recorded here, in reverse or in forward mode."""
    return torch.is_grad_enabled() or forward_ad._current_level >= 0 or _transformed()


def derivative_wanted(*tensors: Tensor) -> bool:
    """Whether a derivative in one of these is recorded, in reverse or in forward mode."""
    if _transformed():
        return True
    if forward_ad._current_level >= 0 and any(forward_ad.unpack_dual(t).tangent is not None for t in tensors):
        return True
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def holds(condition: Tensor) -> bool:
    """Whether a condition holds everywhere, also in what `vmap` maps over; a GPU is waited for."""
    return bool(unwrapped(condition).all())


def unwrapped(tensor: Tensor) -> Tensor:
    """The numbers beneath the transforms of `torch.func`; what `vmap` maps over is an axis more."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


@contextmanager
def without_derivatives() -> Iterator[None]:
    """No derivative is recorded, in reverse or in forward mode."""
    with torch.no_grad(), forward_ad._set_fwd_grad_enabled(False):
        yield


def _transformed() -> bool:
    """Whether a transform of `torch.func` is at work."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def _nests_forward_mode() -> bool:
    """Whether two transforms of derivatives are at work, one of them in forward mode, as in `torch.func.hessian`."""
    kinds = [level.key() for level in torch._C._functorch.get_interpreter_stack() or []]
    transforms = torch._C._functorch.TransformType
    return transforms.Jvp in kinds and kinds.count(transforms.Jvp) + kinds.count(transforms.Grad) > 1


class _Map(NamedTuple):
    """A linear map and its transpose, see `with_derivative`."""

    pull: Callable[[Tensor], Tensor]
    push: Callable[[Tensor], Tensor]
    once: bool


class _WithDerivative(torch.autograd.Function):
    """`value`, differentiated as `linear` of `expression`: see `with_derivative`."""

    @staticmethod
    def forward(expression: Tensor, value: Tensor, linear: _Map) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, _Map], output: Tensor) -> None:
        ctx.linear = inputs[2]
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        return _applied(ctx.linear.pull, g, *ctx.saved_tensors, once=ctx.linear.once), None, None

    @staticmethod
    def jvp(ctx: Any, t: Tensor, *_: Any) -> Tensor:
        return _applied(ctx.linear.push, t, *ctx.saved_tensors, once=ctx.linear.once)

    @staticmethod
    def vmap(info: Any, dims: Any, expression: Tensor, value: Tensor, linear: _Map) -> tuple[Tensor, int]:
        """The maps hold tensors of this level of `vmap`: they cannot be used outside of it."""
        expression, value = (
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip((expression, value), dims[:2], strict=True)
        )
        return _WithDerivative.apply(expression, value, _Map(_outside, _outside, False)), 0


class _Once(torch.autograd.Function):
    """Zeros like `g` whose derivative is an error: what was computed from `g` and `expression` has none."""

    @staticmethod
    def forward(g: Tensor, expression: Tensor) -> Tensor:
        return torch.zeros_like(g)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        raise RuntimeError(ONCE)

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise RuntimeError(ONCE)

    @staticmethod
    def vmap(info: Any, dims: Any, g: Tensor, expression: Tensor) -> tuple[Tensor, int | None]:
        return _Once.apply(g, expression), dims[0]


def _applied(linear: Callable[[Tensor], Tensor], g: Tensor, expression: Tensor, *, once: bool) -> Tensor:
    if not once:
        return linear(g)
    with without_derivatives(), exact():
        w = linear(g.detach()).detach()
    return w + _Once.apply(g, expression)


def _outside(g: Tensor) -> Tensor:
    raise RuntimeError(
        "vmap: this op has no derivative from outside of a vmap. Map its derivative, vmap(grad(f)), or give the op the "
        "whole batch: its items are independent."
    )
