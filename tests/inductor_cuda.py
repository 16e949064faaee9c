"""The CUDA code that inductor writes where there is no GPU: `python inductor_cuda.py` prints what steps are fused to.

For each step a line of JSON: its name, its kernels, and the bytes a pixel that these read and write. It changes what
`torch.cuda` says of this machine, and how inductor asks: a process of its own.
"""

import json
import re
from types import SimpleNamespace

import torch
import torch._dynamo.device_interface as interfaces
import triton
from torch import Tensor
from torch._functorch.compile_utils import fx_graph_cse
from torch._inductor import config
from torch._inductor.debug import DebugContext
from torch._inductor.decomposition import select_decomp_table
from torch._inductor.fx_passes import joint_graph, post_grad
from torch._inductor.graph import GraphLowering
from torch._inductor.virtualized import V
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves, tree_map
from triton.backends.compiler import GPUTarget

from tavtorch.image.fields import Projection, reflect, relax
from tavtorch.image.restoration.primal_dual import Problem, _step

SIDE = 512
H100 = SimpleNamespace(
    name="NVIDIA H100 80GB HBM3", major=9, minor=0, multi_processor_count=132, total_memory=80 * 2**30, warp_size=32,
    regs_per_multiprocessor=65536, max_threads_per_multi_processor=2048, max_threads_per_block=1024, gcnArchName="",
    L2_cache_size=50 * 2**20, shared_memory_per_block=49152, shared_memory_per_block_optin=232448, is_integrated=0,
    shared_memory_per_multiprocessor=233472, is_multi_gpu_board=0, clock_rate=1980000, memory_clock_rate=2619000,
    memory_bus_width=5120,
)  # fmt: skip


class Driver:
    """What Triton asks of a driver."""

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_active_torch_device(self):
        return torch.device("cuda", 0)

    def get_device_interface(self):
        return torch.cuda

    def get_current_stream(self, device):
        return 0

    @staticmethod
    def is_active():
        return True


def pretend_a_card() -> None:
    cuda, interface = torch.cuda, interfaces.CudaInterface
    cuda.is_available, cuda.device_count, cuda.current_device = (lambda: True), (lambda: 1), (lambda: 0)
    cuda.get_device_properties, cuda.get_device_capability = (lambda device=None: H100), (lambda device=None: (9, 0))
    cuda.get_device_name = lambda device=None: H100.name
    cuda.synchronize = cuda._lazy_init = lambda *_: None
    interface.is_available = interface.is_triton_capable = staticmethod(lambda *_, **__: True)
    interface.get_compute_capability = staticmethod(lambda device=None: 90)
    interface.get_device_properties = interface.Worker.get_device_properties = staticmethod(lambda device=None: H100)
    interface.current_device = interface.Worker.current_device = staticmethod(lambda: 0)
    interface.raise_if_triton_unavailable = staticmethod(lambda *_, **__: None)
    triton.runtime.driver.set_active(Driver())
    config.joint_graph_constant_folding = False  # it computes on the device
    joint_graph.lazy_init = lambda *_, **__: None  # patterns of attention ask the driver


def generated(function, arguments) -> str:
    """The Python that inductor writes for a function of tensors: kernels in Triton and the calls of them."""
    fake = FakeTensorMode()

    def on_card(value):
        if isinstance(value, Tensor):
            return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="cuda")
        return value

    with fake, torch.no_grad():  # traced on the CPU: Python's indexing asks the driver for the device
        graph = make_fx(function, decomposition_table=select_decomp_table())(*arguments("cpu"))
        for node in graph.graph.nodes:
            if "device" in node.kwargs:
                node.kwargs = {**node.kwargs, "device": torch.device("cuda", 0)}
            if "val" in node.meta:
                node.meta["val"] = tree_map(on_card, node.meta["val"])
            node.meta.pop("tensor_meta", None)
        graph.recompile()
        inputs = arguments("cuda")
    graph = torch.fx.GraphModule(graph, fx_graph_cse(graph.graph))
    with fake, V.set_fake_mode(fake), torch.no_grad(), V.set_debug_handler(DebugContext()):
        joint_graph.joint_graph_passes(graph)
        post_grad.post_grad_passes(graph, is_inference=True)
        lowered = GraphLowering(graph, example_inputs=inputs, is_inference=True)
        with V.set_graph_handler(lowered):
            lowered.run(*inputs)
            code = lowered.codegen()[0]
    return getattr(code, "value", code)


def traffic(code: str) -> tuple[int, int]:
    """How many kernels there are, and the bytes a pixel and channel that they read and write, all in float32.

    What a kernel reads at several places counts once: a GPU's caches hold a neighbour.
    """
    kernels = re.findall(r"async_compile\.triton\('\w+', '''(.*?)'''", code, re.DOTALL)
    images = 0
    for kernel in kernels:
        accesses = re.findall(r"tl\.(load|store)\((\w+) \+ \((.*)", kernel)
        images += len({(kind, name) for kind, name, place in accesses if re.search(r"\bx\d", place)})
    return len(kernels), 4 * images


def images_and_numbers(channels: int, images: int, numbers: int):
    """So many images, then so many tensors of one number."""
    sides = [(1, channels, SIDE, SIDE)] * images + [(1, 1, 1, 1)] * numbers
    return lambda device: [torch.empty(side, device=device) for side in sides]


def rof_step(f, u, x, y, weight, low, high, first, last, sigma):
    problem = Problem(f, weight, 1.0, low, high, first, last, "joint")
    return tree_leaves(_step.__wrapped__(problem, u, (x, y), sigma))


def before_the_picture(x, y, radius):
    return tree_leaves(reflect.__wrapped__((x, y), Projection(radius, "joint")))


def after_the_picture(x, y, u):
    return list(relax.__wrapped__((x, y), u))


if __name__ == "__main__":
    pretend_a_card()
    for name, step, arguments in (
        ("rof", rof_step, images_and_numbers(1, 4, 6)),
        ("rof in colour", rof_step, images_and_numbers(3, 4, 6)),
        ("reflect", before_the_picture, images_and_numbers(1, 2, 1)),
        ("relax", after_the_picture, images_and_numbers(1, 3, 0)),
    ):
        kernels, size = traffic(generated(step, arguments))
        print(json.dumps({"step": name, "kernels": kernels, "bytes": size}))
