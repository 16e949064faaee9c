"""The force of regions: contours without edges, for objects that are told by their brightness and not by their rim."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor

from tavtorch.image.check import check_image, full_precision
from tavtorch.image.contours.motion import normals
from tavtorch.image.contours.polygons import check_points, many
from tavtorch.image.fields import frame_of
from tavtorch.image.grid import sample

COVERED = 0.9
"""Share of the image inside of contours from which on they have no common outside."""


def chan_vese_force(
    image: Shaped[Tensor, "..."],
    points: Shaped[Tensor, "..."],
    *,
    inside: float = 1.0,
    outside: float = 1.0,
    smoothing: float = 3.0,
) -> Shaped[Tensor, "..."]:
    """Force on contours towards the parting of the picture into two of constant colour; no edge is needed.

        min_C  λ₁ ∫_in |u - c₁|² + λ₂ ∫_out |u - c₂|²,        c₁, c₂ the mean colours inside and outside

        force = n S / √(1 + S²),        S = G * F,        F = (λ₂ |u - c₂|² - λ₁ |u - c₁|²) / max(|c₁ - c₂|², σ²),

    `n` the outer normals, `σ²` the variance of the picture. `F` is minus the gradient of the energy in units of the
    contrast: 1 on what is as inside, -1 on what is as outside. A Gaussian `G` along the contour makes it the gradient
    in a smoother norm, in which noise does not tangle the contour; the root keeps a bright pixel from moving it further
    than one of the object. The means come from line integrals along the contours, a step of few operations, and have
    their derivatives.

    Many contours of one image have each its own inside and one outside together, what none of them encloses; where they
    cover more than `COVERED` of the image, or overlap that much, each has its own outside.

    Args:
        image: `(b, c, h, w)`. For textured objects, an image of features that tell them from their surroundings.
        points: `(b, n, 2)` or `(b, m, n, 2)`; clockwise or not.
        inside, outside: λ₁, λ₂ >= 0. More inside keeps to what is uniform, more outside takes more in.
        smoothing: standard deviation of `G`, in points of the contour; 0 for the plain gradient.

    Returns:
        Like `points`: a term for `evolve(terms=[partial(chan_vese_force, image)])`, or `segment(region=...)`. It is 0
        for a contour whose inside has the colour of its outside.

    Source: Chan & Vese, "Active contours without edges", IEEE TIP 10(2), 2001, doi:10.1109/83.902291; on polygons:
    Unal, Yezzi & Krim, IJCV 62(3), 2005, doi:10.1007/s11263-005-4880-6; smoother norms: Sundaramoorthi, Yezzi &
    Mennucci, IJCV 73(3), 2007, doi:10.1007/s11263-006-0635-2.

    >>> from tavtorch import circle, fill, segment
    >>> disk = fill(circle((32, 32), 12, 64), (65, 65)).float()
    >>> start = circle((34, 31), 20, 60)
    >>> found = segment(disk, start, force=None, region=chan_vese_force)
    >>> bool((fill(found.value, (65, 65)) == (disk > 0)).float().mean() > 0.99)
    True
    """
    check_image(image)
    check_points(points)
    if len(image) != len(points):
        raise ValueError(f"points: expected contours of {len(image)} images, got {len(points)}.")
    for name, weight in (("inside", inside), ("outside", outside), ("smoothing", smoothing)):
        if not 0 <= weight < float("inf"):
            raise ValueError(f"{name}: expected a finite number >= 0, got {weight}; see chan_vese_force.")
    contours = full_precision(many(points))
    u = full_precision(image)
    u = frame_of(u).inside(u).to(contours.dtype)  # the force has no unit, and squares none that is too large
    u = u - u.mean((2, 3), keepdim=True)  # only differences of colours count; then the picture adds up to 0

    # The means, of each contour's inside and of what is outside of all.
    integral, area = enclosed(u, contours)
    pixels = u[0, 0].numel()
    mean_in = integral / area.clamp(min=1)
    covered = area.sum(1, keepdim=True)
    common = -integral.sum(1, keepdim=True) / (pixels - covered).clamp(min=1)
    mean_out = torch.where(covered < COVERED * pixels, common, -integral / (pixels - area).clamp(min=1))

    # The force at the points.
    b, m, n, _ = contours.shape
    colour = sample(u, contours.reshape(b, m * n, 2)).reshape(b, m, n, -1)
    to_in, to_out = ((colour - mean[:, :, None]).square().sum(-1) for mean in (mean_in, mean_out))
    contrast = (mean_in - mean_out).square().sum(-1)[..., None]
    scale = torch.maximum(contrast, u.square().mean((1, 2, 3))[:, None, None] * u.shape[1])
    ratio = (outside * to_out - inside * to_in) / torch.where(scale > 0, scale, torch.inf)
    frequency = torch.arange(n // 2 + 1, dtype=ratio.dtype, device=ratio.device) * (2 * math.pi / n)
    ratio = torch.fft.irfft(torch.fft.rfft(ratio) * torch.exp(-0.5 * (smoothing * frequency).square()), n)
    outwards = normals(contours.flatten(0, 1)).reshape(contours.shape)
    return (outwards * (ratio / (1 + ratio.square()).sqrt())[..., None]).reshape(points.shape).to(points.dtype)


def enclosed(u: Tensor, contours: Tensor) -> tuple[Tensor, Tensor]:
    """Integrals of an image over the insides, `(b, m, c)`, and their areas, `(b, m, 1)`, by the theorem of Green,

        ∫∫ u dx dy = ∮ U dy,        U(x, y) = ∫_-½^x u(t, y) dt,

    by Simpson's rule on each edge of the polygon; exact for a constant image.
    """
    b, m, n, _ = contours.shape
    summed = F.pad(u.cumsum(-1), (1, 0))  # column k: the sum of the pixels before it, U at x = k - ½
    shift = contours.new_tensor([0.5, 0.0])
    start, end = contours, contours.roll(-1, -2)
    values = [sample(summed, (x + shift).reshape(b, m * n, 2)).reshape(b, m, n, -1) for x in (start, (start + end) / 2)]
    height = (end - start)[..., 1:]
    along = (values[0] + 4 * values[1] + values[0].roll(-1, -2)) / 6
    integral = (along * height).sum(-2)
    signed = ((start + end)[..., :1] / 2 * height).sum(-2)
    return integral * signed.sign(), signed.abs()
