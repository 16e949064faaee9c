"""What goes from the data to an op: items, the batches made of them, and which process gets which item.

Item: `{name, inputs: {parameter of the op: value}, truth?, …}`, or `{name, error}` if it could not be read. Its tensors
have a batch dimension of size 1. Batch: the same keys, with the tensors of `inputs` and `truth` concatenated, every
other key as a list with one element per item, and `errors: {name: message}` for the items that could not be read.
"""

import hashlib
from collections.abc import Hashable, Sequence
from itertools import groupby
from typing import Any, Protocol, Required, TypedDict, cast, runtime_checkable

import lightning as L
import torch
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader, Dataset

from tavtorch.lab.data.results import Source


class Item(TypedDict, total=False):
    """One picture, recording or clip; see the docstring of this module."""

    name: Required[str]
    """Unique in its dataset: results are written under it, and its random numbers are drawn from it."""
    inputs: dict[str, Any]
    """The arguments of the op, by the names of its parameters."""
    truth: Any
    """A tensor, or tensors by name, to compare the result with."""
    error: str
    """Why the item could not be read; such an item has only this and its name."""
    file: dict[str, Any]
    """Suffix, transparency and bit depth of a picture's file, for the file of its result."""
    sources: list[Source]
    """The files that a file's result is made of."""
    condition: str
    """Of a clip: the name of what happened to it on its way."""
    song: str
    """Of a clip: the song that it was cut from, empty if the library does not have it."""


class Batch(TypedDict, total=False):
    """Several items; see the docstring of this module."""

    errors: Required[dict[str, str]]
    name: list[str]
    inputs: dict[str, Any]
    truth: Any
    file: list[dict[str, Any]]
    sources: list[list[Source]]
    condition: list[str]
    song: list[str]


@runtime_checkable
class Items(Protocol):
    """A dataset: what `loader` reads."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> Item: ...

    def batch_key(self, i: int) -> Hashable:
        """Items with equal keys fit into one batch, e.g. pictures of one size. It must be cheap to find."""
        ...


def loader(items: Items, process: tuple[int, int], *, batch_size: int = 1, workers: int = 0) -> DataLoader[Any]:
    """The items of one process, in batches of items with equal `batch_key`.

    Args:
        items: the dataset.
        process: rank of this process and number of processes; see `taker_of`.
        batch_size: largest number of items in a batch.
        workers: processes that read ahead.
    """
    mine = share(len(items), process)
    groups = [[i] for i in mine]
    if batch_size > 1:
        keys = {i: items.batch_key(i) for i in mine}
        first = {key: i for i, key in reversed(keys.items())}
        same = [list(run) for _, run in groupby(sorted(mine, key=lambda i: first[keys[i]]), keys.get)]
        groups = [run[start : start + batch_size] for run in same for start in range(0, len(run), batch_size)]
    if not groups and len(items):  # a batch without items, for Lightning leaves out a process without batches
        groups = [[]]
    pinned = torch.cuda.is_available()
    return DataLoader(_Batches(items, groups), batch_size=None, num_workers=workers, pin_memory=pinned)


def process_of(trainer: L.Trainer | None) -> tuple[int, int]:
    """Rank of this process and number of processes in a run."""
    return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)


def taker_of(trainer: L.Trainer | None) -> tuple[int, int]:
    """As `process_of`, for which items a process takes: `(0, 1)` in each where all take every item, see `Task`."""
    is_joint = trainer is not None and getattr(trainer.lightning_module, "library", None) is not None
    return (0, 1) if is_joint else process_of(trainer)


def share(count: int, process: tuple[int, int]) -> range:
    """The numbers of the items that one process gets, of `count` items: none if there are more processes than items."""
    rank, world = process
    return range(rank, count, world)


def item_generator(seed: int, name: str) -> torch.Generator:
    """The random numbers of an item: they depend on its name only, not on its place, its batch or its process."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def collate(items: Sequence[Item]) -> Batch:
    """Items as a batch.

    Floats of `inputs` that differ between the items become a tensor `(b,)`, such as a noise level for each picture; any
    other value must be the same in all items.
    """
    good = [cast(dict[str, Any], item) for item in items if "error" not in item]
    batch: dict[str, Any] = {"errors": {item["name"]: item["error"] for item in items if "error" in item}}
    for key in good[0] if good else ():
        values = [item[key] for item in good]
        batch[key] = _joined(values, key) if key in ("inputs", "truth") else values
    return cast(Batch, batch)


def select(batch: Any, i: int) -> Any:
    """Item `i` of a batch, or of the output of an op for it, as a batch of one item."""
    if isinstance(batch, dict) and "errors" in batch:
        return {
            key: {} if key == "errors" else value[i : i + 1] if isinstance(value, list) else select(value, i)
            for key, value in batch.items()
        }
    if isinstance(batch, list):
        return batch[i : i + 1]
    return tree_map(lambda leaf: leaf[i : i + 1] if isinstance(leaf, Tensor) else leaf, batch)


def keep(batch: Batch, kept: list[int]) -> None:
    """Remove all other items from a batch, in place."""
    for key, value in cast(dict[str, Any], batch).items():
        if isinstance(value, list):
            batch[key] = [value[i] for i in kept]  # type: ignore[literal-required]
        elif key != "errors":
            batch[key] = tree_map(lambda leaf: leaf[kept] if isinstance(leaf, Tensor) else leaf, value)  # type: ignore[literal-required]


def concatenate(outputs: Sequence[Any]) -> Any:
    """The outputs of an op for single items as its output for all of them: the inverse of `select`."""
    if len(outputs) == 1:  # not copied: it may be of a long recording
        return outputs[0]
    if isinstance(outputs[0], list):
        return [value for output in outputs for value in output]
    return tree_map(lambda *leaves: torch.cat(leaves) if isinstance(leaves[0], Tensor) else leaves[0], *outputs)


def _joined(values: Sequence[Any], key: str) -> Any:
    """One value for a batch from the values of its items; `key` is the path of the value, for messages."""
    first = values[0]
    if isinstance(first, dict):
        if any(value.keys() != first.keys() for value in values):
            raise ValueError(f"{key}: the items of a batch have different keys; load them with data.batch_size=1.")
        return {name: _joined([value[name] for value in values], f"{key}.{name}") for name in first}
    if isinstance(first, Tensor):
        if len(shapes := {tuple(value.shape[1:]) for value in values}) > 1:
            raise ValueError(f"{key}: the items of a batch have different shapes {sorted(shapes)}; see `batch_key`.")
        return torch.cat(list(values)) if len(values) > 1 else first
    if all(value == first for value in values):
        return first
    if any(isinstance(value, float) for value in values) and all(type(value) in (int, float) for value in values):
        return torch.tensor(values)
    raise ValueError(
        f"{key}: expected one value for all items of a batch, got {', '.join(map(repr, values))}; "
        "bring the items to one value, or load them with data.batch_size=1."
    )


class _Batches(Dataset[Batch]):
    """Batch `i` has the items whose numbers are `groups[i]`."""

    def __init__(self, items: Items, groups: Sequence[Sequence[int]]) -> None:
        self.items, self.groups = items, groups

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, i: int) -> Batch:
        return collate([self.items[j] for j in self.groups[i]])
