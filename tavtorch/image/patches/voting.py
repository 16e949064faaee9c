"""One resolution of the multiscale method: search the nearest-neighbour field and vote for the colours, in turn."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from tavtorch.image.patches.nearest import (
    Patches,
    describe,
    describe_targets,
    list_patches,
    principal_components,
    search,
)
from tavtorch.image.patches.pixels import as_image, dilated, pixel_list, take
from tavtorch.image.patches.pyramid import Level, enlarged
from tavtorch.solve import State, Stop, iterate

CONFIDENCE, DEPTH = 1.3, 8
"""A patch's vote is divided by `CONFIDENCE` for each pixel its centre lies inside the hole, counting at most `DEPTH`
pixels."""


class Estimate(NamedTuple):
    """The filled picture at one resolution, and how the iteration went."""

    u: Tensor
    """Filled image, of the shape of the level's image."""
    origin: Tensor
    """The pixel that each pixel would be a copy of, as a flat index in its item, `(b, h w)`."""
    nnf: Tensor
    """Nearest-neighbour field: at the centre of each target the centre of its source, as a flat index, `(b, h w)`."""
    distance: Tensor
    """At the centre of each target the squared distance to its source, 0 elsewhere, `(b, h w)`."""
    iterations: Tensor
    """Steps so far, over all resolutions, `(b,)`."""
    gap: Tensor
    """Last change at this resolution, see `_change`, `(b,)`."""


class Votes(NamedTuple):
    """The patches that cover each missing pixel."""

    pixels: Tensor
    """The missing pixels, `(n,)`, as flat indices."""
    centres: Tensor
    """Centres of the patches over each of them, `(n, size²)`."""
    confidence: Tensor
    """Weight of each patch's vote before its distance is known, `(n, size²)`; 0 where there is no target."""


def settle(level: Level, before: Estimate, size: int, seed: int, stop: Stop, copy_from: int) -> Estimate:
    """Search and vote in turn, at one resolution, until the picture no longer changes.

    Args:
        copy_from: the step from which a pixel becomes a copy of the vote of greatest weight, and no mean of all, so
            that what is sharp looks for sharp sources.
    """
    patches = list_patches(level.hole, level.usable, size, level.per_item)
    bases = principal_components(level.image, patches)
    features = describe(level.image, patches, bases)
    votes = _list_votes(level.hole, patches)
    pixels = pixel_list(level.image)
    generator = Generator(level.image.device).manual_seed(seed)
    shape = len(level.image), -1

    def step(k: int, u: Tensor, nnf: Tensor, distance: Tensor, change: Tensor) -> State:
        # Search: the nearest source of each target.
        wanted = describe_targets(u, patches, bases)
        sources, least = search(wanted, features, patches, nnf.flatten(), generator)
        nnf = nnf.flatten().index_copy(0, patches.targets, sources)
        distance = distance.flatten().index_copy(0, patches.targets, least)

        # Vote: each missing pixel becomes the weighted mean of what the patches over it copy there, or the best of it.
        copied_from, weights = take(nnf, votes.centres) + patches.offsets, _weights(distance, votes)
        if k < copy_from:
            colours = F.embedding_bag(copied_from, pixels, per_sample_weights=weights, mode="sum")
        else:
            colours = take(pixels, copied_from.gather(1, weights.argmax(1, keepdim=True))[:, 0])
        new = as_image(pixel_list(u).index_copy(0, votes.pixels, colours), u)
        return new, nnf.reshape(shape), distance.reshape(shape), _change(new, u, level)

    # Start from the coarser resolution. Items without targets count as at rest.
    u = torch.where(level.hole, enlarged(before.u, level.hole), level.image)
    nnf = _enlarged_nnf(before, patches, size)
    change = torch.tensor([torch.inf if n else 0.0 for n in patches.n_targets], dtype=u.dtype, device=u.device)
    start = u, nnf, torch.zeros_like(nnf, dtype=u.dtype), change.repeat_interleave(level.per_item)
    found = iterate(step, start, lambda u, nnf, distance, change: change, stop)

    u, nnf, distance, _ = found.value
    origin = _origin(nnf.flatten(), distance.flatten(), votes, patches)
    return Estimate(u, origin, nnf, distance, before.iterations + found.iterations, found.gap)


