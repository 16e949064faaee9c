"""A picture with a hole at one resolution after the other, with features of the texture around each pixel."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tavtorch.image.fields import halved
from tavtorch.image.grid import gradient
from tavtorch.image.patches.pixels import box_mean

TEXTURE = 7.0
"""Weight of the texture features relative to the colours, about the root of the 50 of Newson et al."""
NEIGHBOURHOOD = 13
"""Pixels a side of the window over which the texture features are means."""


class Level(NamedTuple):
    """A picture at one resolution."""

    image: Tensor
    """Colours, then two texture features, `(b, c + 2, h, w)`."""
    hole: Tensor
    """True where the picture is missing, `(b, 1, h, w)`."""
    usable: Tensor
    """True where it may be copied, `(b, 1, h, w)`."""
    per_item: int = 1
    """Pictures, one after the other, that make up an item and copy from one another."""


def pyramid(image: Tensor, hole: Tensor, usable: Tensor) -> list[Level]:
    """Levels of halved resolution down to one pixel; a pixel is the mean of the known ones among the four below it."""
    level = Level(torch.cat((image, TEXTURE * _texture(image, hole)), dim=1), hole, usable)
    levels = [level]
    while max(level.hole.shape[-2:]) > 1:
        known = (~level.hole).to(level.image.dtype)
        share = halved(known)
        image = halved(level.image * known) / torch.where(share > 0, share, 1)
        level = Level(image, share < 0.5, halved(level.usable.to(known.dtype)) >= 0.5)
        levels.append(level)
    return levels


def enlarged(u: Tensor, like: Tensor) -> Tensor:
    """`u` at twice its resolution, by bilinear interpolation; unchanged if it has the size of `like` already."""
    if u.shape[-2:] == like.shape[-2:]:
        return u
    return F.interpolate(u, scale_factor=2, mode="bilinear")[..., : like.shape[-2], : like.shape[-1]]


def interpolated(levels: list[Level]) -> list[Tensor]:
    """The image of each level with its hole filled by interpolation of the next coarser one."""
    images = [levels[-1].image]
    for level in reversed(levels[:-1]):
        images.insert(0, torch.where(level.hole, enlarged(images[0], level.hole), level.image))
    return images


def in_all_orientations(level: Level, items: Tensor) -> Level:
    """The chosen items as eight pictures each: the one with its hole first, then its other orientations as sources."""
    image, hole, usable = (t[items] for t in (level.image, level.hole, level.usable))
    transposed = [*range(image.shape[1] - 2), -1, -2]  # transposing swaps the texture features of x and y
    missing = torch.zeros_like(hole).repeat_interleave(8, 0)
    missing[::8] = hole
    return Level(orientations(image, image[:, transposed]), missing, orientations(usable, usable), 8)


def orientations(u: Tensor, other: Tensor) -> Tensor:
    """The eight orientations of each picture, `(8 b, c, h, w)`: four mirror images of `u`, four of `other` transposed.

    The transposed ones are cut or padded to `(h, w)`; the first of each eight is `u` itself.
    """
    h, w = u.shape[-2:]
    flips = [(), (-1,), (-2,), (-1, -2)]
    transposed = F.pad(other.mT, (0, w - h, 0, h - w))
    return torch.stack([v.flip(axes) for v in (u, transposed) for axes in flips], 1).flatten(0, 1)


def _texture(image: Tensor, hole: Tensor) -> Tensor:
    """Mean absolute differences in x and in y of the grey picture, over the known pixels around, `(b, 2, h, w)`."""
    known = (~hole).to(image.dtype)
    known_x = F.pad(known[..., 1:] * known[..., :-1], (0, 1))
    known_y = F.pad(known[..., 1:, :] * known[..., :-1, :], (0, 0, 0, 1))
    pairs = torch.cat((known_x, known_y), dim=1)
    share = box_mean(pairs, NEIGHBOURHOOD)
    return box_mean(gradient(image.mean(1)).abs() * pairs, NEIGHBOURHOOD) / torch.where(share > 0, share, 1)
