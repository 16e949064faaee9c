"""Filling a hole so that every patch in it looks like a known one: coarse first, then finer and finer."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from tavtorch.image.patches.duplicate import find_duplicate
from tavtorch.image.patches.greedy import fill_greedily
from tavtorch.image.patches.nearest import list_patches
from tavtorch.image.patches.pixels import choose, copy_pixels
from tavtorch.image.patches.pyramid import Level, in_all_orientations, interpolated, orientations, pyramid
from tavtorch.image.patches.voting import Estimate, settle
from tavtorch.solve import Solution, Stop

MIDDLE = 80 * 80
"""Pixels, at most, of the level where the two starts are compared."""
LOW = 40 * 40
"""Pixels, at most, of the level where mirrored and turned sources are tried."""
ORIENTED_GAIN = 0.5
"""Share of `E` below which mirrored and turned sources are kept: drawn arcs reach 0.4, photographs 0.6 to 0.9."""
ORIENTABLE = 2**19
"""Pixels of a picture, at most, for which that is tried: it takes eight times the time and memory."""
FINEST = 2
"""Steps at full resolution, where little is left to change and each step costs most."""


def fill_multiscale(
    image: Tensor,
    hole: Tensor,
    usable: Tensor,
    *,
    size: int,
    seed: int,
    stop: Stop | None,
    turned: bool,
    varied: bool = False,
) -> Solution:
    """Minimise, over the missing part of `u` and over the nearest-neighbour field `φ` in turn, coarse to fine,

        E(u, φ) = Σ_p E_p,        E_p = |P_p u - P_φ(p) u|²        p: patches that touch the hole; φ(p): sources

    - Over `φ`, by search for the nearest source of each target.
    - Over `u`, by voting: a missing pixel becomes the mean of what the patches over it copy there, with the weights
      `exp(-E_p / m) CONFIDENCE^-depth(p)`, `m` the mean of `E_p` over these patches. At full resolution, and after
      three tenths of the steps at half of it, it becomes a copy of what the patch of the greatest weight has there:
      means are smooth, and find smooth sources.

    A patch consists of colours and of two texture features, mean absolute differences around each pixel.

    There are two starts: an interpolated one at the coarsest level, and a greedy one at a middle level, where the one
    of lower `E` is kept; if `varied`, noise of the known pixels' contrast is added to the first, and the order of the
    second is left to chance. A hole that `find_duplicate` recognises is filled at once.

    Mirrored and turned patches are sources too if `turned`, or where they bring `E` at the low level below
    `ORIENTED_GAIN` times its value without them, in pictures of up to `ORIENTABLE` pixels. Otherwise an arc would be
    continued straight.

    Args:
        image: `(b, c, h, w)` about 0, and 0 in the hole.
        stop: for each level, see `inpaint_patches`.

    Returns:
        A `Solution` with the pixel that each pixel is a copy of, a flat index in its item, `(b, h w)`: in the hole,
        the vote of greatest weight. `gap` is the root mean square of the last change at full resolution, over that of
        the known pixels.
    """
    stop = stop or Stop(tol=0.01, max_iter=10, every=1)
    origin, is_duplicate = find_duplicate(image, hole, usable, size // 2)
    origin = torch.where(hole.flatten(1), origin, torch.arange(hole[0].numel(), device=hole.device))

    levels = pyramid(image, hole & ~is_duplicate, usable)
    estimate = _minimise(Descent(levels, size, seed, stop, varied), turned)
    origin = torch.where(is_duplicate.flatten(1), origin, estimate.origin)
    return Solution(origin, estimate.iterations, estimate.gap, estimate.gap <= stop.tol)


class Descent(NamedTuple):
    """From coarse to fine: each level is settled, starting from the one before."""

    levels: list[Level]
    """The finest first."""
    size: int
    seed: int
    stop: Stop
    varied: bool

    def __call__(self, estimate: Estimate, above: int, to: int, oriented: Tensor | None = None) -> Estimate:
        """Settle the levels below `above` down to `to`; of the items `oriented`, if given, in all orientations."""
        finest = Stop(self.stop.tol, max(1, min(self.stop.max_iter, FINEST)), 1)
        for k in reversed(range(to, above)):
            level = self.levels[k] if oriented is None else in_all_orientations(self.levels[k], oriented)
            copy_from = {0: 0, 1: 3 * self.stop.max_iter // 10}.get(k, self.stop.max_iter)
            estimate = settle(level, estimate, self.size, self.seed + k, self.stop if k else finest, copy_from)
        return estimate


def _minimise(descend: Descent, turned: bool) -> Estimate:
    """The estimate at full resolution, from the start and the sources that give the lower `E`."""
    levels, size = descend.levels, descend.size
    coarsest, middle, low = _stages(levels, size)
    smooth = interpolated(levels[middle:])
    start = smooth[coarsest - middle]
    if descend.varied:
        start = _shaken(start, levels[coarsest], descend.seed)

    # With sources in all orientations, down to the low level.
    items = torch.arange(len(start), device=start.device)
    may_turn = turned or levels[0].hole[0].numel() <= ORIENTABLE
    if may_turn:
        oriented = descend(_begin(start.repeat_interleave(8, 0)), coarsest + 1, low, items)
    if turned:
        return _first_orientation(descend(oriented, low, 0, items))

    # With sources as they are: the better one of both starts, down to full resolution.
    at_low = descend(_begin(start), coarsest + 1, low)
    greedy = _fill_level(levels[middle], smooth[0], size, descend.seed, descend.varied)
    at_middle = [descend(at_low, low, middle), descend(_begin(greedy), middle + 1, middle)]
    estimate = descend(_lower(*at_middle), middle, 0)
    if not may_turn:
        return estimate

    # Items whose energy is much lower with sources in all orientations.
    gaining = oriented.distance[::8].sum(1) < ORIENTED_GAIN * at_low.distance.sum(1)
    items = gaining.nonzero()[:, 0]
    if len(items):
        better = _first_orientation(descend(_select(oriented, items), low, 0, items))
        estimate = Estimate(*(a.index_copy(0, items, b) for a, b in zip(estimate, better, strict=True)))
    return estimate


def _stages(levels: list[Level], size: int) -> list[int]:
    """The coarsest level with room for patches, and the finest ones with at most `MIDDLE` and `LOW` pixels."""
    large = [k for k, level in enumerate(levels) if min(level.hole.shape[-2:]) >= 2 * size] or [0]
    return [next((k for k in large if levels[k].hole[0].numel() <= n), large[-1]) for n in (0, MIDDLE, LOW)]


def _begin(u: Tensor) -> Estimate:
    """A start that is only a picture: each patch maps to itself, which is no source and so counts as none."""
    nnf = torch.arange(u[:, 0].numel(), device=u.device).reshape(len(u), -1)
    zero = torch.zeros_like(nnf[:, 0])
    return Estimate(u, nnf, nnf, torch.zeros_like(nnf, dtype=u.dtype), zero, zero.to(u.dtype))


def _shaken(start: Tensor, level: Level, seed: int) -> Tensor:
    """A start with noise in the hole, as strong as the known pixels vary, the same for every item."""
    known = (~level.hole).to(start.dtype)
    variance = (level.image.square() * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1)
    generator = Generator(start.device).manual_seed(seed)
    noise = torch.randn(1, *start.shape[1:], generator=generator, device=start.device, dtype=start.dtype)
    return torch.where(level.hole, start + variance.sqrt() * noise, start)


def _fill_level(level: Level, smooth: Tensor, size: int, seed: int, varied: bool) -> Tensor:
    """A level filled greedily in the order of priority; `smooth` where there is nothing to copy."""
    patches = list_patches(level.hole, level.usable, size)
    has_sources = torch.tensor([n > 0 for n in patches.n_sources], device=smooth.device)
    hole = level.hole & has_sources.reshape(-1, 1, 1, 1)
    fill = partial(fill_greedily, size=size, seed=seed, stop=None, in_order=True, varied=varied)
    origin = fill(level.image, hole, level.usable).value
    return torch.where(hole, copy_pixels(level.image, origin), smooth)


def _lower(one: Estimate, other: Estimate) -> Estimate:
    """For each item, the estimate of the lower energy."""
    return Estimate(*choose(one.distance.sum(1) <= other.distance.sum(1), one, other))


def _select(estimate: Estimate, items: Tensor) -> Estimate:
    """The estimate of some items of eight pictures each, their flat indices adapted to the smaller batch."""
    after = torch.arange(8 * len(items), device=items.device)
    before = 8 * items.repeat_interleave(8) + after % 8
    selected = Estimate(*(a[before] for a in estimate))
    return selected._replace(nnf=selected.nnf + (after - before)[:, None] * selected.nnf.shape[1])


def _first_orientation(estimate: Estimate) -> Estimate:
    """The first picture of each eight; copies from the other orientations are traced back to its own pixels."""
    first = Estimate(*(a[::8] for a in estimate))
    index = torch.arange(first.origin.shape[1], device=first.u.device).reshape(1, 1, *first.u.shape[-2:])
    return first._replace(origin=orientations(index, index).flatten()[first.origin])
