"""Generated crowds of cells to train a network of contours on, and other ones to score it on."""

from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from tavtorch.lab.data.batches import item_generator, process_of
from tavtorch.lab.data.epochs import training_loader, validation_loader
from tavtorch.lab.data.scored import Scored
from tavtorch.lab.data.synthetic.shapes import Scene


class Scenes(Dataset[dict[str, Any]]):
    """Crowds without end, by number: scene `i` is the same in every process, run and order.

    Args:
        shapes: `synthetic.shapes.crowds` with its size and number of objects.
        noise: least and largest standard deviation of the noise of a picture, drawn evenly.
        start: least and largest radius of the circles over that of the cells, drawn evenly for each picture.
        negative: share of the pictures that are turned into their negatives: dark cells on bright ground.
        part: what the scenes are for; those of another one are others.
        seed: of all random numbers.
    """

    def __init__(
        self,
        shapes: Callable[..., Scene],
        *,
        noise: Sequence[float] = (0.0, 0.05),
        start: Sequence[float] = (1.0, 1.4),
        negative: float = 0.3,
        part: str = "train",
        seed: int = 0,
    ) -> None:
        self.shapes, self.noise, self.start, self.negative = shapes, noise, start, negative
        self.part, self.seed = part, seed

    def __getitem__(self, number: int) -> dict[str, Any]:
        generator = item_generator(self.seed, f"{self.part} {number}")
        *shares, toss = torch.rand(3, generator=generator).tolist()
        noise, start = (low + s * (high - low) for s, (low, high) in zip(shares, (self.noise, self.start), strict=True))
        image, truth, points = self.shapes(1, noise=noise, start=start, generator=generator)
        image = 1 - image if toss < self.negative else image
        return {"inputs": {"image": image[0], "points": points[0]}, "truth": truth[0]}


class Crowds(L.LightningDataModule):
    """Crowds to train with, others to validate with, and those of `scored` for `test`.

    Args:
        scenes: `Scenes` with every argument but the part and the seed.
        scored: the pictures to score.
        batch_size: pictures per step, the total over all devices.
        per_epoch: pictures per epoch; an eighth of this number validates it.
        seed: of the scenes.
    """

    def __init__(
        self,
        scenes: Callable[..., Scenes],
        scored: Scored,
        *,
        batch_size: int = 2,
        per_epoch: int = 400,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.scenes, self.scored, self.seed = scenes, scored, seed
        self.epochs = {"batch_size": batch_size, "per_epoch": per_epoch}

    def setup(self, stage: str) -> None:
        if stage not in ("fit", "validate"):
            self.scored.setup(stage)
            return
        self.train, self.val = (self.scenes(part=part, seed=self.seed) for part in ("train", "val"))

    def train_dataloader(self) -> DataLoader[Any]:
        return training_loader(self.train, process_of(self.trainer), **self.epochs)

    def val_dataloader(self) -> DataLoader[Any]:
        return validation_loader(self.val, process_of(self.trainer), **self.epochs)

    def test_dataloader(self) -> DataLoader[Any]:
        self.scored.trainer = self.trainer
        return self.scored.test_dataloader()
