"""Filling a hole patch by patch from its border inwards: in random order, or in the order of priority of Criminisi."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from tavtorch.image.patches.nearest import list_patches
from tavtorch.image.patches.pixels import box_mean, copy_pixels, dilated
from tavtorch.solve import Solution, State, Stop, iterate

PER_STEP = 8
"""Patches filled in one step, none touching another: the result is as good as one by one, several times as fast."""
LEAST_PRIORITY = 0.25
"""Share of the highest priority that a pixel needs to be filled in the same step: flat regions wait for the edges."""
DISTANCE_COST = 1e-4
"""Cost of a source at the far end of the picture, over the energy of a patch: among equal sources the nearest wins."""
LEAST_DATA = 1e-6
"""Least data term, over the contrast of the picture: where there are no edges, confidence alone decides."""


def fill_greedily(
    image: Tensor,
    hole: Tensor,
    usable: Tensor,
    *,
    size: int,
    seed: int,
    stop: Stop | None,
    in_order: bool,
    varied: bool = False,
) -> Solution:
    """Copy patches onto the front of a hole until nothing is missing.

    A step takes the pixels `p` of the front with the highest priority, finds for each of their patches

        q = argmin  Σ |u(p + o) - u(q + o)|²        over the offsets o with p + o known

    among the sources, and copies `q + o` to the missing pixels `p + o`.

    Args:
        image: `(b, c, h, w)`, 0 in the hole.
        in_order: priority is confidence times data term; otherwise it is random.
        varied: chance counts as much as the order: another seed gives another filling.

    Returns:
        A `Solution` with the pixel that each pixel is a copy of, a flat index in its item, `(b, h w)`; `gap` is the
        share of the hole that is still missing.
    """
    b, _, h, w = hole.shape
    r = size // 2
    patches = list_patches(hole, usable, size)
    is_source = patches.is_source.reshape(b, 1, h, w)[..., r : h - r, r : w - r]
    generator = Generator(image.device).manual_seed(seed)
    colours_and_square = torch.cat((image, image.square().sum(1, keepdim=True)), dim=1)
    share = 1.0 if varied else 1e-3  # of the chance; a little decides between equals
    hole_size = hole.flatten(1).sum(1).clamp(min=1)

    def step(k: int, origin: Tensor, missing: Tensor, confidence: Tensor) -> State:
        # Choose the pixels to fill next.
        u = copy_pixels(image, origin)
        chance = torch.rand(1, 1, h, w, generator=generator, device=image.device, dtype=image.dtype)
        around = box_mean(confidence, size)
        chance = 1 + share * chance if in_order else chance
        priority = chance * (around * _data_term(u, missing, size) if in_order else torch.ones_like(around))
        chosen, valid = _foremost(priority, missing, size)

        # Find sources for their patches; at the border of the picture a patch is moved inside.
        centres = (chosen // w).clamp(r, h - 1 - r) * w + (chosen % w).clamp(r, w - 1 - r)
        targets = centres[..., None] + patches.offsets
        sources = _closest_sources(u, colours_and_square, missing, is_source, targets)[..., None] + patches.offsets

        # Copy them one after the other: patches that were moved may overlap, and then the first one holds.
        missing_list, confidence_list = missing.flatten(1), confidence.flatten(1)
        new_confidence = around.flatten(1).gather(1, chosen)
        for i in range(PER_STEP):
            written = missing_list.gather(1, targets[:, i]) & valid[:, i, None]
            origin = _write(origin, targets[:, i], sources[:, i], written)
            new = new_confidence[:, i, None].expand_as(written)
            confidence_list = _write(confidence_list, targets[:, i], new, written)
            missing_list = _write(missing_list, targets[:, i], torch.zeros_like(written), written)
        return origin, missing_list.reshape(missing.shape), confidence_list.reshape(missing.shape)

    start = torch.arange(h * w, device=image.device).repeat(b, 1), hole, (~hole).to(image.dtype)
    stop = stop or Stop(tol=0, max_iter=h * w, every=4)
    found = iterate(step, start, lambda origin, missing, confidence: missing.flatten(1).sum(1) / hole_size, stop)
    return found._replace(value=found.value[0])


def _data_term(u: Tensor, missing: Tensor, size: int) -> Tensor:
    """Strength of the edges that run into the hole: over a patch, the root mean square of the slope along the front.

    D² = mean |∇u · n⊥|²,        n the unit normal of the front
    """
    known = (~missing).to(u.dtype)
    y, x = (_slope(u, known, axis) for axis in (-2, -1))
    ny, nx = (_slope(box_mean(known, 3), torch.ones_like(known), axis) for axis in (-2, -1))
    squared_length = (ny.square() + nx.square()).clamp(min=1e-6)

    # The structure tensor of the known pixels, in the direction of the front.
    yy, xy, xx = (box_mean((a * b).sum(1, keepdim=True), size) for a, b in ((y, y), (x, y), (x, x)))
    squared = (xx * ny.square() - 2 * xy * nx * ny + yy * nx.square()) / squared_length
    contrast = u.square().mean((1, 2, 3), keepdim=True).sqrt()
    return squared.clamp(min=0).sqrt() + LEAST_DATA * contrast + torch.finfo(u.dtype).tiny


def _slope(u: Tensor, known: Tensor, axis: int) -> Tensor:
    """Central differences where a pixel and both its neighbours are known, 0 elsewhere."""
    before, after = u.roll(1, axis), u.roll(-1, axis)
    valid = known * known.roll(1, axis) * known.roll(-1, axis)
    valid.narrow(axis, 0, 1).zero_()  # `roll` wraps around
    valid.narrow(axis, -1, 1).zero_()
    return (after - before) / 2 * valid


def _foremost(priority: Tensor, missing: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Up to `PER_STEP` pixels of the front, each first among those whose patches touch its own, and which are valid."""
    front = missing & dilated(~missing, 1)
    priority = torch.where(front, priority, -1)
    is_first = front & (priority == F.max_pool2d(priority, 2 * size - 1, 1, size - 1))
    values, chosen = torch.where(is_first, priority, -1).flatten(1).topk(min(PER_STEP, priority[0].numel()))
    return chosen, (values >= 0) & (values >= LEAST_PRIORITY * values[:, :1])


