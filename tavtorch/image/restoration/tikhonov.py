"""Quadratic smoothing (Tikhonov), solved exactly by the cosine transform."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.derivative import holds
from tavtorch.image.check import check_image, check_spacing, full_precision, spread_weight
from tavtorch.image.fields import each
from tavtorch.image.grid import (
    cosine_transform,
    differences,
    inverse_cosine_transform,
    laplacian_eigenvalues,
    outflow,
    space,
)
from tavtorch.solve import Stop, conjugate_gradient

UNSOLVED = 1e-3
"""Relative residual from which on a result would be a wrong picture, and is an error."""


def tikhonov(
    image: Float[Tensor, "b c *d h w"],
    weight: float | Float[Tensor, "..."],
    *,
    spacing: Sequence[float] | Tensor | None = None,
) -> Float[Tensor, "b c *d h w"]:
    """The smooth image nearest to `image`; noise and edges are smoothed alike.

        min_u  ½ |u - f|² + ½ Σ_i λ_i |∇u|_i²        solved by        u - div (λ ∇u) = f

    For one λ an image the cosine transform diagonalises the system: every frequency is divided by `1 + λ e`, `e` that
    of minus the Laplacian. For a map, conjugate gradients, preconditioned by that filter at the mean weight, iterate
    down to the rounding of the type. Gradients in `image` and `weight` are exact, at the cost of one more solution.

    Args:
        image: `f`, `(b, c, h, w)`, or volumes `(b, c, d, h, w)`.
        weight: λ >= 0, in square pixels: a number, one an image `(b,)`, or a map `(b, 1, h, w)`; detail finer than
            about `√λ` pixels goes. 0 gives the image back, a huge one its mean.
        spacing: distances between neighbours along each axis, see `rof`.

    Raises:
        ValueError: a map that spans so many orders of magnitude that its system cannot be solved.

    Source: Tikhonov, Soviet Math. Dokl. 4, 1963; the transform: Strang, SIAM Review 41(1), 1999,
    doi:10.1137/S0036144598336745.

    >>> tikhonov(torch.tensor([[[[0.0, 3.0]]]]), 1.0).round(decimals=4)
    tensor([[[[1., 2.]]]])
    """
    check_image(image, volumes=True)
    dtype, image = image.dtype, full_precision(image)
    spread, spacing = spread_weight(weight, image), check_spacing(spacing, image)
    if spread.shape[2:] != image.shape[2:]:
        return _filter(image, spread, spacing).to(dtype)
    mean = spread.detach().mean(space(image), keepdim=True)
    found = conjugate_gradient(
        lambda u: u - outflow(each(torch.mul, differences(u, spacing), spread), spacing),
        image,
        precondition=lambda r: _filter(r, mean, spacing),
        stop=Stop(tol=16 * torch.finfo(image.dtype).eps, every=1),
    )
    if not holds(found.gap < UNSOLVED):
        raise ValueError(
            "weight: the map spans too many orders of magnitude for the system to be solved, residual "
            f"{found.gap.max():.1g}; raise its small values or lower its large ones."
        )
    return found.value.to(dtype)


def _filter(image: Tensor, weight: Tensor, spacing: Tensor | None) -> Tensor:
    """`(1 - weight laplacian)⁻¹ image`, one weight an item."""
    eigenvalues = laplacian_eigenvalues(image, spacing=spacing)
    return inverse_cosine_transform(cosine_transform(image) / (1 + weight * eigenvalues))
