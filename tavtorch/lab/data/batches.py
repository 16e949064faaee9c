"""Items become batches, and each item goes to exactly one process.

An item is a dictionary of its `name`, the `inputs` whose keys are an op's parameters, the `truth` where it is known,
and whatever else is kept beside; tensors are batches of one. Or it is its `name` and the `error` for which it could not
be read. A batch is the same with more in it: lists of what is kept, and the `errors` by name.
"""

from collections.abc import Callable, Hashable, Sequence
from itertools import groupby
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader, Dataset

Item = dict[str, Any]
Batch = dict[str, Any]


def loader(
    items: Any,
    place: tuple[int, int],
    *,
    batch_size: int = 1,
    alike: Callable[[int], Hashable] | None = None,
    workers: int = 0,
) -> DataLoader[Any]:
    """One process's items in batches.

    Args:
        items: a dataset with a length.
        place: see `place`.
        batch_size: at most so many items go together.
        alike: items can go together where this gives the same answer to their numbers, e.g. the size of a picture.
        workers: processes that read ahead.
    """
    mine = share(len(items), place)
    groups = [[i] for i in mine]
    if batch_size > 1 and alike:
        kinds = {i: alike(i) for i in mine}
        first = {kind: i for i, kind in reversed(kinds.items())}
        runs = groupby(sorted(mine, key=lambda i: first[kinds[i]]), kinds.get)
        kin = [list(run) for _, run in runs]
        groups = [run[start : start + batch_size] for run in kin for start in range(0, len(run), batch_size)]
    return DataLoader(_Batches(items, groups), batch_size=None, num_workers=workers)


def place(trainer: L.Trainer | None) -> tuple[int, int]:
    """Rank and number of the processes that share a run."""
    return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)


def share(count: int, place: tuple[int, int]) -> range:
    """The numbers of one process's part of `count` items."""
    rank, world = place
    if 0 < count < world:
        raise ValueError(
            f"trainer.devices: {world} processes share {count} items, and some would have none; use at most {count}."
        )
    return range(rank, count, world)


def own_generator(seed: int, i: int) -> torch.Generator:
    """Item `i`'s own random numbers: the same in any order, batch and number of processes."""
    return torch.Generator().manual_seed(int(np.random.default_rng((seed, i)).integers(2**63)))


def together(items: Sequence[Item]) -> Batch:
    """Items of one shape as a batch; those that could not be read are in its `errors` alone."""
    batch: Batch = {"errors": {item["name"]: item["error"] for item in items if "error" in item}}
    good = [item for item in items if "error" not in item]
    for key in good[0] if good else ():
        values = [item[key] for item in good]
        batch[key] = _joined(values) if key in ("inputs", "truth") else values
    return batch


def alone(of: Any, i: int) -> Any:
    """Item `i` of a batch, or of what an op gave for it, as a batch of one. A list has one element an item."""
    if isinstance(of, dict) and "errors" in of:
        return {key: value[i : i + 1] if isinstance(value, list) else alone(value, i) for key, value in of.items()}
    if isinstance(of, list):
        return of[i : i + 1]
    return tree_map(lambda leaf: leaf[i : i + 1] if isinstance(leaf, Tensor) else leaf, of)


def _joined(values: Sequence[Any]) -> Any:
    """Tensors one after the other; numbers such as a sample rate are the same in all items."""
    if isinstance(values[0], dict):
        return {key: _joined([value[key] for value in values]) for key in values[0]}
    return torch.cat(list(values)) if isinstance(values[0], Tensor) else values[0]


class _Batches(Dataset[Batch]):
    """Batch `i` is the items whose numbers are `groups[i]`."""

    def __init__(self, items: Any, groups: Sequence[Sequence[int]]) -> None:
        self.items, self.groups = items, groups

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, i: int) -> Batch:
        return together([self.items[j] for j in self.groups[i]])