def _list_votes(hole: Tensor, patches: Patches) -> Votes:
    """The targets over every missing pixel, with the confidence `CONFIDENCE ** -depth` in them."""
    # Depth: pixels from a centre to the border of the hole, at most `DEPTH`.
    inner, depth = hole, torch.zeros(hole.shape, device=hole.device)
    for _ in range(DEPTH):
        depth, inner = depth + inner, ~dilated(~inner, 1)
    confidence = torch.zeros_like(depth).flatten()
    confidence[patches.targets] = CONFIDENCE ** -depth.flatten()[patches.targets]

    # Pixels that no target covers get no votes.
    pixels = hole.flatten().nonzero()[:, 0]
    centres = (pixels[:, None] - patches.offsets).clamp(0, hole.numel() - 1)
    covered = take(confidence, centres).any(1)
    return Votes(pixels[covered], centres[covered], take(confidence, centres[covered]))


def _weights(distance: Tensor, votes: Votes) -> Tensor:
    """Weights of the votes, `(n, size²)`; each row adds up to 1. See `fill_multiscale` for the formula."""
    energy = take(distance, votes.centres)
    mean = energy.sum(1, keepdim=True) / votes.confidence.count_nonzero(1)[:, None]
    likelihood = torch.exp(-energy / mean.clamp(min=torch.finfo(energy.dtype).tiny))
    weight = votes.confidence.to(energy.dtype) * likelihood
    return weight / weight.sum(1, keepdim=True)


def _change(new: Tensor, old: Tensor, level: Level) -> Tensor:
    """Root mean square of a change of the hole's colours, over that of the known pixels, `(b,)`."""
    known = level.image[:, :-2].square().sum((1, 2, 3)) / (~level.hole).sum((1, 2, 3))
    changed = (new - old)[:, :-2].square().sum((1, 2, 3)) / level.hole.sum((1, 2, 3)).clamp(min=1)
    return (changed / known.clamp(min=torch.finfo(new.dtype).tiny)).sqrt()


def _origin(nnf: Tensor, distance: Tensor, votes: Votes, patches: Patches) -> Tensor:
    """For each missing pixel, the pixel that the patch of the greatest weight copies there; others are their own."""
    b, h, w = patches.shape
    best = _weights(distance, votes).argmax(1)
    centres = votes.centres.gather(1, best[:, None])[:, 0]
    origin = torch.arange(b * h * w, device=best.device)
    origin[votes.pixels] = nnf[centres] + patches.offsets[best]
    return origin.reshape(b, -1) % (patches.per_item * h * w)


def _enlarged_nnf(before: Estimate, patches: Patches, size: int) -> Tensor:
    """The nearest-neighbour field of the coarser resolution at this one, `(b, h w)`; unchanged if the sizes agree."""
    (b, h, w), (coarse_h, coarse_w), r = patches.shape, before.u.shape[-2:], size // 2
    if (h, w) == (coarse_h, coarse_w):
        return before.nnf

    # The source of the coarse pixel below, the nearest one whose patch lies inside the picture.
    y, x = (torch.arange(n, device=before.nnf.device) for n in (h, w))
    parent = (y // 2).clamp(r, coarse_h - 1 - r)[:, None] * coarse_w + (x // 2).clamp(r, coarse_w - 1 - r)
    source = before.nnf[:, parent.flatten()].reshape(b, h, w)
    picture, position = source // (coarse_h * coarse_w), source % (coarse_h * coarse_w)

    # Of its four fine pixels, the one at the same place in its square as the pixel itself.
    row = (2 * (position // coarse_w) + y[:, None] % 2).clamp(max=h - 1)
    column = (2 * (position % coarse_w) + x % 2).clamp(max=w - 1)
    return ((picture * h + row) * w + column).reshape(b, -1)
