"""Pixels as the patch methods handle them: masks, windows, lists of pixels, and copies by index."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor


def dilated(mask: Tensor, radius: int) -> Tensor:
    """`mask` grown by `radius` pixels in each direction, diagonals included."""
    for axis in (-1, -2):
        grown, n = mask.clone(), mask.shape[axis]
        for k in range(1, min(radius, n - 1) + 1):
            grown.narrow(axis, k, n - k).bitwise_or_(mask.narrow(axis, 0, n - k))
            grown.narrow(axis, 0, n - k).bitwise_or_(mask.narrow(axis, k, n - k))
        mask = grown
    return mask


def box_mean(u: Tensor, size: int) -> Tensor:
    """Mean over windows of `size` pixels a side; pixels outside the picture count as 0."""
    along_x = F.avg_pool2d(u, (1, size), 1, (0, size // 2))
    return F.avg_pool2d(along_x, (size, 1), 1, (size // 2, 0))


def pixel_list(image: Tensor) -> Tensor:
    """The pixels of all pictures in one list: `(b, c, h, w)` to `(b h w, c)`."""
    return image.movedim(1, -1).flatten(0, 2).contiguous()


def as_image(pixels: Tensor, like: Tensor) -> Tensor:
    """The inverse of `pixel_list`, for pictures of the batch and size of `like`."""
    b, _, h, w = like.shape
    return pixels.reshape(b, h, w, -1).movedim(-1, 1)


def copy_pixels(image: Tensor, origin: Tensor) -> Tensor:
    """`image` with each pixel replaced by the one at `origin`, `(b, h w)`, flat indices within the item."""
    return image.flatten(2).gather(2, origin[:, None].expand(-1, image.shape[1], -1)).reshape(image.shape)


def take(table: Tensor, index: Tensor) -> Tensor:
    """`table[index]`, by the call that is many times faster."""
    return table.index_select(0, index.flatten()).reshape(*index.shape, *table.shape[1:])


def choose(condition: Tensor, one: Iterable[Tensor], other: Iterable[Tensor]) -> list[Tensor]:
    """For each item, the tensors of `one` where `condition`, `(b,)`, holds, and those of `other` where not."""
    pairs = zip(one, other, strict=True)
    return [torch.where(condition.reshape(-1, *(1,) * (a.dim() - 1)), a, b) for a, b in pairs]
