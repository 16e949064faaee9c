"""Items without end, such as random excerpts, in epochs: to train with, shared out among processes, and to validate."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from tavtorch.lab.data.batches import process_of, share
from tavtorch.lab.data.scored import Scored


class EpochNumbers(Sampler[int]):
    """Numbers of the items of an epoch, `epoch * count + i`; a process gets every `world`-th. None comes twice."""

    def __init__(self, count: int, rank: int = 0, world: int = 1) -> None:
        self.count, self.rank, self.world, self.epoch = count, rank, world, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.world

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.epoch * self.count + self.rank, (self.epoch + 1) * self.count, self.world))


class MadeForTraining(L.LightningDataModule):
    """Items without end to train with, others to validate with, and those of `scored` for `test`.

    Args:
        scored: the items to score.
        batch_size: items per step, the total over all devices.
        per_epoch: items per epoch; an eighth of this number validates it.
    """

    def __init__(self, scored: Scored, *, batch_size: int, per_epoch: int) -> None:
        super().__init__()
        self.scored, self.epochs = scored, {"batch_size": batch_size, "per_epoch": per_epoch}

    @abstractmethod
    def made(self, part: str) -> Dataset[Any]:
        """The items of a part, "train" or "val"."""

    def setup(self, stage: str) -> None:
        if stage in ("fit", "validate"):
            self.train, self.val = self.made("train"), self.made("val")
        else:
            self.scored.setup(stage)

    def train_dataloader(self) -> DataLoader[Any]:
        return training_loader(self.train, process_of(self.trainer), **self.epochs)

    def val_dataloader(self) -> DataLoader[Any]:
        return validation_loader(self.val, process_of(self.trainer), **self.epochs)

    def test_dataloader(self) -> DataLoader[Any]:
        self.scored.trainer = self.trainer
        return self.scored.test_dataloader()


def training_loader(
    items: Dataset[Any], process: tuple[int, int], *, batch_size: int, per_epoch: int, workers: int = 0
) -> DataLoader[Any]:
    """New items in each epoch, in the batches of one process.

    Args:
        items: any number of them, by number.
        process: see `batches.process_of`.
        batch_size: of all processes together.
        per_epoch: items, of which whole batches are taken.
        workers: processes that make items.
    """
    rank, world = process
    if batch_size % world:
        raise ValueError(
            f"data.batch_size: {batch_size} items cannot be shared evenly by {world} devices; "
            f"try {world * max(1, batch_size // world)}."
        )
    numbers = EpochNumbers(whole_batches(per_epoch, batch_size), rank, world)
    return _loader(items, workers, sampler=numbers, batch_size=batch_size // world)


def whole_batches(per_epoch: int, batch_size: int) -> int:
    """How many items an epoch has."""
    return per_epoch // batch_size * batch_size


def validation_loader(
    items: Dataset[Any], process: tuple[int, int], *, batch_size: int, per_epoch: int, workers: int = 0
) -> DataLoader[Any]:
    """The same items each time, an eighth as many as train in an epoch; arguments as of `training_loader`."""
    numbers = share(max(per_epoch // 8, process[1]), process)
    return _loader(Subset(items, numbers), workers, batch_size=batch_size)


def _loader(dataset: Dataset[Any], workers: int, **how: Any) -> DataLoader[Any]:
    pinned = torch.cuda.is_available()
    return DataLoader(dataset, num_workers=workers, persistent_workers=workers > 0, pin_memory=pinned, **how)
