"""Tensors that are made once and kept for all callers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack


@contextmanager
def constants() -> Iterator[None]:
    """What is made here are plain tensors, whatever transform of `torch.func` or mode the first caller is in."""
    with torch.inference_mode(False), torch.no_grad(), temporarily_clear_interpreter_stack():
        yield
