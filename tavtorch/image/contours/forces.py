"""Force fields that pull a contour to the edges of an image: those of Kass, of Xu & Prince, and of Li & Acton."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tavtorch.image.check import check_image
from tavtorch.image.grid import laplacian
from tavtorch.image.multigrid import v_cycle
from tavtorch.solve import Solution, Stop, conjugate_gradient

Edges = Callable[[Tensor], Tensor]
"""From an image `(b, c, h, w)` to `f`, `(b, 1, h, w)`, large on edges."""

DIFFUSED = Stop(tol=1e-5, max_iter=100, every=1)
NEIGHBOURHOOD = 8.0
"""Sigma, in pixels, of the neighbourhood that `normalize="local"` compares an edge with."""


def edge_map(
    image: Float[Tensor, "b c h w"],
    *,
    sigma: float = 1.0,
    normalize: str = "minmax",
    threshold: float = 0.0,
) -> Float[Tensor, "b 1 h w"]:
    """How much of an edge each pixel is, from 0 to 1.

        f = |∇(G_σ * u)|, the root of the sum of squares over the channels, then normalised image by image

    Args:
        image: `(b, c, h, w)`.
        sigma: of the Gaussian that smooths the image before, in pixels; more finds less noise and fewer details.
        normalize: `"minmax"` maps the least and the greatest value to 0 and 1; `"local"` first divides by the mean
            around, so that weak edges count like strong ones, for uneven light; `"binary"` gives 1 on the ridges of
            `f` that reach `threshold` and 0 elsewhere, whatever their contrast (it has no gradient).
        threshold: values below it become 0: noise in flat regions then pulls nothing.

    >>> edge_map(torch.tensor([0.0, 0.0, 0.0, 4.0, 4.0]).expand(1, 1, 2, 5), sigma=0)[0, 0, 0]
    tensor([0., 0., 1., 1., 0.])
    """
    check_image(image)
    if normalize not in ("minmax", "local", "binary"):
        raise ValueError(f"normalize: expected 'minmax', 'local' or 'binary', got {normalize!r}.")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: expected a number from 0 to 1, the range of the edges, got {threshold}.")
    slope = _central(blur(image, sigma))
    f = slope.flatten(1, 2).norm(dim=1, keepdim=True)
    if normalize == "local":
        f = f / (blur(f, NEIGHBOURHOOD) + 0.01 * f.amax((2, 3), keepdim=True)).clamp(min=torch.finfo(f.dtype).tiny)
    low, high = f.amin((2, 3), keepdim=True), f.amax((2, 3), keepdim=True)
    f = (f - low) / torch.where(high > low, high - low, 1)
    f = torch.where(f >= threshold, f, 0)
    return f if normalize != "binary" else _ridges(f, slope)


def kass_force(image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2 h w"]:
    """Minus the gradient of the energy that rewards contrast: right at an edge, and zero two pixels away from it.

        E(x) = -|∇u(x)|²,        force = ∇|∇u|², by central differences

    Source: Kass, Witkin & Terzopoulos, "Snakes: active contour models", IJCV 1(4), 1988, doi:10.1007/BF00133570.

    >>> kass_force(torch.tensor([0.0, 0.0, 0.0, 4.0, 4.0, 4.0]).expand(1, 1, 3, 6))[0, 0, 1]
    tensor([ 0.,  2.,  2., -2., -2.,  0.])
    """
    check_image(image)
    return _central(_central(image).square().sum((1, 2))[:, None])[:, 0]


def gaussian_force(image: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b 2 h w"]:
    """`kass_force` of the image smoothed by a Gaussian: it reaches `2 sigma` pixels further, and rounds the corners.

    Source: as `kass_force`, there called scale space.
    """
    return kass_force(blur(image, sigma))


def gvf_force(
    image: Float[Tensor, "b c h w"],
    smoothness: float | Float[Tensor, "b"],
    *,
    edges: Edges = edge_map,
    stop: Stop | None = None,
) -> Solution:
    """Gradient vector flow: the gradient of the edge map where there is one, spread smoothly to where there is none.

        min_v  Σ  μ |∇v|² + |∇f|² |v - ∇f|²            ⇔            |∇f|² v - μ laplacian(v) = |∇f|² ∇f

    Solved, not stepped: conjugate gradients under multigrid need about 7 steps whatever the size, and the 80 explicit
    steps that are usual leave most of the error. Far from the edges the field is small: only its direction counts.
    The gradient, with respect to the image and μ, is exact, by the adjoint system.

    Args:
        image: `(b, c, h, w)`.
        smoothness: μ > 0, a number or one an image. An edge of slope `|∇f|` holds its field over `√μ / |∇f|` pixels
            against others: 0.2 for one object of high contrast, 0.02 or less for weak or crowded edges, more for noise.
        edges: gives `f`; its options by `functools.partial(edge_map, sigma=2, threshold=0.3)`.
        stop: `gap` is the relative residual of that system. Default: `Stop(tol=1e-5, max_iter=100, every=1)`.

    Returns:
        A `Solution` with the field `v`.

    Source: Xu & Prince, "Snakes, shapes, and gradient vector flow", IEEE TIP 7(3), 1998, doi:10.1109/83.661186.

    >>> from tavtorch import circle, fill
    >>> disk = fill(circle((16, 16), 8, 64), (33, 33)).float()
    >>> gvf_force(disk, 0.2).value[0, 0, 16, [0, 4, 12, 20, 28, 32]].sign()   # to the edges, at columns 8 and 24
    tensor([ 1.,  1., -1.,  1., -1., -1.])
    """
    check_image(image)
    mu = torch.as_tensor(smoothness, dtype=image.dtype, device=image.device)
    if mu.shape not in {(), (len(image),)} or not bool((mu > 0).all() & mu.isfinite().all()):
        raise ValueError(f"smoothness: expected a number > 0, or one an image ({len(image)},), got {smoothness}.")
    slope = _central(edges(image))[:, 0]
    return _diffuse(slope, slope.square().sum(1, keepdim=True), mu.reshape(-1, 1, 1, 1), stop)


def ggvf_force(
    image: Float[Tensor, "b c h w"], contrast: float = 2.0, *, edges: Edges = edge_map, stop: Stop | None = None
) -> Solution:
    """Generalised gradient vector flow: no smoothing at strong edges, so that it enters narrower bays.

        g laplacian(v) = (1 - g) (v - ∇f),        g = exp(-|∇f| / K)

    Args:
        image: `(b, c, h, w)`.
        contrast: K over the root mean square of `|∇f|` in the image; it must be above the slopes of the noise.
        edges: gives `f`, see `gvf_force`.
        stop: `gap` is the relative residual of the system divided by `g`. Default as `gvf_force`.

    Source: Xu & Prince, "Generalized gradient vector flow external forces for active contours", Signal Processing
    71(2), 1998, doi:10.1016/S0165-1684(98)00140-6.
    """
    check_image(image)
    if not contrast > 0:
        raise ValueError(f"contrast: expected a number > 0, got {contrast}; more ignores more noise.")
    slope = _central(edges(image))[:, 0]
    square = slope.square().sum(1, keepdim=True)
    k = contrast * square.mean((1, 2, 3), keepdim=True).sqrt().clamp(min=torch.finfo(image.dtype).tiny)
    g = torch.exp(-slope.norm(dim=1, keepdim=True) / k).clamp(min=1e-3)  # there v is ∇f to half a percent
    return _diffuse(slope, (1 - g) / g, torch.ones_like(k), stop)


def vfc_force(
    image: Float[Tensor, "b c h w"], radius: int, *, decay: float = 2.0, edges: Edges = edge_map
) -> Float[Tensor, "b 2 h w"]:
    """Vector field convolution: each pixel is pulled by every edge within a radius, less by those that are further.

        v(x) = Σ_y f(y) m(|y - x|) (y - x) / |y - x|,        m(r) = (r + 1)^-decay        by one Fourier transform

    Args:
        image: `(b, c, h, w)`.
        radius: in pixels; beyond it nothing pulls.
        decay: 1.5 to 3; less reaches further against noise, more tells near edges apart.
        edges: gives `f`, see `gvf_force`.

    Source: Li & Acton, "Active contour external force using vector field convolution for image segmentation", IEEE TIP
    16(8), 2007, doi:10.1109/TIP.2007.899601.
    """
    check_image(image)
    if radius < 1:
        raise ValueError(f"radius: expected at least 1 pixel, got {radius}; half the size of the image is usual.")
    f = edges(image)
    y, x = (torch.arange(-radius, radius + 1, dtype=f.dtype, device=f.device) for _ in range(2))
    offset = -torch.stack(torch.meshgrid(x, y, indexing="xy"))  # from the pixel to the edge that is convolved with
    r = offset.norm(dim=0)
    kernel = offset / r.clamp(min=1) * torch.where(r <= radius, (r + 1) ** -decay, 0)
    size = [n + 2 * radius for n in f.shape[-2:]]
    field = torch.fft.irfft2(torch.fft.rfft2(f, size) * torch.fft.rfft2(kernel, size), size)
    return field[..., radius : radius + f.shape[-2], radius : radius + f.shape[-1]]


def blur(image: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
    """Convolve with a Gaussian of `sigma` pixels, cut at four of them; the border pixels go on outside."""
    if not 0 <= sigma < float("inf"):
        raise ValueError(f"sigma: expected a number of pixels >= 0, got {sigma}; more is smoother.")
    reach = int(4 * sigma + 0.5)
    if reach == 0:
        return image
    offset = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
    planes = image.shape[0] * image.shape[1]
    kernel = torch.softmax(-(offset**2) / (2 * sigma**2), 0).expand(planes, 1, 1, -1)
    u = F.pad(image, (reach, reach, reach, reach), mode="replicate").flatten(0, 1)
    return F.conv2d(F.conv2d(u, kernel, groups=planes), kernel.mT, groups=planes).reshape(image.shape)


def _diffuse(slope: Tensor, weight: Tensor, smoothness: Tensor, stop: Stop | None) -> Solution:
    """Solve `weight v - smoothness laplacian(v) = weight slope`."""
    return conjugate_gradient(
        lambda v: weight * v - smoothness * laplacian(v),
        weight * slope,
        precondition=v_cycle(weight.detach(), smoothness.detach()),
        stop=stop or DIFFUSED,
    )


def _central(u: Tensor) -> Tensor:
    """Central differences (x, y), `(b, c, h, w)` to `(b, c, 2, h, w)`; at the borders half of the one-sided ones."""
    p = F.pad(u, (1, 1, 1, 1), mode="replicate")
    x = (p[..., 1:-1, 2:] - p[..., 1:-1, :-2]) / 2
    y = (p[..., 2:, 1:-1] - p[..., :-2, 1:-1]) / 2
    return torch.stack((x, y), dim=-3)


def _ridges(f: Tensor, slope: Tensor) -> Tensor:
    """1 where `f` is positive and neither neighbour across the edge, in x or in y, exceeds it; 0 elsewhere."""
    x, y = slope.square().sum(1, keepdim=True).unbind(2)
    highest = torch.where(x >= y, F.max_pool2d(f, (1, 3), 1, (0, 1)), F.max_pool2d(f, (3, 1), 1, (1, 0)))
    return ((f > 0) & (f >= highest)).to(f.dtype)
