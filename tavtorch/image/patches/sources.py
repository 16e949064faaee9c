"""Where the pixels of a filled hole come from: named, kept beside the result, and enough to make it again."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor

from tavtorch.derivative import holds
from tavtorch.image.check import full_precision
from tavtorch.image.restoration.harmonic import inpaint_harmonic
from tavtorch.solve import Solution

COMPUTED = -1
"""In place of a source: the pixel is no copy, but the smooth continuation of the pixels around it."""


class Filling(NamedTuple):
    """A `Solution` of a hole that was filled by copies: the same fields, and the sources."""

    value: Tensor
    """The filled image, `(b, c, h, w)`."""
    iterations: Tensor
    """Steps taken until the item was done, `(b,)`, int64."""
    gap: Tensor
    """What `Stop.tol` was compared with, `(b,)`."""
    converged: Tensor
    """`gap <= tol`, `(b,)`, bool."""
    sources: Tensor
    """The pixel that each pixel is a copy of, `y w + x` in its own item, int64 `(b, 1, h, w)`. A known pixel is its own
    source; one that was computed from its surroundings, as in a thin hole of `method="auto"`, has -1."""


def apply(sources: Shaped[Tensor, "..."], image: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Copy the pixels that the sources name: of the image that they were found in, its filled hole, to the bit.

        u(p) = image(φ(p)),        and the smooth continuation of the rest, `inpaint_harmonic` of order 2, where φ is -1

    Another image of the same size is filled by the same copies: another frame, a map of depths or of labels. Only the
    pixels that are named are read: the others may be NaN.

    Args:
        sources: `(b, 1, h, w)`, those of `inpaint_patches`, or others: whole numbers from -1 to `h w - 1`.
        image: `(b, c, h, w)`, of the size and batch of the sources, with any number of channels.

    Returns:
        The picture, with a gradient to the pixels that were copied.

    >>> stripes = torch.tensor([0.0, 1.0]).repeat(16).expand(1, 1, 24, 32)
    >>> hole = torch.zeros(1, 1, 24, 32, dtype=torch.bool); hole[..., 9:15, 9:15] = True
    >>> missing = stripes.masked_fill(hole, torch.nan)
    >>> torch.equal(apply(inpaint_patches(missing, hole).sources, missing), stripes)
    True
    """
    pixels = math.prod(image.shape[-2:])
    if image.dim() != 4 or not image.numel() or sources.shape != (len(image), 1, *image.shape[-2:]):
        raise ValueError(
            f"sources: expected one a pixel of the image, ({len(image)}, 1, {', '.join(map(str, image.shape[-2:]))}), "
            f"got {tuple(sources.shape)}; apply them to an image of the size that they were found in."
        )
    if sources.dtype != torch.int64 or not holds((sources >= COMPUTED) & (sources < pixels)):
        raise ValueError(
            f"sources: expected int64 from -1 to {pixels - 1}, places y w + x of pixels, got "
            f"{sources.dtype}; take those of inpaint_patches."
        )
    computed = sources == COMPUTED
    all_copied = holds(~computed)
    index = sources if all_copied else sources.clamp(min=0)
    copies = image.flatten(2).gather(2, index.flatten(2).expand(-1, image.shape[1], -1)).reshape(image.shape)
    return copies if all_copied else continued(copies, computed).value.to(image.dtype)


def continued(image: Tensor, hole: Tensor) -> Solution:
    """The hole filled smoothly, from the pixels around it; in single precision at least."""
    known = full_precision(image.masked_fill(hole, 0))
    with torch.autocast(image.device.type, enabled=False):
        return inpaint_harmonic(known, hole, order=2)


def own_pixels(hole: Tensor) -> Tensor:
    """Every pixel as its own source, `(b, 1, h, w)`."""
    own = torch.arange(math.prod(hole.shape[-2:]), device=hole.device)
    return own.reshape(1, 1, *hole.shape[-2:]).repeat(len(hole), 1, 1, 1)


def moved(sources: Tensor, top: int, left: int, width: int) -> Tensor:
    """Sources within a part of a picture, as pixels of the whole, which is `width` wide."""
    y, x = sources.div(sources.shape[-1], rounding_mode="floor") + top, sources % sources.shape[-1] + left
    return torch.where(sources == COMPUTED, COMPUTED, y * width + x)
