"""Multigrid for diffusion with a data term: `weight u - smoothness laplacian(u) = r` on the pixel grid.

Smooth errors are what local relaxation cannot reduce and a coarser grid can. One V-cycle costs about seven sweeps over
the image; as a preconditioner it makes the number of conjugate-gradient steps small and constant, whatever the size,
the smoothness and the weights.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

CHEBYSHEV = (1.389, 0.562)
"""Weights of two Jacobi sweeps that together leave the least, 22 %, of errors that a grid twice as coarse cannot see:
`1 / (5/4 ± 3/4 cos(π/4))`, the roots of Chebyshev's polynomial on [1/2, 2], where the spectrum of such errors is."""

COARSEST = 64
"""Pixels of the coarsest grid at most: its system is solved by the inverse of its matrix. Sweeps over grids as small
cost nothing but calls, and on a GPU launches."""

SINGULAR = 1e-12
"""Share by which the diagonal of the coarsest grid is raised: its matrix has an inverse where all weights are 0."""


def v_cycle(weight: Float[Tensor, "b 1 h w"], smoothness: float | Float[Tensor, "*_"]) -> Callable[[Tensor], Tensor]:
    """Approximate inverse of `A u = weight u - smoothness laplacian(u)`, with the reflecting borders of `laplacian`.

    Two sweeps of damped Jacobi, a correction from the coarser grid, and the sweeps in reversed order. That grid has
    pixels twice as large, so the mean of the weights and a fourth of the smoothness. Its correction comes back by
    bilinear interpolation, and the residual gets there by the adjoint of that: the cycle is symmetric and positive, as
    conjugate gradients require. The coarsest grid has `COARSEST` pixels, where the system is solved.

    Args:
        weight: `(b, 1, h, w)`, at least 0; a huge weight nearly holds a pixel at 0, masking the result holds it.
        smoothness: at least 0; a number, or one an item, `(b,)`.

    Returns:
        A function of `r`, `(b, c, h, w)`, that gives `u ≈ A⁻¹ r`; where all weights are 0, up to a constant.

    Source: Briggs, Henson & McCormick, "A Multigrid Tutorial", 2000, doi:10.1137/1.9780898719505; on cells: Wesseling,
    J. Comput. Phys. 79(1), 1988, doi:10.1016/0021-9991(88)90005-8.

    >>> weight, r = torch.full((1, 1, 16, 16), 0.1), torch.ones(1, 1, 16, 16)
    >>> v_cycle(weight, 1.0)(r).mean()                                   # exactly, r / weight
    tensor(9.9966)
    """
    smoothness = torch.as_tensor(smoothness, dtype=weight.dtype, device=weight.device).reshape(-1, 1, 1, 1)
    diagonal = (weight + smoothness * _neighbours(torch.ones_like(weight))).clamp(min=torch.finfo(weight.dtype).tiny)
    if weight[0, 0].numel() <= COARSEST:
        return _inverse(diagonal, smoothness)
    coarse = v_cycle(_mean(weight), smoothness / 4)
    (h, w), factors = weight.shape[-2:], _factors(weight)
    first = CHEBYSHEV[0] / diagonal

    def pulled(u: Tensor, r: Tensor) -> Tensor:
        """What a pixel is pulled to by its neighbours and by `r`, times the diagonal."""
        return torch.addcmul(r, _neighbours(u), smoothness)

    def relax(u: Tensor, r: Tensor, damping: float) -> Tensor:
        return torch.lerp(u, pulled(u, r) / diagonal, damping)

    def cycle(r: Tensor) -> Tensor:
        u = relax(first * r, r, CHEBYSHEV[1])
        residual = torch.addcmul(pulled(u, r), diagonal, u, value=-1)
        u = u + F.interpolate(coarse(_restricted(residual)), scale_factor=factors, mode="bilinear")[..., :h, :w]
        return relax(relax(u, r, CHEBYSHEV[1]), r, CHEBYSHEV[0])

    return cycle


def _inverse(diagonal: Tensor, smoothness: Tensor) -> Callable[[Tensor], Tensor]:
    """The product with the inverse matrix, in double precision until it is that; sums, for no setting rounds those."""
    n = diagonal[0].numel()
    columns = torch.eye(n, dtype=torch.float64, device=diagonal.device).unflatten(1, diagonal.shape[-2:])
    beside = smoothness.double() * _neighbours(columns).flatten(1)
    matrix = torch.diag_embed(diagonal.double().flatten(1) * (1 + SINGULAR))[:, None] - beside
    inverse = torch.linalg.inv(matrix).to(diagonal.dtype)
    return lambda r: (inverse * r.flatten(2)[..., None, :]).sum(-1).unflatten(2, r.shape[2:])


def _neighbours(u: Tensor) -> Tensor:
    """Sum of the four neighbours, as many as there are."""
    p = F.pad(u, (1, 1, 1, 1))
    return p[..., 1:-1, :-2] + p[..., 1:-1, 2:] + p[..., :-2, 1:-1] + p[..., 2:, 1:-1]


def _mean(u: Tensor) -> Tensor:
    """Mean over each coarse pixel; an odd border gets a row of zeros, as pixels without weight change no solution."""
    ky, kx = _factors(u)
    return F.avg_pool2d(F.pad(u, (0, u.shape[-1] % kx, 0, u.shape[-2] % ky)), (ky, kx))


def _restricted(u: Tensor) -> Tensor:
    """A fourth of the adjoint of the interpolation: weights (1, 3, 3, 1) / 8 along each axis that is halved."""
    h, w = u.shape[-2:]
    ky, kx = _factors(u)
    if h % ky or w % kx:
        u = F.pad(u, (0, w % kx, 0, h % ky))
    u = F.pad(u, (kx - 1, kx - 1, ky - 1, ky - 1), mode="replicate")
    for axis, factor in ((-2, ky), (-1, kx)):
        if factor == 2:
            before, first, second, after = u.unfold(axis, 4, 2).unbind(-1)
            u = torch.add(before + after, first + second, alpha=3).div_(8)
    return u


def _factors(u: Tensor) -> tuple[int, int]:
    """How many rows and columns become one: two, unless there is but one."""
    h, w = u.shape[-2:]
    return min(h, 2), min(w, 2)
