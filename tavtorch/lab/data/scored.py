"""The data module of everything that is scored and not trained on."""

from collections.abc import Callable
from typing import Any

import lightning as L
from torch.utils.data import DataLoader

from tavtorch.lab.data.batches import Items, loader, taker_of


class Scored(L.LightningDataModule):
    """Items with a truth.

    Args:
        dataset: makes them when a test begins: a dataset of items with `__len__`, `__getitem__` and `batch_key`.
        batch_size: largest number of items, with equal `batch_key`, that go through the op together.
    """

    def __init__(self, dataset: Callable[[], Items], *, batch_size: int = 1) -> None:
        super().__init__()
        self.dataset, self.batch_size = dataset, batch_size

    def setup(self, stage: str) -> None:
        if stage != "test":
            raise ValueError(
                "data: these items are for scoring; run=predict takes data=folder data.root=PATH, and training takes "
                "data=band or data=stems."
            )
        self.test = self.dataset()

    def test_dataloader(self) -> DataLoader[Any]:
        return loader(self.test, taker_of(self.trainer), batch_size=self.batch_size)
