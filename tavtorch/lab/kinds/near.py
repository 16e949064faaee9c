"""Ops on the part of a picture that matters: about its hole, or about the start of a contour.

Each is a `task.inference`: it calls the op on a part of every picture, and puts the result back. A hole that is filled
smoothly is the same as by the whole picture, as only its rim counts; copies come from near the hole, and a force field
ends at the border of the part.
"""

from collections.abc import Callable
from inspect import signature

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tavtorch.image.patches import Filling
from tavtorch.image.patches.sources import moved, own_pixels
from tavtorch.lab.data.batches import concatenate
from tavtorch.solve import Solution


def near_hole(
    image: Float[Tensor, "b c h w"],
    hole: Bool[Tensor, "b 1 h w"],
    *,
    model: Callable[..., Solution | Filling],
    around: int = 64,
    generator: torch.Generator | None = None,
) -> Solution | Filling:
    """Fill each hole from the part of its picture about it.

    Args:
        model: the op, called with the part of `image` and of `hole`.
        around: pixels on each side of the hole that belong to the part.
        generator: for an op that takes one.
    """
    given = {"generator": generator} if "generator" in signature(model).parameters else {}
    found = []
    for i in range(len(image)):
        rows, columns = _about(hole[i, 0].nonzero().flip(1).float(), around, image)
        part = model(image[i : i + 1, :, rows, columns], hole[i : i + 1, :, rows, columns], **given)
        several = part.value.shape[1:-3]  # fillings of one picture
        whole = image[i].expand(1, *several, *image.shape[1:]).clone()
        whole[..., rows, columns] = part.value
        if isinstance(part, Filling):
            sources = own_pixels(hole[i : i + 1])[0].expand(1, *several, *hole.shape[1:]).clone()
            sources[..., rows, columns] = moved(part.sources, rows.start, columns.start, image.shape[-1])
            part = part._replace(sources=sources)
        found.append(part._replace(value=whole))
    return concatenate(found)


def near_points(
    image: Float[Tensor, "b c h w"],
    points: Float[Tensor, "..."],
    *,
    model: Callable[..., Solution],
    around: int = 32,
    history: list[Tensor] | None = None,
) -> Solution:
    """Move the contours of each picture in the part of it about their start.

    Args:
        points: `(b, n, 2)` or `(b, m, n, 2)`.
        model: the op, called with the part of `image` and with `points` in its pixels.
        around: pixels on each side of the contours that belong to the part, which they cannot leave.
        history: a list to which the contours are appended, see `evolve`; for a batch of one.
    """
    found = []
    for i in range(len(image)):
        rows, columns = _about(points[i].reshape(-1, 2), around, image)
        corner = points.new_tensor([columns.start, rows.start])
        recorded = {} if history is None else {"history": history}
        part = model(image[i : i + 1, :, rows, columns], points[i : i + 1] - corner, **recorded)
        found.append(part._replace(value=part.value + corner))
        if history is not None:
            history[:] = [frame + corner for frame in history]
    return concatenate(found)


def _about(points: Float[Tensor, "k 2"], around: int, image: Tensor) -> tuple[slice, slice]:
    """Rows and columns from `around` pixels before the first point to as many behind the last one."""
    if around < 1:
        raise ValueError(f"task.inference.around: expected a whole number of pixels >= 1, got {around}.")
    h, w = image.shape[-2:]
    (left, top), (right, bottom) = points.amin(0).floor().int().tolist(), points.amax(0).ceil().int().tolist()
    rows = slice(max(top - around, 0), min(bottom + around + 1, h))
    return rows, slice(max(left - around, 0), min(right + around + 1, w))
