"""Noisy crops of photographs and of drawings to train a denoiser on, and whole pictures to score it on."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from tavtorch.lab.data.batches import item_generator
from tavtorch.lab.data.damage import noisy
from tavtorch.lab.data.epochs import MadeForTraining
from tavtorch.lab.data.images import bundled
from tavtorch.lab.data.scored import Scored

Draw = Callable[[torch.Generator], Tensor]
"""Makes a picture `(1, c, h, w)` in [0, 1] from random numbers: `leaves`."""


class Crops(Dataset[dict[str, Any]]):
    """Noisy crops without end, by number: crop `i` is the same in every process, run and order.

    Args:
        photographs: colour or grey pictures `(1, c, h, w)` in [0, 1]; one is drawn in proportion to its side.
        drawings: grey ones.
        drawn: share of the crops that are of drawings.
        size: of the sides of a crop, in pixels.
        zoom: photographs are shrunk to between this and 1 times their size, since denoised are sharp ones.
        contrast: and the contrast of all to between this and 1.
        sigma: least and largest standard deviation of the noise, drawn evenly in its logarithm.
        seed: of all random numbers.
    """

    def __init__(
        self,
        photographs: Sequence[Float[Tensor, "1 _ _ _"]],
        drawings: Sequence[Float[Tensor, "1 1 _ _"]],
        *,
        drawn: float = 0.5,
        size: int = 40,
        zoom: float = 0.4,
        contrast: float = 0.6,
        sigma: Sequence[float] = (4 / 255, 64 / 255),
        seed: int = 0,
    ) -> None:
        self.photographs, self.drawings, self.drawn, self.size = photographs, drawings, drawn, size
        self.zoom, self.contrast, self.sigma, self.seed = zoom, contrast, sigma, seed
        sides = np.array([math.sqrt(image[0, 0].numel()) for image in photographs])
        self.shares = sides / sides.sum()

    def __getitem__(self, number: int) -> dict[str, Any]:
        rng = np.random.default_rng((self.seed, number))
        clean = self._drawing(rng) if rng.random() < self.drawn else self._photograph(rng)
        factor = rng.uniform(self.contrast, 1)
        clean = factor * clean + rng.uniform(0, 1 - factor)
        sigma = math.exp(rng.uniform(math.log(self.sigma[0]), math.log(self.sigma[1])))
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        return {"inputs": {"image": clean + sigma * noise, "sigma": torch.tensor(sigma)}, "truth": clean}

    def _drawing(self, rng: np.random.Generator) -> Float[Tensor, "1 size size"]:
        return _cut(self.drawings[int(rng.integers(len(self.drawings)))], self.size, rng)[0]

    def _photograph(self, rng: np.random.Generator) -> Float[Tensor, "1 size size"]:
        """Grey by random weights of the colours, and shrunk."""
        image = self.photographs[rng.choice(len(self.photographs), p=self.shares)]
        side = min(round(self.size / rng.uniform(self.zoom, 1)), *image.shape[-2:])
        colors = torch.from_numpy(rng.dirichlet([1.0] * image.shape[1])).to(image.dtype)
        grey = (colors[:, None, None] * _cut(image, side, rng)).sum(1, keepdim=True)
        return F.interpolate(grey, (self.size, self.size), mode="bilinear", antialias=True)[0]


class NoisyCrops(MadeForTraining):
    """Photographs of scikit-image and drawings, with noise, to train a denoiser on; other ones validate and score it.

    Args:
        crops: `Crops` with every argument but pictures and seed.
        draw: makes a drawing.
        names: photographs of scikit-image to train with.
        held_out: those to validate with, which `test` scores too.
        drawings: how many are made for training; an eighth of this number validates.
        scored, batch_size, per_epoch: see `MadeForTraining`.
        seed: of the drawings and of the crops.
    """

    def __init__(
        self,
        crops: Callable[..., Crops],
        draw: Draw,
        scored: Scored,
        *,
        names: Sequence[str],
        held_out: Sequence[str],
        drawings: int = 160,
        batch_size: int = 16,
        per_epoch: int = 1600,
        seed: int = 0,
    ) -> None:
        super().__init__(scored, batch_size=batch_size, per_epoch=per_epoch)
        if shared := set(names) & set(held_out):
            raise ValueError(f"data.held_out: {sorted(shared)} are trained with too; take them out of data.names.")
        self.crops, self.draw, self.names, self.held_out = crops, draw, names, held_out
        self.drawings, self.seed = drawings, seed

    def made(self, part: str) -> Crops:
        names = self.names if part == "train" else self.held_out
        count = self.drawings if part == "train" else max(1, self.drawings // 8)
        numbers = tqdm(range(count), f"drawing pictures to {part} with", leave=False)
        drawings = [self.draw(item_generator(self.seed, f"{part} {i}")) for i in numbers]
        photographs = [bundled(name)[None] for name in names]
        return self.crops(photographs, drawings, seed=2 * self.seed + (part == "val"))


def known_noise(image: Float[Tensor, "1 c h w"], generator: torch.Generator, *, sigma: float) -> dict[str, Tensor]:
    """White Gaussian noise of standard deviation `sigma`, which the op is told."""
    return noisy(image, generator, sigma=sigma) | {"sigma": torch.tensor([sigma])}


def _cut(image: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """A square of a picture."""
    top, left = (int(rng.integers(n - side + 1)) for n in image.shape[-2:])
    return image[..., top : top + side, left : left + side]
