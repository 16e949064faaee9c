"""The nearest-neighbour field: for each patch that touches a hole, the known patch that looks most like it.

A patch that touches the hole is a target, one that may be copied a source. The patches of all items lie in one list,
named by the flat index `(picture h + y) w + x` of their centre: holes of different shapes cost nothing, and the index
of a neighbour is a sum. Random numbers are drawn pixel by pixel, the same for every item, and matrix products are taken
item by item: a result does not depend on the batch, not even by rounding.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from tavtorch.image.patches.pixels import dilated, pixel_list, take

COMPONENTS = 24
"""Principal components that describe a patch; of 245 numbers they keep what distinguishes patches."""
SAMPLE = 2000
"""Approximate number of sources from which the components are computed."""
EXACT = 6_000_000
"""Pairs of a target and a source up to which an item is searched exactly; with more, PatchMatch approximates."""
CHUNK = 2**18
"""Distances that the exact search holds at once: as many as stay in the cache of a processor."""
WINDOWS = 2**15
"""Windows whose pixels are held at once."""
JUMPS = (1, 2, 4)
"""Distances, in pixels, of the neighbours from which a target takes a source in propagation."""
ROUNDS = 3
"""Rounds of `patch_match` in one search."""
RADII = (16, 8, 4, 2, 1)
"""Half widths, in pixels, of the windows of the random search about the best source so far."""


class Patches(NamedTuple):
    """The targets and sources of a batch. An item is one picture, or `per_item` pictures that copy from all of them."""

    shape: tuple[int, int, int]
    """Pictures, rows and columns of pixels."""
    per_item: int
    """Pictures, one after the other, that make up an item."""
    offsets: Tensor
    """Flat offsets from the centre of a patch to its pixels, `(size²,)`."""
    targets: Tensor
    """Centres of the patches with a missing pixel, ascending."""
    sources: Tensor
    """Centres of the patches that may be copied, ascending."""
    is_source: Tensor
    """Whether a pixel is the centre of a source, `(b h w,)`."""
    n_targets: list[int]
    """Number of targets of each item."""
    n_sources: list[int]
    """Number of sources of each item."""


def list_patches(hole: Tensor, usable: Tensor, size: int, per_item: int = 1) -> Patches:
    """The patches that lie inside the picture: targets touch `hole`, sources have usable pixels only."""
    b, _, h, w = hole.shape
    r = size // 2
    inside = torch.zeros_like(hole)
    inside[..., r : h - r, r : w - r] = True

    # An item without sources gets no targets: there is nothing to search.
    is_source = inside & ~dilated(~usable, r)
    has_source = is_source.reshape(b // per_item, -1).any(1).repeat_interleave(per_item)
    is_target = inside & dilated(hole, r) & has_source.reshape(b, 1, 1, 1)

    reach = torch.arange(-r, r + 1, device=hole.device)
    return Patches(
        shape=(b, h, w),
        per_item=per_item,
        offsets=(reach[:, None] * w + reach).flatten(),
        targets=is_target.flatten().nonzero()[:, 0],
        sources=is_source.flatten().nonzero()[:, 0],
        is_source=is_source.flatten(),
        n_targets=is_target.reshape(b // per_item, -1).sum(1).tolist(),
        n_sources=is_source.reshape(b // per_item, -1).sum(1).tolist(),
    )


def principal_components(image: Tensor, patches: Patches) -> list[Tensor]:
    """For each item the directions in which its sources vary most, `(size² c, k)`."""
    pixels = pixel_list(image)
    bases = []
    for sources in patches.sources.split(patches.n_sources):
        sample = sources[:: max(1, len(sources) // SAMPLE)]
        values = windows(pixels, sample, patches)
        values = values - values.mean(0) if len(sample) else values
        bases.append(torch.linalg.eigh(values.mT @ values).eigenvectors[:, -COMPONENTS:])
    return bases


def describe(image: Tensor, patches: Patches, bases: list[Tensor]) -> Tensor:
    """Components of the patches about all pixels, `(b h w, k)`; meaningless within half a patch of the border."""
    size = round(len(patches.offsets) ** 0.5)
    kernels = [basis.reshape(size, size, -1, basis.shape[1]).permute(3, 2, 0, 1) for basis in bases]
    items = image.split(patches.per_item)
    return pixel_list(torch.cat([F.conv2d(u, k, padding=size // 2) for u, k in zip(items, kernels, strict=True)]))


def describe_targets(image: Tensor, patches: Patches, bases: list[Tensor]) -> Tensor:
    """Components of the targets, `(n, k)`."""
    pixels, items = pixel_list(image), patches.targets.split(patches.n_targets)
    chunks = [(chunk, basis) for item, basis in zip(items, bases, strict=True) for chunk in item.split(WINDOWS)]
    return torch.cat([windows(pixels, chunk, patches) @ basis for chunk, basis in chunks])


def search(
    wanted: Tensor, features: Tensor, patches: Patches, nnf: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """A source for each target and its squared distance: the nearest one, or by PatchMatch where pairs are many.

    Args:
        wanted: components of the targets, `(n, k)`.
        features: components of all patches, `(b h w, k)`.
        nnf: the nearest-neighbour field so far, `(b h w,)`; an entry that is no source counts as none.
    """
    counts = zip(patches.n_targets, patches.n_sources, strict=True)
    exact = [targets * sources <= EXACT for targets, sources in counts]

    # PatchMatch on all items, unless each of them is searched exactly.
    found, least = nnf.index_select(0, patches.targets), torch.zeros_like(wanted[:, 0])
    for _ in range(0 if all(exact) else ROUNDS):
        found, least = patch_match(wanted, features, patches, nnf, generator)
        nnf = nnf.index_copy(0, patches.targets, found)

    # Exact search, item by item; the parts are views, so that writing to them fills `found` and `least`.
    parts = (values.split(patches.n_targets) for values in (wanted, found, least))
    sources = patches.sources.split(patches.n_sources)
    for item, its_found, its_least, its_sources, is_exact in zip(*parts, sources, exact, strict=True):
        if is_exact and len(item):
            its_found[:], its_least[:] = exact_search(item, its_sources, features.index_select(0, its_sources))
    return found, least


def exact_search(wanted: Tensor, sources: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Of one item's sources the nearest to each target, by `|a - b|² = |b|² - 2 a·b + |a|²`."""
    norms = features.square().sum(1)
    chunks = wanted.split(CHUNK // len(features) + 1)
    parts = [torch.addmm(norms, chunk, features.mT, alpha=-2).min(1) for chunk in chunks]
    least, where = (torch.cat(part) for part in zip(*parts, strict=True))
    return sources[where], (least + wanted.square().sum(1)).clamp(min=0)


def patch_match(
    wanted: Tensor, features: Tensor, patches: Patches, nnf: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """One round of PatchMatch for all targets at once: a candidate replaces a target's source where it is nearer.

    Source: Barnes, Shechtman, Finkelstein & Goldman, ACM TOG 28(3), 2009, doi:10.1145/1531326.1531330.
    """
    (_, h, w), targets = patches.shape, patches.targets

    def distance(candidate: Tensor) -> Tensor:
        squared = features.index_select(0, candidate).sub_(wanted).square_().sum(1)
        return torch.where(patches.is_source.index_select(0, candidate), squared, torch.inf)

    def better(candidate: Tensor, found: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
        squared = distance(candidate)
        return torch.where(squared < least, candidate, found), torch.minimum(squared, least)

    found = nnf.index_select(0, targets)
    least = distance(found)

    # Propagation: the source that continues the source of a neighbour.
    for step in [jump * side for jump in JUMPS for side in (-1, 1, -w, w)]:
        nnf = nnf.index_copy(0, targets, found)
        found, least = better(_propagated(nnf, found, patches, step), found, least)

    # Random search: any source of the item, then pixels in smaller and smaller windows about the best source so far.
    share, *jitter = torch.rand(3, h * w, generator=generator, device=targets.device).index_select(1, targets % (h * w))
    found, least = better(_any_source(share, patches), found, least)
    for radius in RADII:
        found, least = better(_moved(found, jitter, radius, patches), found, least)
    return found, least


def _propagated(nnf: Tensor, found: Tensor, patches: Patches, step: int) -> Tensor:
    """What the neighbour `step` pixels further maps to, less that step; `found` where that leaves the picture."""
    area = patches.shape[1] * patches.shape[2]
    candidate = nnf.index_select(0, (patches.targets + step).clamp(0, len(nnf) - 1)) - step
    same_picture = torch.div(candidate, area, rounding_mode="floor") == patches.targets // area
    return torch.where(same_picture, candidate, found)


def _any_source(share: Tensor, patches: Patches) -> Tensor:
    """The source of its item that lies at `share`, 0 to 1, of the list of sources, for each target."""
    n = torch.tensor(patches.n_sources, device=share.device)
    first = n.cumsum(0) - n
    item = patches.targets // (patches.per_item * patches.shape[1] * patches.shape[2])
    return patches.sources.index_select(0, first[item] + (share * n[item]).long())


def _moved(found: Tensor, jitter: list[Tensor], radius: int, patches: Patches) -> Tensor:
    """Centres moved by up to `radius` pixels in y and x, within their picture; `jitter` is uniform from 0 to 1."""
    _, h, w = patches.shape
    dy, dx = (((2 * uniform - 1) * (radius + 0.5)).round().long() for uniform in jitter)
    y = (found // w % h + dy).clamp(0, h - 1)
    x = (found % w + dx).clamp(0, w - 1)
    return found // (h * w) * (h * w) + y * w + x


def windows(pixels: Tensor, centres: Tensor, patches: Patches) -> Tensor:
    """The pixels of some patches, `(n, size² c)`. A row of a patch is contiguous in `pixels`, so rows are copied."""
    size, c = round(len(patches.offsets) ** 0.5), pixels.shape[1]
    pieces = pixels.as_strided((len(pixels) - size + 1, size * c), (c, 1))
    return take(pieces, centres[:, None] + patches.offsets[::size]).flatten(1)
