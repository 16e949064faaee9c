"""An image as structure + texture: by frequency, by total variation, or by both."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.derivative import holds
from tavtorch.image.check import check_image, full_precision
from tavtorch.image.fields import Coupling
from tavtorch.image.grid import fourier_frequencies
from tavtorch.image.restoration.rof import rof
from tavtorch.solve import Solution, Stop


class Split(NamedTuple):
    """What `structure + texture = image` is made of."""

    structure: Float[Tensor, "b c h w"]
    texture: Float[Tensor, "b c h w"]
    solution: Solution | None = None
    """How the structure was found, where that took iterations."""


def split_fourier(
    image: Float[Tensor, "b c h w"],
    cutoff: float | Float[Tensor, "..."],
    *,
    softness: float = 0.0,
    direction: float | None = None,
    width: float = 30.0,
) -> Split:
    """Structure is what oscillates slowly: frequencies within `cutoff` of the origin; texture is the rest.

        û(ω) = m(ω) f̂(ω),        m = 1 where |ω| <= cutoff, 0 where it is beyond

    The image is taken to go on periodically.

    Args:
        image: `f`, `(b, c, h, w)`.
        cutoff: in cycles a pixel, a number or one an image `(b,)`; more leaves less texture. ½ is the finest grating
            along an axis, `√½` the finest of all.
        softness: width of the transition from 1 to 0 about the cutoff, in cycles a pixel; 0 cuts hard, and rings.
        direction: keep only waves that go in this direction, in degrees from x towards y,
        width: and those up to so many degrees from it, on either side.

    Source: Aujol & Gilboa, J. Math. Imaging Vis. 26, 2006, doi:10.1007/s10851-006-7801-6, section 1.

    >>> ripple = torch.tensor([0.0, 1.0]).repeat(4).expand(1, 1, 8, 8)
    >>> split_fourier(ripple, 0.25).structure.unique()
    tensor([0.5000])
    """
    check_image(image)
    dtype, image = image.dtype, full_precision(image)
    cutoff = torch.as_tensor(cutoff, dtype=image.dtype, device=image.device)
    if cutoff.shape not in {(), (len(image),)} or not holds(cutoff >= 0):
        raise ValueError(f"cutoff: expected numbers >= 0 in cycles a pixel, one or one an image, got {cutoff}.")
    if not softness >= 0:
        raise ValueError(f"softness: expected a number >= 0 in cycles a pixel, got {softness}.")
    frequencies = fourier_frequencies(image)
    mask = _within(frequencies.norm(dim=0), cutoff.reshape(-1, 1, 1, 1), softness)
    if direction is not None:
        mask = mask * _towards(frequencies, direction, width)
    parts = filtered(image, mask)
    return Split(parts.structure.to(dtype), parts.texture.to(dtype))


def filtered(image: Float[Tensor, "b c h w"], mask: Float[Tensor, "*b f k"]) -> Split:
    """Structure by any response to the frequencies of `torch.fft.rfft2`, see `fourier_frequencies`."""
    structure = torch.fft.irfft2(mask * torch.fft.rfft2(image), s=image.shape[-2:])
    return Split(structure, image - structure)


def split_rof(
    image: Float[Tensor, "b c h w"],
    weight: float | Float[Tensor, "..."],
    *,
    coupling: Coupling = "joint",
    stop: Stop | None = None,
) -> Split:
    """Structure is what has edges and little total variation, see `rof`; whatever oscillates is texture.

    Source: Rudin, Osher & Fatemi, Physica D 60, 1992, doi:10.1016/0167-2789(92)90242-F.
    """
    dtype, image = image.dtype, full_precision(image)
    solution = rof(image, weight, coupling=coupling, stop=stop)
    texture = image - solution.value
    solution = solution._replace(value=solution.value.to(dtype))
    return Split(solution.value, texture.to(dtype), solution)


def least_correlated(
    image: Float[Tensor, "b c h w"], split: Callable[..., Split], weights: Float[Tensor, "n"]
) -> Float[Tensor, "b"]:
    """The weight whose structure and texture have the least to do with each other, one an image.

        argmin_λ  |corr(u_λ, f - u_λ)|

    Args:
        split: `split(image, weight)`, such as `split_rof`.
        weights: what is tried, all of it at once.

    Source: Aujol, Gilboa, Chan & Osher, Int. J. Comput. Vis. 67, 2006, doi:10.1007/s11263-006-4331-z.
    """
    b, n = len(image), len(weights)
    with torch.no_grad():
        parts = split(image.repeat_interleave(n, 0), weights.to(image).repeat(b))
    return weights.to(image)[correlation(parts.structure, parts.texture).abs().reshape(b, n).argmin(1)]


def correlation(a: Float[Tensor, "b c h w"], b: Float[Tensor, "b c h w"]) -> Float[Tensor, "b"]:
    """Pearson's coefficient over all pixels of an item; 0 where one of the two is constant."""
    a, b = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (a, b))
    norms = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(norms > 0, (a * b).sum(1) / norms, 0)


def _within(distance: Tensor, cutoff: Tensor, softness: float) -> Tensor:
    """1 inside, 0 outside, half a cosine in between."""
    if softness == 0:
        return (distance <= cutoff).to(distance)
    across = ((distance - cutoff) / softness + 0.5).clamp(0, 1)
    return (1 + torch.cos(torch.pi * across)) / 2


def _towards(frequencies: Tensor, direction: float, width: float) -> Tensor:
    """Waves in a double wedge about the origin, and the mean."""
    x, y = frequencies
    apart = (torch.rad2deg(torch.atan2(y, x)) - direction + 90).remainder(180) - 90
    return ((apart.abs() <= width) | ((x == 0) & (y == 0))).to(x)
