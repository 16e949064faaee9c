"""A picture with a hole at one resolution after the other, and what its texture is like around each pixel."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tavtorch.image.fields import mean_of_four
from tavtorch.image.grid import gradient
from tavtorch.image.patches.nearest import mean

TEXTURE = 7.0
"""Weight of the texture features beside the colours, about the root of the 50 of Newson et al."""
NEIGHBOURHOOD = 13
"""Pixels a side of the window that the texture features are means over."""


class Level(NamedTuple):
    """The picture at one resolution: colours and texture features `(b, c + 2, h, w)`, and masks `(b, 1, h, w)`."""

    image: Tensor
    hole: Tensor
    usable: Tensor
    group: int = 1
    """How many pictures, one after the other, are an item and copy from one another."""


def pyramid(image: Tensor, hole: Tensor, usable: Tensor) -> list[Level]:
    """Half of the resolution again and again, down to one pixel, each the mean of the known ones under it."""
    level = Level(torch.cat((image, TEXTURE * _texture(image, hole)), dim=1), hole, usable)
    levels = [level]
    while max(level.hole.shape[-2:]) > 1:
        known = (~level.hole).to(level.image.dtype)
        share = mean_of_four(known)
        image = mean_of_four(level.image * known) / torch.where(share > 0, share, 1)
        level = Level(image, share < 0.5, mean_of_four(level.usable.to(known.dtype)) >= 0.5)
        levels.append(level)
    return levels


def enlarged(u: Tensor, like: Tensor) -> Tensor:
    """Twice the resolution, by interpolation; as it is where it has the right size."""
    if u.shape[-2:] == like.shape[-2:]:
        return u
    return F.interpolate(u, scale_factor=2, mode="bilinear")[..., : like.shape[-2], : like.shape[-1]]


def in_all_directions(level: Level, items: Tensor) -> Level:
    """Each of these items as eight pictures: itself, and to copy from, what mirrors and quarter turns make of it."""
    image, hole, usable = (t[items] for t in (level.image, level.hole, level.usable))
    sideways = [*range(image.shape[1] - 2), -1, -2]  # what varied in x varies in y
    missing = torch.zeros_like(hole).repeat_interleave(8, 0)
    missing[::8] = hole
    return Level(mirrored(image, image[:, sideways]), missing, mirrored(usable, usable), 8)


def mirrored(u: Tensor, other: Tensor) -> Tensor:
    """What mirrors make of each picture, `(8 b, c, h, w)`: four of `u`, four of the transposed `other`, cut to fit."""
    h, w = u.shape[-2:]
    flips = [(), (-1,), (-2,), (-1, -2)]
    return torch.stack([v.flip(f) for v in (u, F.pad(other.mT, (0, w - h, 0, h - w))) for f in flips], 1).flatten(0, 1)


def smooth(levels: list[Level]) -> list[Tensor]:
    """Each level, what is missing interpolated from the next coarser one."""
    fills = [levels[-1].image]
    for level in reversed(levels[:-1]):
        fills.insert(0, torch.where(level.hole, enlarged(fills[0], level.hole), level.image))
    return fills


def _texture(image: Tensor, hole: Tensor) -> Tensor:
    """Mean absolute differences in x and in y of the grey picture, over what is known around, `(b, 2, h, w)`."""
    known = (~hole).to(image.dtype)
    both = F.pad(known[..., 1:] * known[..., :-1], (0, 1)), F.pad(known[..., 1:, :] * known[..., :-1, :], (0, 0, 0, 1))
    pairs = torch.cat(both, dim=1)
    share = mean(pairs, NEIGHBOURHOOD)
    return mean(gradient(image.mean(1)).abs() * pairs, NEIGHBOURHOOD) / torch.where(share > 0, share, 1)
