"""The weight of ROF from the noise: by Stein's estimate of the risk, or by the size of what is removed."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tavtorch.derivative import holds
from tavtorch.image.check import check_image, check_spacing, full_precision
from tavtorch.image.fields import Coupling, each, frame_of, offset_of
from tavtorch.image.grid import cosines
from tavtorch.image.restoration.primal_dual import adjoint, solve
from tavtorch.image.restoration.rof import pose
from tavtorch.precision import exact
from tavtorch.solve import Stop

RANGE = 0.2, 5.0
"""The weights that are searched, as multiples of the noise level; for photographs the best is 0.5 to 1.5."""
PATCH = 8
"""Pixels along the sides of the patches in which noise is measured."""
PATCHES = 2**17
"""About how many are looked at, so that memory is bounded."""
CALM, FEWEST = 0.02, 1024
"""The share of them that measures, and the least number."""


@exact()
def noise_level(image: Float[Tensor, "b c *d h w"]) -> Float[Tensor, "b"]:
    """Standard deviation of white noise, from the fast waves in the patches that have least of the slow ones.

    Over the cosines `c_jk` of patches of 8 x 8 pixels, with `j + k` the number of their half waves,

        σ² = mean of (c_jk · patch)², j + k >= 10,        over the patches whose Σ_{0 < j + k < 10} (c_jk · patch)² is
                                                          among the least 2 %

    The cosines are orthonormal, so that in white noise the fast do not know how the slow were chosen. Patches with
    pixels that are as dark or as bright as any, where noise may be clipped, come last. A few per cent too high where
    all of the image is a texture of single pixels. Of volumes, in the planes `(h, w)`.

    Source: Colom & Buades, "Analysis and extension of the Ponomarenko et al. method", Image Processing On Line 3, 2013,
    doi:10.5201/ipol.2013.45.

    >>> round(noise_level(0.1 * torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(0))).item(), 2)
    0.1
    """
    check_image(image, volumes=True)
    if min(image.shape[-2:]) < 2:
        raise ValueError(f"image: expected 2 x 2 pixels or more, got {tuple(image.shape)}; give the noise yourself.")
    f = full_precision(image)
    frame = frame_of(f)
    planes = frame.inside(f).flatten(1, -3).flatten(0, 1)[:, None]
    side = min(PATCH, *planes.shape[-2:])
    step = math.ceil(math.sqrt(image[0].numel() / PATCHES)) | 1  # odd: not that of the blocks of a JPEG
    slow, fast = (
        F.conv2d(planes, waves[:, None], stride=step)
        .unflatten(0, (len(image), -1)).movedim(1, 2).flatten(2)
        for waves in _slow_and_fast(side, planes)
    )  # fmt: skip
    ends = (planes == planes.amax((-2, -1), keepdim=True)) | (planes == planes.amin((-2, -1), keepdim=True))
    clipped = F.max_pool2d(ends.to(planes), side, step).reshape(len(image), -1) > 0
    size = slow.detach().square().sum(1)
    size = size + clipped * size.amax(1, keepdim=True)
    least = size.topk(max(round(CALM * size.shape[1]), min(FEWEST, size.shape[1])), largest=False).indices
    chosen = fast.gather(2, least[:, None].expand(-1, fast.shape[1], -1)).flatten(1)
    level = torch.linalg.vector_norm(chosen, dim=1) / chosen.shape[1] ** 0.5
    return (frame.unit.flatten() * level).to(image.dtype)


def _slow_and_fast(side: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The products of two cosines on a square of pixels, without the constant."""
    waves, number = cosines(side, like), torch.arange(side, device=like.device)
    products = waves[:, None, :, None] * waves[None, :, None, :]
    halves, most = number[:, None] + number, round(1.25 * side)
    return products[(halves > 0) & (halves < most)], products[halves >= most]


