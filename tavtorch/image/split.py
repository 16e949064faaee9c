"""An image as structure + texture: by frequency, by total variation, or by both."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.grid import cosine_frequencies, fourier_frequencies
from tavtorch.image.check import check_coupling, check_image, spread_weight
from tavtorch.image.hilbert import minimise
from tavtorch.image.primal_dual import Coupling
from tavtorch.image.tv import rof
from tavtorch.solve import Solution, Stop

Response = Callable[[Tensor], Tensor]
"""A function of frequencies (x, y) in cycles a pixel, `(2, …)`."""


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
    cutoff = torch.as_tensor(cutoff, dtype=image.dtype, device=image.device)
    if cutoff.shape not in {(), (len(image),)} or not bool((cutoff >= 0).all()):
        raise ValueError(f"cutoff: expected numbers >= 0 in cycles a pixel, one or one an image, got {cutoff}.")
    if not softness >= 0:
        raise ValueError(f"softness: expected a number >= 0 in cycles a pixel, got {softness}.")
    frequencies = fourier_frequencies(image)
    mask = _within(frequencies.norm(dim=0), cutoff.reshape(-1, 1, 1, 1), softness)
    if direction is not None:
        mask = mask * _towards(frequencies, direction, width)
    return filtered(image, mask)


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
    solution = rof(image, weight, coupling=coupling, stop=stop)
    return Split(solution.value, image - solution.value, solution)


def split_hilbert(
    image: Float[Tensor, "b c h w"],
    weight: float | Float[Tensor, "..."],
    *,
    kernel: Response | Float[Tensor, "..."] | None = None,
    coupling: Coupling = "joint",
    stop: Stop | None = None,
) -> Split:
    """Structure has little total variation; texture has little energy in a norm that weighs frequencies.

        min_u  ½ <f - u, K (f - u)> + Σ_i λ_i |∇u|_i

    `K` says what texture costs at each frequency: high where there shall be none of it. With `K = 1` this is ROF. The
    default, `sobolev`, keeps slow waves in the structure as `split_fourier` does, and edges too, as `split_rof`.

    Gradients in image, weight and kernel are those of the exact minimiser, at constant memory.

    Args:
        image: `f`, `(b, c, h, w)`.
        weight: λ >= 0: a number, one an image `(b,)`, or a map `(b, 1, h, w)`; more is smoother. 0 leaves no texture.
        kernel: a function of frequencies in cycles a pixel, such as `sobolev` or `gabor`; or its values at
            `cosine_frequencies(image)`, `(h, w)` or one an image `(b, 1, h, w)`. Above zero: what costs nothing would
            be undetermined.
        coupling: see `total_variation`.
        stop: `gap` is the duality gap over the energy, one number for all channels.

    Source: Aujol & Gilboa, J. Math. Imaging Vis. 26, 2006, doi:10.1007/s10851-006-7801-6.

    >>> split_hilbert(torch.eye(8)[None, None], 1.0).solution.converged
    tensor([True])
    """
    check_image(image)
    check_coupling(coupling)
    weight, costs = spread_weight(weight, image), _kernel(sobolev if kernel is None else kernel, image)
    solution = minimise(image, weight, costs, coupling, stop or Stop())
    return Split(solution.value, image - solution.value, solution)


def sobolev(frequencies: Float[Tensor, "2 *n"], *, floor: float = 0.05) -> Float[Tensor, "*n"]:
    """`1 / (|ω| + floor)²`: texture costs the less the faster it oscillates, as in the space H⁻¹.

    Source: Osher, Solé & Vese, Multiscale Model. Simul. 1(3), 2003, doi:10.1137/S1540345902416247.
    """
    return 1 / (frequencies.norm(dim=0) + floor).square()


def gabor(
    frequencies: Float[Tensor, "2 *n"], *, center: tuple[float, float], width: float = 0.03, floor: float = 0.02
) -> Float[Tensor, "*n"]:
    """`floor + 1 - exp(-|ω - center|² / 2 width²)`: texture costs next to nothing about one frequency, and 1 elsewhere.

    Cosines do not tell `(x, y)` from `(x, -y)`: both are texture. `center` has both parts positive.

    Source: Aujol, Gilboa, Chan & Osher, Int. J. Comput. Vis. 67, 2006, doi:10.1007/s11263-006-4331-z.
    """
    middle = frequencies.new_tensor(center).reshape(2, *(1,) * (frequencies.dim() - 1))
    return floor + 1 - torch.exp(-(frequencies - middle).square().sum(0) / (2 * width**2))


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


def _kernel(kernel: Response | Tensor, image: Tensor) -> Tensor:
    b, _, h, w = image.shape
    values = kernel if isinstance(kernel, Tensor) else kernel(cosine_frequencies(image))
    if values.shape not in {(h, w), (b, 1, h, w)}:
        raise ValueError(f"kernel: expected values {(h, w)} or {(b, 1, h, w)}, got shape {tuple(values.shape)}.")
    if not bool((values > 0).all() & values.isfinite().all()):
        raise ValueError("kernel: expected finite numbers > 0; what costs nothing is undetermined: add a floor.")
    return values.to(image).expand(len(values) if values.dim() == 4 else 1, 1, h, w)
