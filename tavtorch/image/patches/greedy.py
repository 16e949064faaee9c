"""Filling a hole patch by patch, from its border inwards: in any order, or edges and sure places first."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from tavtorch.image.patches.nearest import copies, dilated, list_patches, mean
from tavtorch.solve import Solution, State, Stop, iterate

FRONTS = 8
"""Patches filled at once, none touching another: it is as good as one after the other, and several times as fast."""
URGENT = 0.25
"""Share of the highest priority that a pixel must have to go along: what is flat waits for the edges."""
NEAR = 1e-4
"""What the far end of the picture costs a source, over the energy of a patch: of equals the nearest is taken."""
FLAT = 1e-6
"""Least data term, over the contrast of the picture: where there are no edges, confidence alone decides."""


def fill_greedily(
    image: Tensor, hole: Tensor, usable: Tensor, *, size: int, seed: int, stop: Stop | None, in_order: bool
) -> Solution:
    """Copy patches onto the front of a hole until nothing is missing.

    A step takes the foremost pixels p of the front, finds for each

        q = argmin  Σ |u(p + o) - u(q + o)|²        over the known pixels p + o of its patch

    among the patches that are whole, and lets q stand for what is missing about p.

    Args:
        image: `(b, c, h, w)`, 0 in the hole.
        in_order: by priority; otherwise by chance.

    Returns:
        A `Solution` with the flat index in its item of the pixel that each pixel is a copy of, `(b, h w)`; `gap` is
        the share of the hole that is still missing.
    """
    b, _, h, w = hole.shape
    r = size // 2
    patches = list_patches(hole, usable, size)
    is_source = patches.is_source.reshape(b, 1, h, w)[..., r : h - r, r : w - r]
    generator = Generator(image.device).manual_seed(seed)
    table = torch.cat((image, image.square().sum(1, keepdim=True)), dim=1)
    holes = hole.flatten(1).sum(1).clamp(min=1)

    def step(k: int, copied: Tensor, missing: Tensor, confidence: Tensor) -> State:
        u = copies(image, copied)
        chance = torch.rand(1, 1, h, w, generator=generator, device=image.device, dtype=image.dtype)
        sure = mean(confidence, size)
        rank = sure * _data(u, missing, size) * (1 + 1e-3 * chance) if in_order else chance.expand_as(sure)
        at, valid = _foremost(rank, missing, size)
        centre = (at // w).clamp(r, h - 1 - r) * w + (at % w).clamp(r, w - 1 - r)
        cells = centre[..., None] + patches.offsets
        found = _most_alike(u, table, missing, is_source, cells)
        trust = sure.flatten(1).gather(1, at)
        lost, known = missing.flatten(1), confidence.flatten(1)
        for i in range(FRONTS):
            fresh = lost.gather(1, cells[:, i]) & valid[:, i, None]
            copied = _write(copied, cells[:, i], found[:, i, None] + patches.offsets, fresh)
            known = _write(known, cells[:, i], trust[:, i, None].expand_as(fresh), fresh)
            lost = _write(lost, cells[:, i], torch.zeros_like(fresh), fresh)
        return copied, lost.reshape(missing.shape), known.reshape(missing.shape)

    start = torch.arange(h * w, device=image.device).repeat(b, 1), hole, (~hole).to(image.dtype)
    stop = stop or Stop(tol=0, max_iter=h * w, every=4)
    found = iterate(step, start, lambda copied, missing, known: missing.flatten(1).sum(1) / holes, stop)
    return found._replace(value=found.value[0])


def _data(u: Tensor, missing: Tensor, size: int) -> Tensor:
    """Contrast of edges that run into the hole: the root mean square of `∇u · n⊥` over a patch, `n` the normal."""
    known = (~missing).to(u.dtype)
    y, x = (_slope(u, known, axis) for axis in (-2, -1))
    ny, nx = (_slope(mean(known, 3), torch.ones_like(known), axis) for axis in (-2, -1))
    length = (ny.square() + nx.square()).clamp(min=1e-6)
    yy, xy, xx = (mean((a * b).sum(1, keepdim=True), size) for a, b in ((y, y), (x, y), (x, x)))
    along = (xx * ny.square() - 2 * xy * nx * ny + yy * nx.square()) / length
    contrast = u.square().mean((1, 2, 3), keepdim=True).sqrt()
    return along.clamp(min=0).sqrt() + FLAT * contrast + torch.finfo(u.dtype).tiny


def _slope(u: Tensor, known: Tensor, axis: int) -> Tensor:
    """Central differences of known pixels, 0 elsewhere."""
    before, after = u.roll(1, axis), u.roll(-1, axis)
    sure = known * known.roll(1, axis) * known.roll(-1, axis)
    sure.narrow(axis, 0, 1).zero_()
    sure.narrow(axis, -1, 1).zero_()
    return (after - before) / 2 * sure


def _foremost(rank: Tensor, missing: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Up to `FRONTS` pixels of the front that are first among those whose patches they touch, and which are valid."""
    front = missing & dilated(~missing, 1)
    rank = torch.where(front, rank, -1)
    first = front & (rank == F.max_pool2d(rank, 2 * size - 1, 1, size - 1))
    values, at = torch.where(first, rank, -1).flatten(1).topk(min(FRONTS, rank[0].numel()))
    return at, (values >= 0) & (values >= URGENT * values[:, :1])


def _most_alike(u: Tensor, table: Tensor, missing: Tensor, is_source: Tensor, cells: Tensor) -> Tensor:
    """Centres of the sources nearest to the known part of some patches: `Σ m |s|² - 2 Σ m t·s` by one convolution."""
    b, c, _, w = u.shape
    size = round(cells.shape[-1] ** 0.5)
    r, index = size // 2, cells.flatten(1)[:, None]
    shown = (~missing).to(u.dtype).flatten(2).gather(2, index)
    wanted = u.flatten(2).gather(2, index.expand(-1, c, -1)) * shown
    kernels = torch.cat((-2 * wanted, shown), dim=1).reshape(b, c + 1, -1, size, size).movedim(1, 2)
    apart = torch.cat([F.conv2d(one[None], kernel) for one, kernel in zip(table, kernels, strict=True)])
    centre, (height, width) = cells[..., size**2 // 2, None, None], apart.shape[-2:]
    y, x = torch.arange(r, r + height, device=u.device)[:, None], torch.arange(r, r + width, device=u.device)
    away = ((y - centre // w).square() + (x - centre % w).square()) / (height + width) ** 2
    tie = NEAR * size**2 * u.square().sum(1).mean((1, 2))[:, None, None, None]
    best = (apart + tie * away).masked_fill(~is_source, torch.inf).flatten(2).argmin(2)
    return (best // width + r) * w + best % width + r


def _write(table: Tensor, index: Tensor, value: Tensor, where: Tensor) -> Tensor:
    return table.scatter(1, index, torch.where(where, value, table.gather(1, index)))
