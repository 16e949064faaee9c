"""Steps that need no new memory: results take the place of what is no longer needed.

Nearly half of an eager step of total variation goes into fetching memory, which pushes old numbers out of the cache.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tavtorch.derivative import derivatives_recorded


def overwritable() -> bool:
    """Whether tensors made here may be written over: no derivative and no transform of `torch.func` keeps them, and
    neither a compiler nor `make_fx` looks on, which reuse memory by themselves and fuse best what does not."""
    return not (torch.compiler.is_compiling() or derivatives_recorded() or _traced())


def into(place: Tensor, function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """`function(*args, **kwargs)`, which has the shape and type of `place`, in the memory of `place` where that may be.

    Args:
        place: not needed any more, unless it is one of the arguments.
        function: of elements, with an argument `out`.

    >>> a = torch.ones(3)
    >>> with torch.no_grad():
    ...     b = into(a, torch.add, a, 1)
    >>> b is a, b.tolist()
    (True, [2.0, 2.0, 2.0])
    """
    return function(*args, **kwargs, out=place) if overwritable() else function(*args, **kwargs)


def _traced() -> bool:
    """Whether `make_fx` records what is computed."""
    return torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None
