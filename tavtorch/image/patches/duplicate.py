"""A hole inside something that is in the picture twice: one translation fills it exactly."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tavtorch.image.patches.pixels import copy_pixels, dilated

SAME = 1e-2
"""Root mean square difference of two surroundings, over their contrast, below which they are the same."""


def find_duplicate(image: Tensor, hole: Tensor, usable: Tensor, rim: int) -> tuple[Tensor, Tensor]:
    """The translation that continues the hole's surroundings best, and whether it continues them exactly.

        s = argmin Σ_rim |u(p) - u(p + s)|²        over the s that map hole and rim to usable pixels

    It is exact if the root mean square difference on the rim is below `SAME` times the rim's own contrast: flat
    surroundings look the same everywhere and do not count.

    Args:
        image: `(b, c, h, w)`, 0 in the hole.
        rim: width, in pixels, of the surroundings that are compared.

    Returns:
        The flat index of `p + s` for each pixel `p`, `(b, h w)`, and whether the translation is exact, `(b, 1, 1, 1)`.
    """
    h, w = image.shape[-2:]
    surroundings = dilated(hole, rim) & ~hole

    def correlate(first: Tensor, second: Tensor) -> Tensor:
        """`Σ_p first(p) second(p + s)` for every `s`, negative ones last."""
        one, other = (torch.fft.rfft2(u.to(image.dtype), (2 * h, 2 * w)) for u in (first, second))
        return torch.fft.irfft2((one.conj() * other).sum(1), (2 * h, 2 * w))

    # The best allowed translation, by correlations; pixels outside the picture are not usable.
    square = image.square().sum(1, keepdim=True)
    difference = correlate(surroundings, square) - 2 * correlate(image * surroundings, image)
    unusable = F.pad(~usable, (0, w, 0, h), value=True)
    allowed = correlate(hole | surroundings, unusable) < 0.5
    shift = torch.where(allowed, difference, torch.inf).flatten(1).argmin(1)

    # The pixel that it maps each pixel to, clamped to the picture.
    y, x = torch.arange(h, device=image.device)[:, None], torch.arange(w, device=image.device)
    row = (y + (shift // (2 * w))[:, None, None]) % (2 * h)
    column = (x + (shift % (2 * w))[:, None, None]) % (2 * w)
    origin = (row.clamp(max=h - 1) * w + column.clamp(max=w - 1)).flatten(1)

    # The error on the rim against its contrast.
    n = surroundings.sum((1, 2, 3)).clamp(min=1)
    mean = (image * surroundings).sum((2, 3), keepdim=True) / n.reshape(-1, 1, 1, 1)
    contrast = ((image - mean) * surroundings).square().sum((1, 2, 3))
    error = ((image - copy_pixels(image, origin)) * surroundings).square().sum((1, 2, 3))
    is_exact = allowed.flatten(1).any(1) & (error < SAME**2 * contrast)
    return origin, is_exact.reshape(-1, 1, 1, 1)
