"""The parts of a picture in which holes are filled: each with its surroundings, whatever the size of the picture."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tavtorch.image.patches.nearest import list_patches
from tavtorch.image.patches.pixels import dilated

LEAST_SEARCH = 256
"""Pixels around a hole, at least, among which sources are sought by `search="near"`."""
TOGETHER = 2**22
"""Pixels of the regions that are filled in one batch."""
CELL = 32
"""Side, in pixels, of the squares by which holes are told apart: those in touching squares count as one."""


class Region(NamedTuple):
    """A rectangle of an item, filled for itself."""

    item: int
    top: int
    left: int
    bottom: int
    """Exclusive."""
    right: int
    """Exclusive."""

    def of(self, u: Tensor) -> Tensor:
        """This part of `(b, c, h, w)`, `(1, c, …)`, a view."""
        return u[self.item : self.item + 1, :, self.top : self.bottom, self.left : self.right]

    @property
    def shape(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left

    @property
    def area(self) -> int:
        return math.prod(self.shape)

    def grown(self, pixels: int, h: int, w: int) -> "Region":
        """Larger by so many pixels on each side, within a picture `(h, w)`."""
        top, left = max(self.top - pixels, 0), max(self.left - pixels, 0)
        return Region(self.item, top, left, min(self.bottom + pixels, h), min(self.right + pixels, w))

    def with_(self, other: "Region") -> "Region":
        """The smallest region around both."""
        top, left = min(self.top, other.top), min(self.left, other.left)
        return Region(self.item, top, left, max(self.bottom, other.bottom), max(self.right, other.right))


def list_regions(hole: Tensor, usable: Tensor, size: int, search: int | str) -> list[Region]:
    """The regions that hold all holes of a batch: those of an item without a hole are none.

    Holes are told apart by squares of `CELL` pixels, and each gets a margin of `search` pixels. Two regions become one
    where that is not larger than both: so near holes are filled together, and the cost follows the holes.
    """
    h, w = hole.shape[-2:]
    regions, reach = [], LEAST_SEARCH if isinstance(search, str) else search
    for item in hole.flatten(1).any(1).nonzero()[:, 0].tolist():
        whole = Region(item, 0, 0, h, w)
        parts = [whole] if search == "all" or max(h, w) <= reach else _apart(hole, item, search)
        have_sources = all(list_patches(part.of(hole), part.of(usable), size).n_sources[0] for part in parts)
        regions += parts if have_sources else [whole]
    return regions


def in_batches(regions: list[Region]) -> Iterator[list[Region]]:
    """Regions of equal size, together as long as they have no more than `TOGETHER` pixels."""
    for shape in dict.fromkeys(region.shape for region in regions):
        same = [region for region in regions if region.shape == shape]
        n = max(1, TOGETHER // math.prod(shape))
        yield from (same[k : k + n] for k in range(0, len(same), n))


def _apart(hole: Tensor, item: int, search: int | str) -> list[Region]:
    """Regions around the holes of one item."""
    from scipy.ndimage import find_objects, label

    h, w = hole.shape[-2:]
    mask = hole[item : item + 1]
    cells = F.max_pool2d(mask.to(torch.float32), CELL, ceil_mode=True)[0, 0] > 0
    near = dilated(cells[None, None], 1)[0, 0]
    labelled = label(near.tolist(), structure=[[1] * 3] * 3)[0]
    names = torch.from_numpy(labelled).to(cells.device)

    regions = []
    for k, (rows, columns) in enumerate(find_objects(labelled), start=1):
        top, left = rows.start * CELL, columns.start * CELL
        inside = mask[0, 0, top : rows.stop * CELL, left : columns.stop * CELL]
        mine = (names[rows, columns] == k).repeat_interleave(CELL, 0).repeat_interleave(CELL, 1)
        inside = inside & mine[: inside.shape[0], : inside.shape[1]]
        y, x = (inside.any(axis).nonzero()[:, 0] for axis in (1, 0))
        box = Region(item, top + int(y[0]), left + int(x[0]), top + int(y[-1]) + 1, left + int(x[-1]) + 1)
        margin = max(LEAST_SEARCH, math.isqrt(int(inside.sum()))) if isinstance(search, str) else search
        regions.append(box.grown(margin, h, w))
    return _merged(regions)


def _merged(regions: list[Region]) -> list[Region]:
    """Regions of one item, two of them made one wherever that is not larger than both."""
    merged: list[Region] = []
    for region in regions:
        while True:
            close = [r for r in merged if r.with_(region).area <= r.area + region.area]
            if not close:
                break
            merged.remove(close[0])
            region = close[0].with_(region)
        merged.append(region)
    return merged
