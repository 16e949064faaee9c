"""Filling a hole so that every patch in it looks like a known one: coarse first, then finer and finer."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from tavtorch.image.patches.duplicate import find_duplicate
from tavtorch.image.patches.greedy import fill_greedily
from tavtorch.image.patches.nearest import (
    Patches,
    copies,
    describe,
    describe_targets,
    dilated,
    gather,
    list_patches,
    principal_components,
    rows,
    search,
)
from tavtorch.image.patches.pyramid import Level, enlarged, in_all_directions, mirrored, pyramid, smooth
from tavtorch.solve import Solution, State, Stop, iterate

MIDDLE = 80 * 80
"""Pixels of the level, at most, where the two starts are compared."""
LOW = 40 * 40
"""Pixels of the level, at most, where mirrored and turned copies are tried."""
ROUND = 0.5
"""What `E` must fall to by them, as a share: mostly below 0.4 for drawn arcs, 0.6 to 0.9 in photographs."""
FINEST = 2
"""Steps at full resolution, where little is left to do and each one costs most."""
CONFIDENCE, DEPTH = 1.3, 8
"""A vote counts so many times less for each pixel that its patch lies deeper in the hole, down to so many of them."""


class Fill(NamedTuple):
    """A filled level, and how it went."""

    u: Tensor
    """As the level's image."""
    copied: Tensor
    """The pixel that each pixel would be a copy of, as a flat index in its item, `(b, h w)`."""
    match: Tensor
    """At the centre of each target the centre of its source, as a flat index, `(b, h w)`."""
    distance: Tensor
    """At the centre of each target the squared distance to its source, 0 elsewhere, `(b, h w)`."""
    iterations: Tensor
    gap: Tensor


class Votes(NamedTuple):
    """Which patches have a say about the missing pixels."""

    pixels: Tensor
    """The missing pixels, `(n,)`, as flat indices."""
    centres: Tensor
    """The patches over each of them, `(n, size²)`."""
    trust: Tensor
    """What each patch's vote is worth before its distance is known, `(n, size²)`; 0 where there is no such patch."""


