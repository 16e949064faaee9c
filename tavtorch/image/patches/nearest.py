"""The nearest patch: for each patch that touches a hole, the known patch that looks most like it.

The patches of all items lie in one list, named by the flat index `(item h + y) w + x` of their centre: holes of
different shapes cost nothing, and a neighbour is a sum. What is random is drawn pixel by pixel, the same for every
item, and matrix products are taken item by item: a result does not depend on the batch, not even by rounding.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

COMPONENTS = 24
"""Principal components that stand for a patch; of 245 numbers they keep what tells patches apart."""
SAMPLE = 2000
"""About how many sources the components are computed from."""
EXACT = 6_000_000
"""Pairs of a target and a source up to which all of an item's are compared; beyond that only likely ones."""
CHUNK = 2**18
"""Distances that the exact search holds at once: as many as stay in the cache of a processor."""
JUMPS = (1, 2, 4)
"""How far away the neighbours are that a patch learns from, in pixels."""
ROUNDS = 3
"""Rounds of `nearer` in one search."""
RADII = (16, 8, 4, 2, 1)
"""Half widths, in pixels, of the windows about a match in which a better one is tried."""


class Patches(NamedTuple):
    """The patches of a batch of pictures with holes; an item is a picture, or `group` of them that copy from all."""

    shape: tuple[int, int, int]
    """Pictures, rows and columns of pixels."""
    group: int
    offsets: Tensor
    """From the centre of a patch to its pixels, `(size²,)`."""
    targets: Tensor
    """Centres of the patches with a missing pixel, in order."""
    sources: Tensor
    """Centres of the patches that may be copied, in order."""
    is_source: Tensor
    """Whether a pixel is the centre of a source, `(b h w,)`."""
    n_targets: list[int]
    """How many targets each item has."""
    n_sources: list[int]
    """How many sources each item has."""


