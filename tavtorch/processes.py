"""What the processes of a run of torch.distributed tell one another, and what cores they have."""

import os
from datetime import timedelta
from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def from_all_processes(mine: Any) -> list[Any]:
    """What each process of the run has, on each of them, in the order of their ranks; alone `[mine]`."""
    if not (dist.is_available() and dist.is_initialized()):
        return [mine]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, mine, group=_hosts(dist.group.WORLD))
    return parts


def gathered(mine: Tensor) -> Tensor:
    """The tensors of all processes, of one shape and type, stacked: `(processes, ...)`, in the order of their ranks."""
    parts = [torch.empty(mine.shape, dtype=mine.dtype) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, mine.contiguous().cpu(), group=_hosts(dist.group.WORLD))
    return torch.stack(parts).to(mine.device)


@lru_cache(maxsize=1)
def _hosts(world: Any) -> Any:
    """The processes of a run, to talk without their GPUs, which the others may have work for."""
    return dist.new_group(backend="gloo", timeout=timedelta(days=1))
