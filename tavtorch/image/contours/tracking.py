"""Objects followed through a film: where each went, then its contour again."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor

from tavtorch.derivative import without_derivatives
from tavtorch.image.check import check_image, full_precision
from tavtorch.image.contours.polygons import area, check_points, fill, many
from tavtorch.image.contours.snakes import segment
from tavtorch.solve import Solution

RIM = 3
"""Pixels around a contour that are compared too: its edge is what moves."""


def track(
    frames: Shaped[Tensor, "..."], points: Shaped[Tensor, "..."], *, reach: int | None = None, **options: Any
) -> Solution:
    """Contours of moving objects: the last frame's, moved to where the object is now, start those of the next.

    The motion `s` of each object maximises the correlation of what its contour encloses, up to `reach` pixels away,

        Σ (u₀(p) - m₀) (u₁(p + s) - m₁(s)) / (σ₀ σ₁(s)),        p inside the contour or at its rim,

    so that an object may leave its own outline from frame to frame, and light may change. Then `segment` finds its
    border in the new frame. One that is lost keeps its last contour, with `converged` False.

    Args:
        frames: `(b, c, t, h, w)`, films.
        points: `(b, n, 2)` or `(b, m, n, 2)`, around or inside the objects of the first frame.
        reach: pixels that an object may move in a frame. Default: half as far again as the largest radius.
        options: of `segment`: `force`, `elasticity`, `repel`, …

    Returns:
        A `Solution` with the contours of each frame, `(b, t, n, 2)` or `(b, t, m, n, 2)`; its other fields are those of
        `segment`, `(b, t)` or `(b, t, m)`.

    >>> from tavtorch import circle, fill
    >>> middle = torch.tensor([[20.0 + 9 * k, 24.0] for k in range(4)])
    >>> film = fill(circle(middle, 8, 64), (48, 64)).float().movedim(0, 1)[None]
    >>> found = track(film, circle((20, 24), 11, 60))
    >>> (found.value.mean(2)[0] - middle).norm(dim=-1).max() < 0.5
    tensor(True)
    """
    if frames.dim() != 5 or not frames.shape[2]:
        raise ValueError(f"frames: expected films (b, c, t, h, w) of a frame or more, got shape {tuple(frames.shape)}.")
    check_image(frames[:, :, 0])
    check_points(points)
    if reach is not None and (not isinstance(reach, int) or reach < 1):
        raise ValueError(f"reach: expected a whole number of pixels >= 1, got {reach}.")

    found = [segment(frames[:, :, 0], points, **options)]
    for before, now in zip(frames.unbind(2), frames.unbind(2)[1:], strict=False):
        last = found[-1].value
        with without_derivatives():
            shift = _motion(full_precision(before), full_precision(now), full_precision(many(last)), reach)
        end = last.new_tensor([now.shape[-1] - 1, now.shape[-2] - 1])
        start = (many(last) + shift.to(last)).clamp(min=torch.zeros_like(end), max=end).reshape(last.shape)
        found.append(segment(now, start, **options))
    return Solution(*(torch.stack(parts, 1) for parts in zip(*found, strict=True)))


def _motion(before: Tensor, now: Tensor, contours: Tensor, reach: int | None) -> Tensor:
    """How far each contour's object moved from one frame to the next, in whole pixels, `(b, m, 1, 2)`."""
    b, m, _, _ = contours.shape
    h, w = before.shape[-2:]
    if reach is None:
        reach = math.ceil(1.5 * float((area(contours).abs() / math.pi).sqrt().amax())) + 1

    # Windows about each contour, wide enough for what it encloses and for where that may be.
    low, high = contours.amin(2), contours.amax(2)
    half = int((high - low).amax().div(2).ceil()) + RIM + reach + 1
    middle = ((low + high) / 2).round().long()
    offset = torch.arange(-half, half + 1, device=before.device)
    y, x = ((middle[..., k, None] + offset) for k in (1, 0))
    index = y.clamp(0, h - 1)[..., :, None] * w + x.clamp(0, w - 1)[..., None, :]

    def windows(frame: Tensor) -> Tensor:
        """`(b, m, c, side, side)`."""
        flat = frame.flatten(2)[:, None].expand(-1, m, -1, -1)
        return flat.gather(3, index.flatten(2)[:, :, None].expand(-1, -1, frame.shape[1], -1)).reshape(
            b, m, -1, *index.shape[-2:]
        )

    old, new = windows(before), windows(now)
    mask = fill(contours - (middle - half)[:, :, None], (2 * half + 1, 2 * half + 1)).to(old.dtype)
    mask = F.max_pool2d(mask, 2 * RIM + 1, 1, RIM)[:, :, None]

    # The correlation at every shift, by Fourier transforms; what wraps around lies beyond the reach.
    n = mask.sum((-2, -1), keepdim=True)
    template = mask * (old - (mask * old).sum((-2, -1), keepdim=True) / n)

    def correlate(first: Tensor, second: Tensor) -> Tensor:
        """`Σ_p first(p) second(p + s)`, the channels added up."""
        spectrum = torch.fft.rfft2(first).conj() * torch.fft.rfft2(second)
        return torch.fft.irfft2(spectrum, first.shape[-2:]).sum(2)

    new = new - new.mean((-2, -1), keepdim=True)
    ones = mask.expand_as(new)
    spectra = [torch.fft.rfft2(ones).conj() * torch.fft.rfft2(part) for part in (new, new.square())]
    total, square = (torch.fft.irfft2(part, new.shape[-2:]) for part in spectra)
    variance = (square - total.square() / n).sum(2)
    least = 1e-6 * new.square().sum((-3, -2, -1))[..., None, None].clamp(min=torch.finfo(new.dtype).tiny)
    score = correlate(template, new) / variance.clamp(min=least).sqrt()

    # The best one within reach.
    shift = torch.fft.fftfreq(2 * half + 1, 1 / (2 * half + 1), device=old.device).round()
    within = (shift[:, None].square() + shift.square()) <= reach**2
    best = score.masked_fill(~within, -torch.inf).flatten(2).argmax(-1)
    side = 2 * half + 1
    return torch.stack((shift[best % side], shift[best.div(side, rounding_mode="floor")]), -1)[:, :, None]