def list_patches(hole: Tensor, usable: Tensor, size: int, group: int = 1) -> Patches:
    """Patches lie inside of the picture, sources on usable pixels. An item without sources has no targets either."""
    b, _, h, w = hole.shape
    r = size // 2
    inside = torch.zeros_like(hole)
    inside[..., r : h - r, r : w - r] = True
    is_source = inside & ~dilated(~usable, r)
    some = is_source.reshape(b // group, -1).any(1).repeat_interleave(group)
    is_target = inside & dilated(hole, r) & some.reshape(b, 1, 1, 1)
    reach = torch.arange(-r, r + 1, device=hole.device)
    return Patches(
        shape=(b, h, w),
        group=group,
        offsets=(reach[:, None] * w + reach).flatten(),
        targets=is_target.flatten().nonzero()[:, 0],
        sources=is_source.flatten().nonzero()[:, 0],
        is_source=is_source.flatten(),
        n_targets=is_target.reshape(b // group, -1).sum(1).tolist(),
        n_sources=is_source.reshape(b // group, -1).sum(1).tolist(),
    )


def principal_components(image: Tensor, patches: Patches) -> list[Tensor]:
    """Directions in which the sources of each item vary most, `(size² c, k)`."""
    table, bases = rows(image), []
    for sources in patches.sources.split(patches.n_sources):
        some = sources[:: max(1, len(sources) // SAMPLE)]
        values = windows(table, some, patches)
        values = values - values.mean(0) if len(some) else values
        bases.append(torch.linalg.eigh(values.mT @ values).eigenvectors[:, -COMPONENTS:])
    return bases


def describe(image: Tensor, patches: Patches, bases: list[Tensor]) -> Tensor:
    """Components of the patches about all pixels, `(b h w, k)`; of no meaning at the border."""
    size = round(len(patches.offsets) ** 0.5)
    kernels = [basis.reshape(size, size, -1, basis.shape[1]).permute(3, 2, 0, 1) for basis in bases]
    items = image.split(patches.group)
    return rows(torch.cat([F.conv2d(u, k, padding=size // 2) for u, k in zip(items, kernels, strict=True)]))


def describe_targets(image: Tensor, patches: Patches, bases: list[Tensor]) -> Tensor:
    """Components of the targets, `(n, k)`."""
    values = windows(rows(image), patches.targets, patches)
    return torch.cat([v @ basis for v, basis in zip(values.split(patches.n_targets), bases, strict=True)])


def search(
    wanted: Tensor, features: Tensor, patches: Patches, match: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """A source like each target, and its squared distance: the nearest of all, or where those are many, of likely ones.

    Args:
        wanted: components of the targets, `(n, k)`.
        features: components of all patches, `(b h w, k)`.
        match: the matches so far, `(b h w,)`; one that is no source counts as none.
    """
    few = [targets * sources <= EXACT for targets, sources in zip(patches.n_targets, patches.n_sources, strict=True)]
    found, least = match.index_select(0, patches.targets), torch.zeros_like(wanted[:, 0])
    for _ in range(0 if all(few) else ROUNDS):
        found, least = nearer(wanted, features, patches, match, generator)
        match = match.index_copy(0, patches.targets, found)
    per_item = (t.split(patches.n_targets) for t in (wanted, found, least))
    sources = patches.sources.split(patches.n_sources)
    for item, into, apart, theirs, exact in zip(*per_item, sources, few, strict=True):
        if exact and len(item):
            into[:], apart[:] = nearest(item, theirs, features.index_select(0, theirs))
    return found, least


def nearest(wanted: Tensor, sources: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Of the sources of one item the nearest to each target, by `|a - b|² = |b|² - 2 a·b + |a|²`."""
    norms = features.square().sum(1)
    parts = [
        torch.addmm(norms, some, features.mT, alpha=-2).min(1) for some in wanted.split(CHUNK // len(features) + 1)
    ]
    least, where = (torch.cat(part) for part in zip(*parts, strict=True))
    return sources[where], (least + wanted.square().sum(1)).clamp(min=0)


def nearer(
    wanted: Tensor, features: Tensor, patches: Patches, match: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """A nearer source of every target, if one of those is: beside what a neighbour found; anywhere; or near its own.

    One round of PatchMatch, all targets at once: Barnes, Shechtman, Finkelstein & Goldman, ACM TOG 28(3), 2009,
    doi:10.1145/1531326.1531330.
    """
    _, h, w = patches.shape
    at, area = patches.targets, h * w
    item = at // (patches.group * area)

    def distance(candidate: Tensor) -> Tensor:
        apart = features.index_select(0, candidate).sub_(wanted).square_().sum(1)
        return torch.where(patches.is_source.index_select(0, candidate), apart, torch.inf)

    def attempt(candidate: Tensor, found: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
        apart = distance(candidate)
        return torch.where(apart < least, candidate, found), torch.minimum(apart, least)

    found = match.index_select(0, at)
    least = distance(found)
    for step in [jump * side for jump in JUMPS for side in (-1, 1, -w, w)]:
        match = match.index_copy(0, at, found)
        beside = match.index_select(0, (at + step).clamp(0, len(match) - 1)) - step
        here = torch.div(beside, area, rounding_mode="floor") == at // area  # not beyond the top or the bottom
        found, least = attempt(torch.where(here, beside, found), found, least)
    sources = torch.tensor(patches.n_sources, device=at.device)
    first = sources.cumsum(0) - sources
    share, *aside = torch.rand(3, area, generator=generator, device=at.device).index_select(1, at % area)
    anywhere = first[item] + (share * sources[item]).long()
    found, least = attempt(patches.sources.index_select(0, anywhere), found, least)
    for radius in RADII:
        dy, dx = (((2 * uniform - 1) * (radius + 0.5)).round().long() for uniform in aside)
        y, x = (found // w % h + dy).clamp(0, h - 1), (found % w + dx).clamp(0, w - 1)
        found, least = attempt(found // area * area + y * w + x, found, least)
    return found, least


def dilated(mask: Tensor, radius: int) -> Tensor:
    """Grown by so many pixels in each direction, corners too."""
    for axis in (-1, -2):
        grown, n = mask.clone(), mask.shape[axis]
        for k in range(1, min(radius, n - 1) + 1):
            grown.narrow(axis, k, n - k).bitwise_or_(mask.narrow(axis, 0, n - k))
            grown.narrow(axis, 0, n - k).bitwise_or_(mask.narrow(axis, k, n - k))
        mask = grown
    return mask


def mean(u: Tensor, size: int) -> Tensor:
    """Mean over windows of `size` pixels a side; what is outside of the picture counts as 0."""
    rows = F.avg_pool2d(u, (1, size), 1, (0, size // 2))
    return F.avg_pool2d(rows, (size, 1), 1, (size // 2, 0))


def rows(image: Tensor) -> Tensor:
    """Pixels in a list: `(b, c, h, w)` to `(b h w, c)`."""
    return image.movedim(1, -1).flatten(0, 2).contiguous()


def copies(image: Tensor, index: Tensor) -> Tensor:
    """`image` with each pixel replaced by the one that `index`, `(b, h w)`, names."""
    return image.flatten(2).gather(2, index[:, None].expand(-1, image.shape[1], -1)).reshape(image.shape)


def gather(table: Tensor, index: Tensor) -> Tensor:
    """`table[index]`, which is many times faster in this way."""
    return table.index_select(0, index.flatten()).reshape(*index.shape, *table.shape[1:])


def windows(table: Tensor, centres: Tensor, patches: Patches) -> Tensor:
    """The pixels of some patches one after the other, `(n, size² c)`; a row of a patch is one piece of memory."""
    size, c = round(len(patches.offsets) ** 0.5), table.shape[1]
    pieces = table.as_strided((len(table) - size + 1, size * c), (c, 1))
    return gather(pieces, centres[:, None] + patches.offsets[::size]).flatten(1)
