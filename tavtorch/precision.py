"""Results that do not depend on settings: products and convolutions as precise as what goes into them.

CUDA rounds what goes into a convolution to 10 bits of mantissa (TF32) unless it is told not to, and inside of autocast
products are taken in half precision. A network can live with that; a hash, a choice of the nearest patch or a
certificate cannot.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from operator import attrgetter

import torch

BACKENDS = attrgetter("cuda.matmul", "cudnn.conv", "mkldnn.matmul", "mkldnn.conv")(torch.backends)
"""What has a precision of its own."""


@contextmanager
def exact() -> Iterator[None]:
    """Neither autocast nor TF32; what was set before comes back. Also a decorator, `@exact()`."""
    before = [backend.fp32_precision for backend in BACKENDS]
    accelerator = torch.accelerator.current_accelerator()
    kinds = {"cpu", accelerator.type if accelerator else "cpu"}
    try:
        for backend in BACKENDS:
            backend.fp32_precision = "ieee"
        with ExitStack() as stack:
            for kind in kinds:
                stack.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        for backend, precision in zip(BACKENDS, before, strict=True):
            backend.fp32_precision = precision
