"""Denoising with a learned regulariser whose minimiser is unique and certified."""

import math
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tavtorch.derivative import holds, without_derivatives
from tavtorch.image.check import check_image, full_precision, spread_over
from tavtorch.image.fields import Frame, frame_of
from tavtorch.image.grid import cosines
from tavtorch.image.restoration.experts import Experts, between_grid, minimise, spectrum
from tavtorch.image.restoration.weight import noise_level
from tavtorch.precision import exact
from tavtorch.solve import Solution, Stop
from tavtorch.weights import of_the_package, read_model, write_model

WEIGHTS = Path(__file__).with_name("ridge.safetensors")
"""The weights that come with the package; benchmarks/README.md says how they were trained."""
LEVELS = tuple(level / 255 for level in (4, 8, 16, 32, 64))
"""Standard deviations of the noise with penalties of their own; those between them are mixed, beyond them scaled."""
KNOTS = 0.5, 1.0, 1.5, 2.0, 3.0, 4.5, 7.0, 11.0
"""Where the curvature of penalties changes, over the deviation of the noise in a filter's answer, before training."""
START = 8.0, 6.0, 3.0, 1.0, -0.8, -0.8, -0.5, -0.25
"""The curvature up to each knot, before training."""
COLORS = ((3**-0.5, 3**-0.5, 3**-0.5), (2**-0.5, 0.0, -(2**-0.5)), (6**-0.5, -2 * 6**-0.5, 6**-0.5))
"""Brightness and two differences of colours: orthonormal, so that the noise stays white."""


@exact()
def ridge(
    image: Float[Tensor, "b c h w"],
    sigma: float | Float[Tensor, "..."] | None = None,
    *,
    model: "RidgeModel | None" = None,
    stop: Stop | None = None,
) -> Solution:
    """Denoise: the image near `image` in which learned filters find little.

        min_u  ½ |u - f|² + Σ_c Σ_i φ_c((w_c ∗ u)_i)        |W u| <= |u|,   φ'' >= -ρ,   ρ < 1

    The penalties bend back, so that large answers cost little more than middling ones and edges stay sharp, but by so
    little that the energy is strongly convex: it has one minimiser, and its slope `∇E` bounds the distance to it, which
    is at most `|∇E(u)| / (1 - ρ)`, and less by the frequencies of that slope (see `experts`).
    Pictures go on beyond their borders as their mirror images. The gradient in `image`, `sigma` and the weights of
    `model` is that of the exact minimiser, in memory that does not depend on the number of steps; its relative error is
    at most about ten times `tol`. First derivatives only.

    Args:
        image: `f`, `(b, c, h, w)`. Three channels are denoised as brightness and two differences of colours, others
            each by itself.
        sigma: standard deviation σ > 0 of the noise in the unit of the image: a number, one an image `(b,)`, or a map
            `(b, 1, h, w)`; more is smoother. None measures it by `noise_level`. The weights of the package are for
            pictures whose white is 1.
        model: filters and penalties; None takes those that come with the package.
        stop: `gap` is the certified root mean square distance to the minimiser, in the unit of the image. Default:
            `Stop(tol=1e-3, max_iter=500, every=1)`, a quarter of a grey level of 255; float32 reaches about 1e-5.

    Returns:
        A `Solution` whose value is `u`.

    Source: Goujon, Neumayer & Unser, "Learning weakly convex regularizers for convergent image-reconstruction
    algorithms", SIAM J. Imaging Sci. 17(1), 2024, doi:10.1137/23M1565243; before it: Roth & Black, "Fields of experts",
    Int. J. Comput. Vis. 82, 2009, doi:10.1007/s11263-008-0197-6.

    >>> noisy = 0.5 + 0.1 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> found = ridge(noisy, 0.1)
    >>> bool(found.converged), (found.value - 0.5).std() < 0.03
    (True, tensor(True))
    """
    check_image(image)
    model = of_the_package(RidgeModel.pretrained, image.device) if model is None else model
    stop = stop or Stop(tol=1e-3, max_iter=500, every=1)
    dtype, f = image.dtype, full_precision(image)
    level, frame = _spread(sigma, f), frame_of(f)
    with torch.autocast(f.device.type, enabled=False):
        experts = model.experts(level / frame.unit, levels_of_axes(level, f))
        found = minimise(experts, to_axes(frame.inside(f)), stop, frame.unit)
        value = frame.outside(from_axes(found.value))
        with without_derivatives():
            precise = Frame(frame.offset.double(), frame.unit.double())
            given, result = (to_axes(precise.inside(u.detach().double())) for u in (f, value))
            gap = (precise.unit.flatten() * experts.detach().double().distance(result, given)).to(f.dtype)
    return Solution(value.to(dtype), found.iterations, gap, gap <= stop.tol)


