"""Edge maps: how strong the edge is at each pixel, and the Gaussian and the differences that they are made of."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tavtorch.image.check import check_image, full_precision
from tavtorch.image.fields import frame_of

Edges = Callable[[Tensor], Tensor]
"""From an image `(b, c, h, w)` to `f`, `(b, 1, h, w)`, large on edges."""

WIDEST = 1000
"""Largest sigma of a Gaussian, in pixels."""

NEIGHBOURHOOD = 8.0
"""Sigma, in pixels, of the Gaussian mean by which `normalize="local"` divides."""


def edge_map(
    image: Float[Tensor, "b c h w"],
    *,
    sigma: float = 1.0,
    normalize: str = "minmax",
    threshold: float = 0.0,
) -> Float[Tensor, "b 1 h w"]:
    """Strength of the edge at each pixel, from 0 to 1.

        f = |∇(G_σ * u)|, the root of the sum of squares over the channels, then normalised image by image

    Args:
        image: `(b, c, h, w)`.
        sigma: of the Gaussian that smooths the image first, in pixels; more suppresses noise and details.
        normalize: `"minmax"` maps the least and the greatest value to 0 and 1. `"local"` first divides by the mean
            of the neighbourhood, so that weak edges count like strong ones, for uneven light. `"binary"` gives 1 on
            the ridges of `f` that reach `threshold` and 0 elsewhere, whatever their contrast (it has no gradient).
        threshold: values below it become 0, so that noise in flat regions exerts no force.

    >>> edge_map(torch.tensor([0.0, 0.0, 0.0, 4.0, 4.0]).expand(1, 1, 2, 5), sigma=0)[0, 0, 0]
    tensor([0., 0., 1., 1., 0.])
    """
    check_image(image)
    if normalize not in ("minmax", "local", "binary"):
        raise ValueError(f"normalize: expected 'minmax', 'local' or 'binary', got {normalize!r}.")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: expected a number from 0 to 1, the range of the edges, got {threshold}.")
    single = full_precision(image)
    slope = central(blur(frame_of(single).inside(single), sigma))

    # Strength, by default relative to the whole image, or to its neighbourhood.
    f = slope.flatten(1, 2).norm(dim=1, keepdim=True)
    if normalize == "local":
        f = f / (blur(f, NEIGHBOURHOOD) + 0.01 * f.amax((2, 3), keepdim=True)).clamp(min=torch.finfo(f.dtype).tiny)
    low, high = f.amin((2, 3), keepdim=True), f.amax((2, 3), keepdim=True)
    f = (f - low) / torch.where(high > low, high - low, 1)
    f = torch.where(f >= threshold, f, 0)
    return (_ridges(f, slope) if normalize == "binary" else f).to(image.dtype)


def blur(image: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
    """Convolve with a Gaussian of `sigma` pixels, cut at four of them; the border pixels are repeated outside.

    The convolution is a sum of shifted images, because the paths that `conv2d` chooses round differently in different
    batches.
    """
    if not 0 <= sigma <= WIDEST:
        raise ValueError(f"sigma: expected a number of pixels from 0 to {WIDEST}, got {sigma}; more is smoother.")
    reach = int(4 * sigma + 0.5)
    if reach == 0:
        return image
    offset = torch.arange(reach + 1, dtype=torch.float64)
    half = torch.exp(-(offset**2) / (2 * sigma**2))
    kernel = (half / (2 * half.sum() - 1)).tolist()
    for axis, padding in ((-1, (reach, reach, 0, 0)), (-2, (0, 0, reach, reach))):
        n, u = image.shape[axis], F.pad(image, padding, mode="replicate")
        image = kernel[0] * image
        for k in range(1, reach + 1):
            image = image + kernel[k] * (u.narrow(axis, reach - k, n) + u.narrow(axis, reach + k, n))
    return image


def central(u: Tensor) -> Tensor:
    """Central differences (x, y), `(b, c, h, w)` to `(b, c, 2, h, w)`; at the borders half the one-sided ones."""
    p = F.pad(u, (1, 1, 1, 1), mode="replicate")
    x = (p[..., 1:-1, 2:] - p[..., 1:-1, :-2]) / 2
    y = (p[..., 2:, 1:-1] - p[..., :-2, 1:-1]) / 2
    return torch.stack((x, y), dim=-3)


def _ridges(f: Tensor, slope: Tensor) -> Tensor:
    """1 where `f` is positive and neither neighbour across the edge, in x or in y, exceeds it; 0 elsewhere."""
    x, y = slope.square().sum(1, keepdim=True).unbind(2)
    highest = torch.where(x >= y, F.max_pool2d(f, (1, 3), 1, (0, 1)), F.max_pool2d(f, (3, 1), 1, (1, 0)))
    return ((f > 0) & (f >= highest)).to(f.dtype)