def fill_multiscale(
    image: Tensor, hole: Tensor, usable: Tensor, *, size: int, seed: int, stop: Stop | None, turned: bool
) -> Solution:
    """Minimise, over the missing part of `u` and over `φ` in turn, at one resolution after the other,

        E(u, φ) = Σ_p |P_p u - P_φ(p) u|²        p: patches that touch the hole; φ(p): whole and usable ones

    `φ` by searching; `u` by the mean of what the patches over a pixel say of it, each with the weight `exp(-E_p / m)`,
    `m` the mean of `E_p` around, times a trust that decays inwards. A patch consists of colours and of the texture
    around, the mean absolute gradient. One start is smooth, at the coarsest level; one is greedy, at a middle level;
    the one that has the lower `E` there goes on. What `find_duplicate` recognises is filled at once.

    An arc goes on straight where no source has its direction; the picture mirrored and turned has more of those. These
    are sources too if `turned`, or if `E` at a low level is below half by them, which it is where something is round.

    Args:
        image: `(b, c, h, w)` about 0, and 0 in the hole.

    Returns:
        A `Solution` with the flat index in its item of the pixel that each pixel is a copy of, `(b, h w)`: in the
        hole, what the patch of the most weight says. `gap` is the root mean square of the last change at full
        resolution, over that of the known pixels.
    """
    stop = stop or Stop(tol=0.01, max_iter=10, every=1)
    copied, whole = find_duplicate(image, hole, usable, size // 2)
    copied = torch.where(hole.flatten(1), copied, torch.arange(hole[0].numel(), device=hole.device))
    hole = hole & ~whole
    finest = Stop(stop.tol, max(1, min(stop.max_iter, FINEST)), 1)
    levels = pyramid(image, hole, usable)
    last, middle, low = _stages(levels, size)
    guess, everyone = smooth(levels[middle:]), torch.arange(len(hole), device=hole.device)
    start = guess[last - middle]

    def descend(fill: Fill, above: int, first: int, items: Tensor | None = None) -> Fill:
        for k in reversed(range(first, above)):
            level = levels[k] if items is None else in_all_directions(levels[k], items)
            fill = _settle(level, fill, size, seed + k, stop if k else finest)
        return fill

    other = descend(_start(start.repeat_interleave(8, 0)), last + 1, low, everyone)
    if turned:
        fill = _upright(descend(other, low, 0, everyone))
    else:
        coarse = descend(_start(start), last + 1, low)
        round_ = (other.distance[::8].sum(1) < ROUND * coarse.distance.sum(1)).nonzero()[:, 0]
        greedy = descend(_start(_greedy(levels[middle], guess[0], size, seed)), middle + 1, middle)
        fill = descend(_lower(descend(coarse, low, middle), greedy), middle, 0)
        if len(round_):
            better = _upright(descend(_part(other, round_), low, 0, round_))
            fill = Fill(*(a.index_copy(0, round_, b) for a, b in zip(fill, better, strict=True)))
    copied = torch.where(whole.flatten(1), copied, fill.copied)
    return Solution(copied, fill.iterations, fill.gap, fill.gap <= stop.tol)


def _stages(levels: list[Level], size: int) -> list[int]:
    """The coarsest level with room for patches, and the finest ones with at most `MIDDLE` and `LOW` pixels."""
    large = [k for k, level in enumerate(levels) if min(level.hole.shape[-2:]) >= 2 * size] or [0]
    return [next((k for k in large if levels[k].hole[0].numel() <= n), large[-1]) for n in (0, MIDDLE, LOW)]


def _settle(level: Level, before: Fill, size: int, seed: int, stop: Stop) -> Fill:
    """Search and vote in turn, at one resolution, until the picture comes to rest."""
    patches = list_patches(level.hole, level.usable, size, level.group)
    bases = principal_components(level.image, patches)
    features = describe(level.image, patches, bases)
    votes = _votes(level.hole, patches)
    table, generator = rows(level.image), Generator(level.image.device).manual_seed(seed)
    shape = len(level.image), -1

    def step(k: int, u: Tensor, match: Tensor, distance: Tensor, change: Tensor) -> State:
        wanted = describe_targets(u, patches, bases)
        found, apart = search(wanted, features, patches, match.flatten(), generator)
        match = match.flatten().index_copy(0, patches.targets, found)
        distance = distance.flatten().index_copy(0, patches.targets, apart)
        says = gather(match, votes.centres) + patches.offsets
        colour = F.embedding_bag(says, table, per_sample_weights=_weights(distance, votes), mode="sum")
        new = _pixels(rows(u).index_copy(0, votes.pixels, colour), u)
        return new, match.reshape(shape), distance.reshape(shape), _change(new, u, level)

    u = torch.where(level.hole, enlarged(before.u, level.hole), level.image)
    match = _enlarged_match(before, patches, size)
    waiting = torch.tensor([torch.inf if n else 0.0 for n in patches.n_targets], dtype=u.dtype, device=u.device)
    waiting = waiting.repeat_interleave(level.group)
    found = iterate(step, (u, match, torch.zeros_like(match, dtype=u.dtype), waiting), lambda *state: state[3], stop)
    u, match, distance, _ = found.value
    copied = _copied(match.flatten(), distance.flatten(), votes, patches)
    return Fill(u, copied, match, distance, before.iterations + found.iterations, found.gap)


def _votes(hole: Tensor, patches: Patches) -> Votes:
    """The patches over every missing pixel, and the trust `CONFIDENCE ** -depth` in them."""
    deep, depth = hole, torch.zeros(hole.shape, device=hole.device)
    for _ in range(DEPTH):
        depth, deep = depth + deep, ~dilated(~deep, 1)
    trust = torch.zeros_like(depth).flatten()
    trust[patches.targets] = CONFIDENCE ** -depth.flatten()[patches.targets]
    pixels = hole.flatten().nonzero()[:, 0]
    centres = (pixels[:, None] - patches.offsets).clamp(0, hole.numel() - 1)
    covered = gather(trust, centres).any(1)
    return Votes(pixels[covered], centres[covered], gather(trust, centres[covered]))


def _weights(distance: Tensor, votes: Votes) -> Tensor:
    """What the patches over each pixel count, `(n, size²)`; each row adds up to 1."""
    e = gather(distance, votes.centres)
    around = e.sum(1, keepdim=True) / votes.trust.count_nonzero(1)[:, None]
    weight = votes.trust.to(e.dtype) * torch.exp(-e / around.clamp(min=torch.finfo(e.dtype).tiny))
    return weight / weight.sum(1, keepdim=True)


def _change(new: Tensor, old: Tensor, level: Level) -> Tensor:
    """Root mean square of a change in the hole's colours, over that of the known pixels, `(b,)`."""
    known = level.image[:, :-2].square().sum((1, 2, 3)) / (~level.hole).sum((1, 2, 3))
    moved = (new - old)[:, :-2].square().sum((1, 2, 3)) / level.hole.sum((1, 2, 3)).clamp(min=1)
    return (moved / known.clamp(min=torch.finfo(new.dtype).tiny)).sqrt()


def _copied(match: Tensor, distance: Tensor, votes: Votes, patches: Patches) -> Tensor:
    """Of each missing pixel, the pixel that the patch of the most weight gives it; of the others, themselves."""
    b, h, w = patches.shape
    best = _weights(distance, votes).argmax(1)
    centres = votes.centres.gather(1, best[:, None])[:, 0]
    copied = torch.arange(b * h * w, device=best.device)
    copied[votes.pixels] = match[centres] + patches.offsets[best]
    return copied.reshape(b, -1) % (patches.group * h * w)


def _enlarged_match(before: Fill, patches: Patches, size: int) -> Tensor:
    """The sources of the level before, at this resolution, `(b, h w)`; as they are where it has the right size."""
    (b, h, w), (height, width), r = patches.shape, before.u.shape[-2:], size // 2
    if (h, w) == (height, width):
        return before.match
    y, x = (torch.arange(n, device=before.match.device) for n in (h, w))
    parent = (y // 2).clamp(r, height - 1 - r)[:, None] * width + (x // 2).clamp(r, width - 1 - r)
    match = before.match[:, parent.flatten()].reshape(b, h, w)
    picture, at = match // (height * width), match % (height * width)
    row = (2 * (at // width) + y[:, None] % 2).clamp(max=h - 1)
    column = (2 * (at % width) + x % 2).clamp(max=w - 1)
    return ((picture * h + row) * w + column).reshape(b, -1)


def _greedy(level: Level, smooth: Tensor, size: int, seed: int) -> Tensor:
    """A level filled by copies in the order of priority; smooth where there is nothing to copy."""
    patches = list_patches(level.hole, level.usable, size)
    some = torch.tensor([n > 0 for n in patches.n_sources], device=smooth.device).reshape(-1, 1, 1, 1)
    hole = level.hole & some
    copied = fill_greedily(level.image, hole, level.usable, size=size, seed=seed, stop=None, in_order=True).value
    return torch.where(hole, copies(level.image, copied), smooth)


def _start(u: Tensor) -> Fill:
    """Nothing but a picture: patches match themselves, which are no sources."""
    match = torch.arange(u[:, 0].numel(), device=u.device).reshape(len(u), -1)
    nothing = torch.zeros_like(match[:, 0])
    return Fill(u, match, match, torch.zeros_like(match, dtype=u.dtype), nothing, nothing.to(u.dtype))


def _lower(one: Fill, other: Fill) -> Fill:
    """For each item, the fill of the lower energy."""
    better = one.distance.sum(1) <= other.distance.sum(1)
    return Fill(
        *(torch.where(better.reshape(-1, *(1,) * (a.dim() - 1)), a, b) for a, b in zip(one, other, strict=True))
    )


def _part(fill: Fill, items: Tensor) -> Fill:
    """Some items of eight pictures."""
    now = torch.arange(8 * len(items), device=items.device)
    before = 8 * items.repeat_interleave(8) + now % 8
    part = Fill(*(a[before] for a in fill))
    return part._replace(match=part.match + (now - before)[:, None] * part.match.shape[1])


def _upright(fill: Fill) -> Fill:
    """The first picture of each eight, whose copies are named by the pixel that was mirrored or turned."""
    first = Fill(*(a[::8] for a in fill))
    pixel = torch.arange(first.copied.shape[1], device=first.u.device).reshape(1, 1, *first.u.shape[-2:])
    return first._replace(copied=mirrored(pixel, pixel).flatten()[first.copied])


def _pixels(table: Tensor, like: Tensor) -> Tensor:
    """The inverse of `rows`."""
    b, _, h, w = like.shape
    return table.reshape(b, h, w, -1).movedim(-1, 1)