def _closest_sources(
    u: Tensor, colours_and_square: Tensor, missing: Tensor, is_source: Tensor, targets: Tensor
) -> Tensor:
    """Centres of the sources `s` nearest to the known pixels of each target `t`, as flat indices, `(b, n)`.

        Σ m |s - t|²  =  Σ m |s|² - 2 Σ m s·t + constant        m: which pixels of t are known

    One convolution of colours and their squares with the targets as kernels gives this for all sources.

    Args:
        u: `(b, c, h, w)`, the picture as far as it is filled.
        colours_and_square: `(b, c + 1, h, w)`, the known picture and the sum of its squares.
        is_source: `(b, 1, h - size + 1, w - size + 1)`, by the centre of a patch.
        targets: flat indices of their pixels, `(b, n, size²)`.
    """
    b, c, _, w = u.shape
    size = round(targets.shape[-1] ** 0.5)
    r = size // 2

    # The kernels: the known pixels of each target, and which these are.
    index = targets.flatten(1)[:, None]
    known = (~missing).to(u.dtype).flatten(2).gather(2, index)
    colours = u.flatten(2).gather(2, index.expand(-1, c, -1)) * known
    kernels = torch.cat((-2 * colours, known), dim=1).reshape(b, c + 1, -1, size, size).movedim(1, 2)

    # Item by item, so that rounding does not depend on the batch.
    items = zip(colours_and_square, kernels, strict=True)
    difference = torch.cat([F.conv2d(item[None], kernel) for item, kernel in items])

    # A small cost of the distance between the centres decides among equals.
    centre, (height, width) = targets[..., size**2 // 2, None, None], difference.shape[-2:]
    y, x = torch.arange(r, r + height, device=u.device)[:, None], torch.arange(r, r + width, device=u.device)
    distance = ((y - centre // w).square() + (x - centre % w).square()) / (height + width) ** 2
    energy = size**2 * u.square().sum(1).mean((1, 2))[:, None, None, None]
    cost = difference + DISTANCE_COST * energy * distance

    best = cost.masked_fill(~is_source, torch.inf).flatten(2).argmin(2)
    return (best // width + r) * w + best % width + r


def _write(table: Tensor, index: Tensor, value: Tensor, where: Tensor) -> Tensor:
    """`table`, `(b, n)`, with `value` at those `index` that `where` names."""
    return table.scatter(1, index, torch.where(where, value, table.gather(1, index)))
