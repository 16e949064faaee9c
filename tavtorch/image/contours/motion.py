"""One step of active contours: the force of the field, the pressure along the normals, and the contour's own energy."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tavtorch.derivative import holds
from tavtorch.image.contours.handles import Handles
from tavtorch.image.contours.polygons import area
from tavtorch.image.grid import sample

Weight = float | Float[Tensor, "..."]
"""A number, one an image `(b,)`, or one a contour `(b, m)`."""
Term = Callable[[Tensor], Tensor]
"""From contours `(b, m, n, 2)` to the forces at their points, or to new places of them, of the same shape."""


def semi_implicit_step(
    contours: Tensor,
    field: Tensor,
    *,
    elasticity: Weight,
    rigidity: Weight,
    balloon: Weight,
    step: float,
    ends: str,
    terms: Sequence[Term] = (),
    handles: Handles | None = None,
) -> Callable[[Tensor], Tensor]:
    """The map `x ↦ (I + τ A)⁻¹ (x + τ (field(x) + κ n(x)))` of all contours, `(b m, n, 2)`; see `evolve`.

    Args:
        contours: `(b, m, n, 2)`, for the number of contours and points.
        field: `(b, 2, h, w)`; points are kept within its pixel centres.
        terms: further forces.
        handles: hold points after each step; forces are those where the contours would be without them.
    """
    b, m, n, _ = contours.shape
    smooth, step_lengths = _smoother(contours, elasticity, rigidity, step, ends)
    pressure = _weight("balloon", balloon, contours, least=-math.inf)
    has_pressure = not holds(pressure == 0)
    corner = contours.new_zeros(2)
    opposite = contours.new_tensor([field.shape[-1] - 1, field.shape[-2] - 1])

    def move(x: Tensor) -> Tensor:
        seen = x if handles is None else handles.undragged(x.reshape(contours.shape)).reshape(x.shape)
        force = sample(field, seen.reshape(b, m * n, 2)).reshape(x.shape)
        if has_pressure:
            force = force + pressure * normals(seen)
        for term in terms:
            force = force + term(seen.reshape(contours.shape)).reshape(x.shape)
        x = smooth(x + step_lengths * force).clamp(min=corner, max=opposite)
        return x if handles is None else handles.hold(x.reshape(contours.shape)).reshape(x.shape)

    return move


def unit_directions(field: Tensor) -> Tensor:
    """Directions of a field, averaged with the neighbours by (1, 2, 1) / 4 each way.

    Unit vectors point against each other on both sides of an edge. Their mean passes through zero there, so that a
    contour comes to rest.
    """
    u = F.pad(_unit(field, dim=1), (1, 1, 1, 1), mode="replicate")
    for _ in range(2):
        u = u[..., 1:] + u[..., :-1]
        u = u[..., 1:, :] + u[..., :-1, :]
    return u / 16


def normals(x: Tensor) -> Tensor:
    """Unit normals of closed contours, outwards whichever way they run; zero where neighbouring points coincide."""
    dx, dy = (x.roll(-1, -2) - x.roll(1, -2)).unbind(-1)
    return _unit(torch.stack((dy, -dx), dim=-1), dim=-1) * area(x).sign()[..., None, None]


def _smoother(
    contours: Tensor, elasticity: Weight, rigidity: Weight, step: float, ends: str
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """`(I + τ A)⁻¹` along contours `(b m, n, 2)`, and τ for each point, which is 0 where a point is held fixed."""
    n, step_lengths = contours.shape[-2], torch.full_like(contours[0, 0, :, :1], step)
    alpha = _weight("elasticity", elasticity, contours)
    beta = _weight("rigidity", rigidity, contours)

    # Closed: A is circulant, hence diagonal in the Fourier transform along the contour.
    if ends == "closed":
        angle = torch.arange(n // 2 + 1, dtype=contours.dtype, device=contours.device) * (2 * math.pi / n)
        stiffness = (2 - 2 * angle.cos())[:, None]
        response = 1 / (1 + step * (alpha * stiffness + beta * stiffness**2))
        return lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=1) * response, n, dim=1), step_lengths

    # Open: A from the matrices of first and second differences; `evolve` sees to it that their products are exact.
    if ends == "fixed":
        step_lengths[0] = step_lengths[-1] = 0
    identity = torch.eye(n, dtype=contours.dtype, device=contours.device)
    first, second = identity.diff(dim=0), identity.diff(n=2, dim=0)
    inverse = torch.linalg.inv(identity + step_lengths * (alpha * first.mT @ first + beta * second.mT @ second))
    return lambda x: inverse @ x, step_lengths


def _unit(v: Tensor, dim: int) -> Tensor:
    """Vectors scaled to length 1; zero vectors stay zero, with a zero gradient."""
    square = v.square().sum(dim, keepdim=True)
    return v * torch.where(square > 0, square, torch.inf).rsqrt()


def _weight(name: str, value: Weight, contours: Tensor, least: float = 0.0) -> Tensor:
    """`value` as `(1, 1, 1)` or `(b m, 1, 1)`; raise unless it has a shape of `Weight`, is finite and >= `least`."""
    b, m = contours.shape[:2]
    weight = torch.as_tensor(value, dtype=contours.dtype, device=contours.device)
    if weight.shape not in {(), (b,), (b, m)} or not holds((weight >= least) & weight.isfinite()):
        bound = f", each at least {least:g}" if math.isfinite(least) else ""
        expected = f"a finite number, one an image ({b},), or one a contour {(b, m)}{bound}"
        raise ValueError(f"{name}: expected {expected}, got {value}.")
    if weight.dim() == 1:
        weight = weight[:, None].expand(b, m)
    return weight.reshape(-1, 1, 1)
