"""A hole in something that is in the picture twice: it is found at once, and filled exactly."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tavtorch.image.patches.nearest import copies, dilated

SAME = 1e-2
"""Difference, over the contrast, below which the surroundings of two places are the same."""


def find_duplicate(image: Tensor, hole: Tensor, usable: Tensor, rim: int) -> tuple[Tensor, Tensor]:
    """The place that the hole was copied from, if it was: as `(b, h w)` and whether, `(b, 1, 1, 1)`.

        s = argmin Σ_rim |u(p) - u(p + s)|²        by correlations; what is outside of the picture is not usable

    It was where the rim differs by less than `SAME` of its own contrast: what is flat looks the same everywhere.
    """
    h, w = image.shape[-2:]
    around = dilated(hole, rim) & ~hole

    def correlate(first: Tensor, second: Tensor) -> Tensor:
        """`Σ_p first(p) second(p + s)`, negative shifts last."""
        one, other = (torch.fft.rfft2(u.to(image.dtype), (2 * h, 2 * w)) for u in (first, second))
        return torch.fft.irfft2((one.conj() * other).sum(1), (2 * h, 2 * w))

    apart = correlate(around, image.square().sum(1, keepdim=True)) - 2 * correlate(image * around, image)
    room = correlate(hole | around, F.pad(~usable, (0, w, 0, h), value=True)) < 0.5
    shift = torch.where(room, apart, torch.inf).flatten(1).argmin(1)
    y, x = torch.arange(h, device=image.device)[:, None], torch.arange(w, device=image.device)
    row, column = (y + (shift // (2 * w))[:, None, None]) % (2 * h), (x + (shift % (2 * w))[:, None, None]) % (2 * w)
    copied = (row.clamp(max=h - 1) * w + column.clamp(max=w - 1)).flatten(1)
    n = around.sum((1, 2, 3)).clamp(min=1)
    mean = (image * around).sum((2, 3), keepdim=True) / n.reshape(-1, 1, 1, 1)
    contrast = ((image - mean) * around).square().sum((1, 2, 3))
    error = ((image - copies(image, copied)) * around).square().sum((1, 2, 3))
    whole = room.flatten(1).any(1) & (error < SAME**2 * contrast)
    return copied, whole.reshape(-1, 1, 1, 1)