class RidgeModel(nn.Module):
    """Filters and penalties of `ridge`, to be trained; `model(image, sigma)` is `ridge(image, sigma, model=model)`.

    The filters have mean zero, and a spectrum with `Σ_c |ŵ_c|² <= 1`. They come in families of mirror images with the
    same penalty, so that turning or mirroring a picture does so to its result. The slope of a penalty is odd, and
    linear between knots, with curvatures that are between -ρ and `steepest` and depend on σ. Before training, filters
    are cosines and waves at an angle.

    Args:
        axis: families of two: filters that are even or odd along x and along y, and their transposes.
        diagonal: families of four: filters that a half-turn leaves or negates, in four directions.
        size: of the filters, odd, in pixels.
        rho: ρ, in (0, 1); more allows sharper edges and needs more steps to the same certificate.
        steepest: largest curvature; more smooths better and needs more steps.

    >>> model = RidgeModel()
    >>> model.filters().shape, sum(weights.numel() for weights in model.parameters())
    (torch.Size([48, 1, 9, 9]), 2016)
    """

    def __init__(
        self, *, axis: int = 8, diagonal: int = 8, size: int = 9, rho: float = 0.95, steepest: float = 30.0
    ) -> None:
        super().__init__()
        _check_model(axis, diagonal, size, rho, steepest)
        self.settings = {"axis": axis, "diagonal": diagonal, "size": size, "rho": rho, "steepest": steepest}
        self.rho, self.steepest = rho, steepest
        waves, axis_parity = _cosines(axis, size)
        slanted, diagonal_parity = _slanted(diagonal, size)
        self.axis, self.diagonal = nn.Parameter(waves), nn.Parameter(slanted)
        self.axis_parity: Tensor
        self.diagonal_parity: Tensor
        self.register_buffer("axis_parity", axis_parity, persistent=False)
        self.register_buffer("diagonal_parity", diagonal_parity, persistent=False)
        share = (torch.tensor(START) + rho).clamp(min=0.01) / (steepest + rho)
        self.slopes = nn.Parameter(share.clamp(max=0.99).logit().repeat(len(LEVELS), axis + diagonal, 1))
        with torch.no_grad():
            sizes = self.filters().flatten(1).norm(dim=1)
        self.scale = nn.Parameter(torch.cat((sizes[:axis], sizes[2 * axis :][:diagonal])).log().repeat(len(LEVELS), 1))

    def forward(self, image: Tensor, sigma: float | Tensor | None = None, stop: Stop | None = None) -> Solution:
        """See `ridge`; while it is trained, a tenth of the accuracy is enough."""
        coarse = Stop(tol=1e-2, max_iter=200, every=1) if self.training else None
        return ridge(image, sigma, model=self, stop=stop or coarse)

    def filters(self) -> Float[Tensor, "e 1 k k"]:
        """All filters, family by family of mirror images, with mean zero and `Σ |ŵ|² <= 1`."""
        across, down = self.axis_parity.T[..., None, None]
        even = (self.axis + across * self.axis.flip(-1)) / 2
        even = (even + down * even.flip(-2)) / 2
        slanted = (self.diagonal + self.diagonal_parity[:, None, None] * self.diagonal.flip(-1, -2)) / 2
        turned = (slanted, slanted.mT, slanted.flip(-1), slanted.mT.flip(-1))
        w = torch.cat((even, even.mT, *turned))[:, None]
        w = w - w.mean((-2, -1), keepdim=True)
        return w / (spectrum(w).sum(0).amax() * between_grid(w.shape[-1])).sqrt()

    def curvatures(self) -> Float[Tensor, "levels e knots"]:
        """Of each filter's penalty up to each knot, for each of the `LEVELS`."""
        return self._of_all((self.steepest + self.rho) * self.slopes.sigmoid() - self.rho)

    def experts(self, sigma: Tensor, known: Tensor) -> Experts:
        """The energy for noise of deviation σ; `known` is where it stands among the `LEVELS`. `(b, c, …)` both."""
        ratio = math.log(LEVELS[1] / LEVELS[0])
        place = ((known[:, :, None] / LEVELS[0]).log() / ratio).clamp(0, len(LEVELS) - 1)
        number = torch.arange(len(LEVELS), device=place.device)[:, None, None]
        nearness = (1 - (place - number).abs()).clamp(min=0)
        filters, curvatures, scale = (
            part.to(sigma.dtype) for part in (self.filters(), self.curvatures(), self._of_all(self.scale))
        )
        return Experts(filters, curvatures, scale, KNOTS, nearness, sigma.expand_as(known), self.rho)

    def save(self, path: str | Path) -> None:
        """Write the weights and the settings as safetensors."""
        write_model(path, self, self.settings)

    @classmethod
    def pretrained(cls, path: str | Path = WEIGHTS, **settings: float) -> "RidgeModel":
        """The model of a file that `save` wrote, by default that of the package; it must have these settings."""
        return read_model(cls, path, settings)

    def _of_all(self, family: Tensor) -> Tensor:
        """What each family has, `(levels, families, …)`, for each filter."""
        along, slanted = family.split([len(self.axis), len(self.diagonal)], dim=1)
        return torch.cat((along, along, slanted, slanted, slanted, slanted), 1)


