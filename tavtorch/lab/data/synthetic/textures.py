"""Drawings with a texture, both known, and a grid, for splitting into structure and texture."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

Pattern = Callable[[Tensor, Generator], Tensor]
"""A pattern of mean about 0 and root mean square about 1 at the coordinates (x, y) of pixels, `(2, h, w)`."""


def textured(
    generator: Generator,
    *,
    texture: Pattern,
    size: int = 256,
    shapes: int = 10,
    amplitude: float = 0.1,
    shades: float = 0.0,
) -> dict[str, Any]:
    """Discs and boxes of one grey each, every second one with a texture, as an item to score.

    Args:
        texture: `grating`, `warped`, `checks`, `weave`, `grain`.
        size: of the sides, in pixels.
        shapes: on the picture, the later ones over the earlier.
        amplitude: root mean square of the texture, where it is.
        shades: how far the grey of a shape goes up and down from its middle to its border: every second one is a ramp,
            the others are round.
    """
    grid = torch.stack(torch.meshgrid(*(2 * [torch.arange(float(size))]), indexing="xy"))
    structure, where = torch.full((size, size), 0.5), torch.zeros(size, size)
    for i in range(shapes):
        center, half = size * torch.rand(2, 1, 1, generator=generator), size * (0.08 + 0.15 * _dice(generator))
        away = grid - center
        inside = (away.norm(dim=0) if _dice(generator) < 0.5 else away.abs().amax(0)) < half
        grey = 0.2 + 0.6 * _dice(generator)
        if shades:
            turn = 2 * torch.pi * _dice(generator)
            ramp = (away[0] * turn.cos() + away[1] * turn.sin()) / half
            grey = grey + shades * (ramp if i % 4 < 2 else 1 - 2 * away.square().sum(0) / half**2).clamp(-1, 1)
        structure = torch.where(inside, grey, structure)
        where = torch.where(inside, float(i % 2), where)
    pattern = amplitude * where * texture(grid, generator)
    parts = {"structure": structure[None, None], "texture": pattern[None, None]}
    return {"inputs": {"image": parts["structure"] + parts["texture"]}, "truth": parts}


def lattice(
    generator: Generator, *, direction: float, size: int = 256, period: int = 32, line: int = 6
) -> dict[str, Any]:
    """A grid of dark lines, and the direction of the waves to keep, as an item without truth.

    Args:
        direction: in degrees from x towards y; along an axis it is stripes across it that are kept.
        size: of the sides, in pixels.
        period: from a line to the next.
        line: width of a line.
    """
    bright = (torch.arange(size) % period >= line).float()
    image = 0.2 + 0.6 * bright[:, None] * bright
    return {"inputs": {"image": image[None, None], "direction": direction}}


def grating(grid: Float[Tensor, "2 h w"], generator: Generator, *, frequency: Sequence[float]) -> Float[Tensor, "h w"]:
    """A sine wave of frequency (x, y), in cycles per pixel, and random phase."""
    x, y = grid
    return 2**0.5 * torch.sin(2 * torch.pi * (frequency[0] * x + frequency[1] * y + _dice(generator)))


def warped(
    grid: Float[Tensor, "2 h w"],
    generator: Generator,
    *,
    frequency: Sequence[float],
    bend: float = 4.0,
    period: float = 80.0,
) -> Float[Tensor, "h w"]:
    """`grating` on a cloth that is bent sideways by up to `bend` pixels, in waves of `period`."""
    folds = bend * torch.sin(2 * torch.pi * (grid.flip(0) / period + _dice(generator)))
    return grating(grid + folds, generator, frequency=frequency)


def weave(grid: Float[Tensor, "2 h w"], generator: Generator, *, thread: float) -> Float[Tensor, "h w"]:
    """Threads of `thread` pixels that cross over and under each other, brightest in their middle."""
    across = torch.sin(torch.pi * (grid / thread + _dice(generator)))
    above = torch.where(across.prod(0) > 0, across[0].abs(), across[1].abs())
    return (above - 2 / torch.pi) / (0.5 - 4 / torch.pi**2) ** 0.5


def checks(grid: Float[Tensor, "2 h w"], generator: Generator, *, side: int) -> Float[Tensor, "h w"]:
    """A chessboard with squares of `side` pixels."""
    return 1 - 2 * (((grid + (2 * side * _dice(generator)).floor()) // side).sum(0) % 2)


def grain(grid: Float[Tensor, "2 h w"], generator: Generator) -> Float[Tensor, "h w"]:
    """White Gaussian noise."""
    return torch.randn(grid.shape[1:], generator=generator)


def _dice(generator: Generator) -> Tensor:
    return torch.rand((), generator=generator)
