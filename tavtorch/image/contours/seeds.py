"""Circles to start from, where a picture has blobs: no person needs to place them."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tavtorch.derivative import without_derivatives
from tavtorch.image.check import check_image, full_precision
from tavtorch.image.contours.edges import blur
from tavtorch.image.contours.polygons import circle
from tavtorch.image.grid import laplacian

STEP = 2**0.25
"""Ratio of two neighbouring scales."""


def seeds(
    image: Float[Tensor, "b c h w"],
    *,
    least: float = 4.0,
    most: float = 64.0,
    threshold: float = 0.3,
    dark: bool | None = None,
    n: int = 64,
) -> list[Float[Tensor, "m n 2"]]:
    """A circle for each blob of a picture, to start contours from.

        L(x, σ) = σ² |laplacian(G_σ * u)(x)|,        extrema over place and scale;        radius = √2 σ

    A disk answers most strongly at its centre and at the scale of its radius. Of two circles that cover each other by
    more than half of the smaller one, the stronger stays.

    Args:
        image: `(b, c, h, w)`; the mean of the channels counts.
        least, most: radii in pixels that are looked for, up to half the shorter side.
        threshold: least answer of a blob, over that of the strongest one of its picture.
        dark: False looks for what is brighter than its surroundings, True for what is darker; None for the kind of the
            strongest blob.
        n: points of each circle.

    Returns:
        For each picture its circles, `(m, n, 2)`, the strongest first; none is an empty tensor. They start
        `segment(image[i : i + 1], circles[i][None])`.

    Source: Lindeberg, "Feature detection with automatic scale selection", IJCV 30(2), 1998,
    doi:10.1023/A:1008045108935.

    >>> from tavtorch import circle, fill
    >>> two = fill(circle(torch.tensor([[[20.0, 24.0], [60.0, 30.0]]]), torch.tensor([[8.0, 12.0]]), 64), (56, 90))
    >>> [found] = seeds(two.any(1, keepdim=True).float())
    >>> found.mean(1).round().tolist(), (found[:, 0] - found.mean(1)).norm(dim=-1).round().tolist()
    ([[20.0, 24.0], [60.0, 30.0]], [8.0, 11.0])
    """
    check_image(image)
    if not 1 <= least <= most < math.inf:
        raise ValueError(f"least, most: expected radii 1 <= least <= most in pixels, got {least} and {most}.")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold: expected a number above 0, up to 1, got {threshold}; less finds weaker blobs.")
    with without_derivatives():
        return [_of_one(u, least, most, threshold, dark, n) for u in full_precision(image).mean(1)[:, None, None]]


def _of_one(u: Tensor, least: float, most: float, threshold: float, dark: bool | None, n: int) -> Tensor:
    """The circles of one picture `(1, 1, h, w)`."""
    h, w = u.shape[-2:]
    most = max(least, min(most, min(h, w) / 2))
    steps = max(0, math.ceil(math.log(most / least) / math.log(STEP)))
    sigmas = [least / math.sqrt(2) * STEP**k for k in range(-1, steps + 2)]
    answers = torch.stack([-(sigma**2) * laplacian(blur(u, sigma))[0, 0] for sigma in sigmas])
    if dark is None:
        answers = max(answers, -answers, key=lambda one: float(torch.where(_peaks(one), one, 0).amax()))
    elif dark:
        answers = -answers
    least_answer = torch.maximum(threshold * answers.amax(), 100 * torch.finfo(u.dtype).eps * u.abs().amax())
    strong = _peaks(answers) & (answers > least_answer)
    k, y, x = strong.nonzero().unbind(1)
    order = answers[k, y, x].argsort(descending=True)
    k, y, x = k[order], y[order], x[order]
    radius = (torch.tensor(sigmas, dtype=u.dtype, device=u.device) * math.sqrt(2))[k]
    centre = torch.stack((x, y), -1).to(u.dtype)

    # The strongest first; what it covers is left out.
    apart = torch.cdist(centre, centre) if len(centre) else u.new_zeros(0, 0)
    covers = (apart < torch.maximum(radius[:, None], radius)).tolist()
    kept: list[int] = []
    for i in range(len(covers)):
        if not any(covers[i][j] for j in kept):
            kept.append(i)
    if not kept:
        return u.new_zeros(0, n, 2)
    circles = circle(centre[kept], radius[kept], n)
    return circles.clamp(min=u.new_zeros(2), max=u.new_tensor([w - 1, h - 1]))


def _peaks(answers: Tensor) -> Tensor:
    """Extrema over scale and place, `(s, h, w)`, but for the first and last scale and the border."""
    peak = F.max_pool3d(answers[None, None], 3, 1, 1)[0, 0] == answers
    peak[0] = peak[-1] = False
    peak[:, 0] = peak[:, -1] = False
    peak[..., 0] = peak[..., -1] = False
    return peak
