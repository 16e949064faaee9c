"""Force fields that pull a contour to the edges of an image: those of Kass, of Xu & Prince, and of Li & Acton."""

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.derivative import holds
from tavtorch.image.check import check_image, full_precision
from tavtorch.image.contours.edges import Edges, blur, central, edge_map
from tavtorch.image.fields import total
from tavtorch.image.grid import laplacian
from tavtorch.image.multigrid import v_cycle
from tavtorch.solve import Solution, Stop, conjugate_gradient

DIFFUSED = Stop(tol=1e-5, max_iter=100, every=1)


def kass_force(image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2 h w"]:
    """Minus the gradient of an energy that is least on edges: exact at an edge, zero two pixels away from it.

        E(x) = -|∇u(x)|²,        force = ∇|∇u|², by central differences

    Source: Kass, Witkin & Terzopoulos, "Snakes: active contour models", IJCV 1(4), 1988, doi:10.1007/BF00133570.

    >>> kass_force(torch.tensor([0.0, 0.0, 0.0, 4.0, 4.0, 4.0]).expand(1, 1, 3, 6))[0, 0, 1]
    tensor([ 0.,  2.,  2., -2., -2.,  0.])
    """
    check_image(image)
    return _kass(full_precision(image), image.dtype)


def gaussian_force(image: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b 2 h w"]:
    """`kass_force` of the image smoothed by a Gaussian: it reaches `2 sigma` pixels further, and rounds corners.

    Args:
        image: `(b, c, h, w)`.
        sigma: of the Gaussian, in pixels.

    Source: as `kass_force`, there called scale space.
    """
    check_image(image)
    return _kass(blur(full_precision(image), sigma), image.dtype)


def gvf_force(
    image: Float[Tensor, "b c h w"],
    smoothness: float | Float[Tensor, "b"],
    *,
    edges: Edges = edge_map,
    stop: Stop | None = None,
) -> Solution:
    """Gradient vector flow: the gradient of the edge map, diffused smoothly from the edges into flat regions.

        min_v  Σ  μ |∇v|² + |∇f|² |v - ∇f|²            ⇔            |∇f|² v - μ laplacian(v) = |∇f|² ∇f

    The linear system is solved by conjugate gradients with multigrid as preconditioner, in about 7 steps whatever the
    size; the usual 80 explicit diffusion steps leave most of the error. Far from the edges the field is small: only its
    direction counts. The gradient with respect to the image and μ is exact, by the adjoint system.

    Args:
        image: `(b, c, h, w)`.
        smoothness: μ > 0, a number or one an image. An edge of slope `|∇f|` determines the field over about
            `√μ / |∇f|` pixels: 0.2 for one object of high contrast, 0.02 or less for weak or crowded edges, more for
            noise.
        edges: computes `f`; set its options by `functools.partial(edge_map, sigma=2, threshold=0.3)`.
        stop: `gap` is the relative residual of that system at the result. Default: `Stop(tol=1e-5, max_iter=100,
            every=1)`; where rounding alone leaves more, as it does in float32 for μ above 10 or so, as much as that.

    Returns:
        A `Solution` with the field `v`.

    Source: Xu & Prince, "Snakes, shapes, and gradient vector flow", IEEE TIP 7(3), 1998, doi:10.1109/83.661186.

    >>> from tavtorch import circle, fill
    >>> disk = fill(circle((16, 16), 8, 64), (33, 33)).float()
    >>> gvf_force(disk, 0.2).value[0, 0, 16, [0, 4, 12, 20, 28, 32]].sign()   # to the edges, at columns 8 and 24
    tensor([ 1.,  1., -1.,  1., -1., -1.])
    """
    check_image(image)
    mu = torch.as_tensor(smoothness, dtype=full_precision(image).dtype, device=image.device)
    if mu.shape not in {(), (len(image),)} or not holds((mu > 0) & mu.isfinite()):
        raise ValueError(f"smoothness: expected a number > 0, or one an image ({len(image)},), got {smoothness}.")
    slope = _edge_slope(image, edges)
    found = _diffuse(slope, slope.square().sum(1, keepdim=True), mu.reshape(-1, 1, 1, 1), stop)
    return found._replace(value=found.value.to(image.dtype))


def ggvf_force(
    image: Float[Tensor, "b c h w"], contrast: float = 2.0, *, edges: Edges = edge_map, stop: Stop | None = None
) -> Solution:
    """Generalised gradient vector flow: no smoothing at strong edges, so that the field enters narrower concavities.

        g laplacian(v) = (1 - g) (v - ∇f),        g = exp(-|∇f| / K)

    Args:
        image: `(b, c, h, w)`.
        contrast: K, as a multiple of the root mean square of `|∇f|` in the image; K must exceed the slopes of noise.
        edges: computes `f`, see `gvf_force`.
        stop: `gap` is the relative residual of the system divided by `g`. Default as `gvf_force`.

    Source: Xu & Prince, "Generalized gradient vector flow external forces for active contours", Signal Processing
    71(2), 1998, doi:10.1016/S0165-1684(98)00140-6.
    """
    check_image(image)
    if not 0 < contrast < float("inf"):
        raise ValueError(f"contrast: expected a finite number > 0, got {contrast}; more ignores more noise.")
    slope = _edge_slope(image, edges)
    square = slope.square().sum(1, keepdim=True)
    k = contrast * square.mean((1, 2, 3), keepdim=True).sqrt().clamp(min=torch.finfo(slope.dtype).tiny)
    g = torch.exp(-slope.norm(dim=1, keepdim=True) / k).clamp(min=1e-3)  # at the bound v is ∇f to half a percent
    found = _diffuse(slope, (1 - g) / g, torch.ones_like(k), stop)
    return found._replace(value=found.value.to(image.dtype))


def vfc_force(
    image: Float[Tensor, "b c h w"], radius: int, *, decay: float = 2.0, edges: Edges = edge_map
) -> Float[Tensor, "b 2 h w"]:
    """Vector field convolution: each pixel is attracted by every edge within a radius, less by farther ones.

        v(x) = Σ_y f(y) m(|y - x|) (y - x) / |y - x|,        m(r) = (r + 1)^-decay        by one Fourier transform

    Args:
        image: `(b, c, h, w)`.
        radius: in pixels; edges beyond it have no effect.
        decay: usually 1.5 to 3; less is more robust to noise, more separates edges close to each other.
        edges: computes `f`, see `gvf_force`.

    Source: Li & Acton, "Active contour external force using vector field convolution for image segmentation", IEEE TIP
    16(8), 2007, doi:10.1109/TIP.2007.899601.
    """
    check_image(image)
    if not isinstance(radius, int) or radius < 1:
        raise ValueError(f"radius: expected a whole number of pixels >= 1, got {radius}; half the image is usual.")
    f = _strength(image, edges)

    # The kernel: vectors from a pixel to the edge that it is convolved with, hence minus the offset.
    y, x = (torch.arange(-radius, radius + 1, dtype=f.dtype, device=f.device) for _ in range(2))
    offset = -torch.stack(torch.meshgrid(x, y, indexing="xy"))
    r = offset.norm(dim=0)
    kernel = offset / r.clamp(min=1) * torch.where(r <= radius, (r + 1) ** -decay, 0)

    # Padded by the radius, so that nothing wraps around.
    size = [n + 2 * radius for n in f.shape[-2:]]
    field = torch.fft.irfft2(torch.fft.rfft2(f, size) * torch.fft.rfft2(kernel, size), size)
    return field[..., radius : radius + f.shape[-2], radius : radius + f.shape[-1]].to(image.dtype)


def _kass(image: Tensor, dtype: torch.dtype) -> Tensor:
    contrast = central(image).square().sum((1, 2))
    force = central(contrast[:, None])[:, 0].to(dtype)
    if not holds(force.isfinite()):
        raise ValueError(f"image: the squares of its slopes are too large for {dtype}; divide it by its range.")
    return force


def _strength(image: Tensor, edges: Edges) -> Tensor:
    """The edge map of an image, in float32 at least; raise unless it has one value a pixel."""
    image = full_precision(image)
    f = edges(image)
    expected = (len(image), 1, *image.shape[-2:])
    if f.shape != expected:
        raise ValueError(f"edges: expected a function that gives {expected} for this image, got {tuple(f.shape)}.")
    return f.to(image.dtype)


def _edge_slope(image: Tensor, edges: Edges) -> Tensor:
    """`∇f`, `(b, 2, h, w)`."""
    return central(_strength(image, edges))[:, 0]


def _diffuse(slope: Tensor, weight: Tensor, smoothness: Tensor, stop: Stop | None) -> Solution:
    """Solve the diffusion equation `weight v - smoothness laplacian(v) = weight slope`; see `gvf_force` for the gap."""

    def operator(v: Tensor) -> Tensor:
        return weight * v - smoothness * laplacian(v)

    right = weight.detach() * slope.detach().double()
    size = total(right.square()).sqrt().clamp(min=torch.finfo(slope.dtype).tiny)
    found = conjugate_gradient(
        operator,
        weight * slope,
        precondition=v_cycle(weight.detach(), smoothness.detach()),
        measure=lambda v: (total((right - operator(v.double())).square()).sqrt() / size).to(v.dtype),
        stop=stop or DIFFUSED,
    )
    if stop is None:
        norm = (weight.amax((1, 2, 3)) + 8 * smoothness.flatten()).detach()
        rounding = torch.finfo(slope.dtype).eps * norm * total(found.value.detach().square()).sqrt() / size
        found = found._replace(converged=found.converged | (found.gap <= rounding))
    return found