def to_axes(image: Tensor) -> Tensor:
    """Three channels as brightness and two differences of colours."""
    return torch.einsum("dc,bchw->bdhw", image.new_tensor(COLORS), image) if image.shape[1] == 3 else image


def from_axes(image: Tensor) -> Tensor:
    """The inverse of `to_axes`."""
    return torch.einsum("dc,bdhw->bchw", image.new_tensor(COLORS), image) if image.shape[1] == 3 else image


def levels_of_axes(level: Tensor, image: Tensor) -> Tensor:
    """Where noise of this level stands among the `LEVELS` on each axis: brightness has more contrast than a channel."""
    gain = to_axes(torch.ones_like(image[:1, :, :1, :1])).clamp(min=1)
    return (level / gain).expand(-1, image.shape[1], -1, -1)


def _spread(sigma: float | Tensor | None, image: Tensor) -> Tensor:
    """σ as `(b, 1, 1, 1)`, or as the map `(b, 1, h, w)` that it is."""
    level = spread_over(noise_level(image) if sigma is None else sigma, image, "sigma")
    if not holds((level > 0) & level.isfinite()):
        raise ValueError(
            "image: has no noise that could be measured; give sigma."
            if sigma is None
            else "sigma: expected a standard deviation > 0 in the unit of the image; clean pictures need no ridge."
        )
    return level


def _check_model(axis: int, diagonal: int, size: int, rho: float, steepest: float) -> None:
    most = size * (size - 1) // 2
    if size < 3 or size % 2 == 0:
        raise ValueError(f"size: expected an odd number of pixels from 3 on, got {size}; 9 is usual.")
    if not (0 <= axis <= most and diagonal >= 0 and axis + diagonal > 0):
        raise ValueError(f"axis, diagonal: expected up to {most} and any number, not both 0, got {axis}, {diagonal}.")
    if not 0 < rho < 1:
        raise ValueError(f"rho: expected a number in (0, 1), got {rho}; from 1 on the minimiser is not unique.")
    if not 0 < steepest < math.inf:
        raise ValueError(f"steepest: expected a number > 0, got {steepest}; 30 is usual.")


def _cosines(count: int, size: int) -> tuple[Tensor, Tensor]:
    """Products of two different cosines, the slowest first, and whether they are even (1) or odd (-1) along x and y."""
    waves = cosines(size, torch.zeros(()))
    pairs = sorted(((j, k) for k in range(size) for j in range(k)), key=lambda pair: (sum(pair), pair))[:count]
    down, across = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    return waves[down, :, None] * waves[across, None], 1 - 2 * (torch.stack((across, down), 1) % 2)


def _slanted(count: int, size: int) -> tuple[Tensor, Tensor]:
    """Short waves at 22.5°, and whether they are even (1) or odd (-1)."""
    y, x = torch.meshgrid(*(2 * [torch.arange(size) - (size - 1) / 2]), indexing="ij")
    number = torch.arange(count)
    frequency, odd = 0.12 + 0.08 * (number // 2 % 5), number % 2
    along = x * math.cos(math.pi / 8) + y * math.sin(math.pi / 8)
    phase = 2 * math.pi * frequency[:, None, None] * along - odd[:, None, None] * math.pi / 2
    waves = phase.cos() * torch.exp(-(x.square() + y.square()) / 8)
    return waves / waves.norm(dim=(1, 2), keepdim=True), 1 - 2 * odd
