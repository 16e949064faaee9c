"""Generated crowds of cells to train a network of contours on, and other ones to score it on."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from tavtorch.lab.data.batches import item_generator
from tavtorch.lab.data.epochs import MadeForTraining
from tavtorch.lab.data.scored import Scored
from tavtorch.lab.data.synthetic.shapes import Scene


class Scenes(Dataset[dict[str, Any]]):
    """Crowds without end, by number: scene `i` is the same in every process, run and order.

    Args:
        shapes: `synthetic.shapes.crowds` with its size and number of objects.
        noise: least and largest standard deviation of the noise of a picture, drawn evenly.
        start: least and largest radius of the circles over that of the cells, drawn evenly for each picture.
        places: numbers of places for the cells of a picture, one of them drawn for each.
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
        places: Sequence[int | None] = (None,),
        negative: float = 0.3,
        part: str = "train",
        seed: int = 0,
    ) -> None:
        self.shapes, self.noise, self.start, self.places, self.negative = shapes, noise, start, places, negative
        self.part, self.seed = part, seed

    def __getitem__(self, number: int) -> dict[str, Any]:
        generator = item_generator(self.seed, f"{self.part} {number}")
        *shares, toss, pick = torch.rand(4, generator=generator).tolist()
        noise, start = (low + s * (high - low) for s, (low, high) in zip(shares, (self.noise, self.start), strict=True))
        places = self.places[int(pick * len(self.places))]
        image, truth, points = self.shapes(1, noise=noise, start=start, places=places, generator=generator)
        image = 1 - image if toss < self.negative else image
        return {"inputs": {"image": image[0], "points": points[0]}, "truth": truth[0]}


class Crowds(MadeForTraining):
    """Crowds to train with, others to validate with, and those of `scored` for `test`.

    Args:
        scenes: `Scenes` with every argument but the part and the seed.
        scored, batch_size, per_epoch: see `MadeForTraining`.
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
        super().__init__(scored, batch_size=batch_size, per_epoch=per_epoch)
        self.scenes, self.seed = scenes, seed

    def made(self, part: str) -> Scenes:
        return self.scenes(part=part, seed=self.seed)