def sure_weight(
    image: Float[Tensor, "b c *d h w"],
    noise: float | Float[Tensor, "b"] | None = None,
    *,
    coupling: Coupling = "joint",
    spacing: Sequence[float] | Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "b"]:
    """The weight with which `rof` comes nearest to the clean image, estimated from the noisy image alone.

        risk(λ) = |u - f|² + 2 σ² div_f u        and, with random signs s,        div_f u ≈ s · (∂u/∂f) s

    The expected square error, up to a constant, if the noise is white and Gaussian. The divergence takes one adjoint
    solve, and the minimum is found to about 10 % by golden section, for all images at once.

    Args:
        image: noisy, `(b, c, h, w)` or `(b, c, d, h, w)`.
        noise: its standard deviation σ, a number or one an image; without it, `noise_level`.
        coupling, spacing: as `rof` will be called with.
        generator: of the random signs.

    Returns:
        λ, `(b,)`, between 0.2 and 5 σ.

    Source: Stein, Ann. Statist. 9(6), 1981, doi:10.1214/aos/1176345632; with a probe: Ramani, Blu & Unser, IEEE Trans.
    Image Process. 17(9), 2008, doi:10.1109/TIP.2008.2001404.

    >>> noisy = 0.1 * torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> sure_weight(noisy, 0.1) > 0.1                                           # nothing but noise: smooth it all
    tensor([True, True])
    """
    check_image(image, volumes=True)
    sigma = _spread_noise(noise, image)
    place = generator.device if generator else image.device
    signs = torch.randint(0, 2, (1, *image.shape[1:]), generator=generator, device=place).to(image.device)
    signs = (2 * signs - 1).to(image.dtype).expand_as(image)  # the same for each image, alone and in any batch

    def risk(residual: Tensor, pull: Callable[[Tensor], Tensor]) -> Tensor:
        return residual + 2 * sigma**2 * _dot(signs, pull(signs))

    return _least(risk, image, sigma, coupling, check_spacing(spacing, image))


def estimated_weight(
    rule: str, image: Float[Tensor, "b c *d h w"], coupling: Coupling, spacing: Tensor | None = None
) -> Float[Tensor, "b"]:
    """The weight by a rule that is named, the same for an image wherever it stands."""
    if rule != "sure":
        raise ValueError(f'weight: expected numbers, or "sure" for an estimate from the noise, got {rule!r}.')
    generator = torch.Generator(image.device).manual_seed(0)
    return sure_weight(image.detach(), coupling=coupling, spacing=spacing, generator=generator)


def discrepancy_weight(
    image: Float[Tensor, "b c *d h w"],
    noise: float | Float[Tensor, "b"] | None = None,
    *,
    coupling: Coupling = "joint",
    spacing: Sequence[float] | Tensor | None = None,
) -> Float[Tensor, "b"]:
    """The weight with which `rof` removes as much as there is noise: `|u - f|² = c h w σ²` (Morozov's principle).

    Smoother than `sure_weight`, and some 0.7 dB further from the clean image. Arguments as there.

    Source: Morozov, Soviet Math. Dokl. 7, 1966.
    """
    check_image(image, volumes=True)
    sigma = _spread_noise(noise, image)
    expected = sigma**2 * image[0].numel()

    def criterion(residual: Tensor, pull: Callable[[Tensor], Tensor]) -> Tensor:
        return (residual - expected).abs()

    return _least(criterion, image, sigma, coupling, check_spacing(spacing, image))


def _least(
    criterion: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor],
    image: Tensor,
    sigma: Tensor,
    coupling: Coupling,
    spacing: Tensor | None,
) -> Tensor:
    """The weight in `RANGE` that minimises `criterion(|u - f|², derivative)`, by golden section in its logarithm."""
    stop = Stop(1e-4, 300)
    image = image.detach() - offset_of(image.detach())

    @torch.no_grad()
    def value(log_weight: Tensor) -> Tensor:
        weight = log_weight.exp().reshape(-1, *(1,) * (image.dim() - 1))
        problem, p = pose(image, weight, coupling, spacing=spacing)
        u, p = solve(problem, image + problem.divergence(p), p, stop).value
        return criterion(
            _dot(u - image, u - image), lambda g: adjoint(g, each(torch.add, p, problem.gradient(u)), problem, stop)
        )

    ratio = (5**0.5 - 1) / 2
    low, high = ((sigma * end).log() for end in RANGE)
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = value(left), value(right)
    for _ in range(6):
        down = at_left < at_right
        low, high = torch.where(down, low, left), torch.where(down, right, high)
        new = torch.where(down, high - ratio * (high - low), low + ratio * (high - low))
        at_new = value(new)
        left, right = torch.where(down, new, right), torch.where(down, left, new)
        at_left, at_right = torch.where(down, at_new, at_right), torch.where(down, at_left, at_new)
    return torch.where(at_left < at_right, left, right).exp()


def _spread_noise(noise: float | Tensor | None, image: Tensor) -> Tensor:
    sigma = noise_level(image) if noise is None else torch.as_tensor(noise, dtype=image.dtype, device=image.device)
    if noise is None and not holds(sigma > 0):
        raise ValueError("image: has no noise that could be measured; give `noise`, or the weight itself.")
    if sigma.shape not in {(), (len(image),)} or not holds((sigma > 0) & sigma.isfinite()):
        raise ValueError(
            f"noise: expected a standard deviation > 0, a number or one an image ({len(image)},), got {noise!r}; "
            "an image without noise needs no weight."
        )
    return sigma.expand(len(image))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)
