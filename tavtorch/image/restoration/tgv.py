"""Total generalised variation of second order: edges as of total variation, and ramps between them at no cost.

    min_{u, w}  ½ |u - f|² + Σ_i λ_i |∇u - w|_i + Σ_i β λ_i |E w|_i

`w` is the slope that the picture is allowed, and `E w` how much it changes: the symmetric part of its differences,
which are backward so that `w` and they are of the same places. A picture that is affine costs nothing.

The dual problem is in symmetric fields `q` alone, with `p = Eᵀq`:

    max_q  <f, ∇ᵀp> - ½ |∇ᵀp|²        where  |q|_i <= β λ_i  and  |p|_i <= λ_i.

From any field in the balls of `q` both bounds follow by one factor, that takes the longest `p_i` to its radius. Then

    gap = Σ_i (λ_i |∇u - w|_i - (∇u - w)_i · p_i)  +  Σ_i (β λ_i |E w|_i - (E w)_i · q_i)  +  ½ |u - f + ∇ᵀp|²,

terms that are never negative, and bound together what the energy of `u` has above the minimum.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tavtorch.derivative import derivative_wanted, with_derivative, without_derivatives
from tavtorch.image.fields import Coupling, Frame, Projection, inner, total, variation
from tavtorch.image.grid import divergence, gradient
from tavtorch.image.restoration.primal_dual import normals
from tavtorch.solve import Solution, State, Stop, compiled, iterate

SQUARED_NORM = 12.0
"""Of `(u, w) ↦ (∇u - w, E w)`: at most (17 + √33) / 2 (Bredies, LNCS 8293, 2014, doi:10.1007/978-3-642-54774-4_3)."""
RELAXATION, GROWTH = 1.9, 1 / 14
FIRST, LAST = 0.2, 4.0


class Problem(NamedTuple):
    """The energy above; shapes broadcast with the picture `(b, c, h, w)`."""

    f: Tensor
    weight: Tensor
    """λ, `(b, 1, 1, 1)` or `(b, 1, h, w)`; 0 in all of an item, or nowhere."""
    ratio: float
    """β, in pixels."""
    coupling: Coupling
    frame: Frame
    """From which the result is put back."""

    @property
    def radius(self) -> Tensor:
        """λ over a field `(b, c, n, h, w)`."""
        return self.weight[:, :, None]

    @property
    def balls(self) -> tuple[Projection, Projection]:
        """Of `p` and of `q`."""
        return Projection(self.radius, self.coupling), Projection(self.ratio * self.radius, self.coupling)

    @property
    def source(self) -> tuple[Tensor, float]:
        """What pulls at `u` and at `w`."""
        return self.f, 0.0

    def bounded(self, p: Tensor, q: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The proximal maps of `p` and of `q`."""
        on_p, on_q = self.balls
        return on_p(p), on_q(q)


def minimise(problem: Problem, u: Tensor, stop: Stop) -> Solution:
    """The minimiser `u`, with its derivative; `gap` is the duality gap over the energy.

    Over-relaxed primal-dual steps (Condat 2013, doi:10.1007/s10957-012-0245-9). At the solution `p = λ ν`,
    `q = β λ μ` with `ν` and `μ` in the unit balls, and with `x = (u, w)`

        dx = M d(f + div (λ ν),  λ ν - Eᵀ(β λ μ)),        ν, μ held on the right;

    `M`, which is symmetric, is the problem with the projections replaced by their derivatives.
    """
    fixed = problem._replace(f=problem.f.detach(), weight=problem.weight.detach())
    with without_derivatives():
        slope = gradient(u)
        start = u, slope, torch.zeros_like(slope), torch.zeros_like(bend(slope)), _first(u)
        found = iterate(
            lambda k, *state: _step(fixed, *state),
            start,
            lambda *state: _gap(fixed, *state),
            stop,
            certify=lambda *state: _certified(fixed, *state),
        )
        u, w, p, q = _half_step(fixed, *found.value)
    if not derivative_wanted(problem.f, problem.weight):
        return found._replace(value=u)

    at_p, at_q = p + gradient(u) - w, q + bend(w)
    balls = fixed.balls
    safe = fixed.weight.clamp(min=torch.finfo(u.dtype).tiny)[:, :, None]
    nu, mu = (ball(z) / safe for ball, z in zip(balls, (at_p, at_q), strict=True))
    pull = problem.radius * nu
    attached = torch.cat(((problem.f + divergence(pull))[:, :, None], pull - bend_adjoint(problem.radius * mu)), 2)
    bent_p, bent_q = (normals(z, ball.radius, fixed.coupling) for ball, z in zip(balls, (at_p, at_q), strict=True))

    def response(g: Tensor) -> Tensor:
        return _linear_response(Linear((g[:, :, 0], g[:, :, 1:]), bent_p, bent_q, fixed.coupling), stop)

    value = with_derivative(attached, torch.cat((u[:, :, None], w), 2), pull=response)
    return found._replace(value=value[:, :, 0])


def bend(w: Tensor) -> Tensor:
    """`E w` of a field `(b, c, 2, h, w)`: `(w_xx, w_yy, √2 w_xy)`, `(b, c, 3, h, w)`, so that its length is Euclidean.

    The last column of `w_x` and the last row of `w_y` do not count, as in `divergence`.
    """
    x, y = w[:, :, 0, :, :-1], w[:, :, 1, :-1]
    xx, yy = _padded(_diff(x, -1), (1, 1, 0, 0), w), _padded(_diff(y, -2), (0, 0, 1, 1), w)
    xy = _padded(_diff(x, -2), (0, 1, 1, 0), w) + _padded(_diff(y, -1), (1, 0, 0, 1), w)
    return torch.stack((xx, yy, xy * 0.5**0.5), 2)


def bend_adjoint(q: Tensor) -> Tensor:
    """`Eᵀq`: `<E w, q> = <w, Eᵀq>` for every `w` and `q`."""
    xx, yy, xy = q[:, :, 0, :, 1:-1], q[:, :, 1, 1:-1], q[:, :, 2] * 0.5**0.5
    x = _back(xx, -1, q.shape[-1] - 1) + _back(xy[..., 1:, :-1], -2, q.shape[-2])
    y = _back(yy, -2, q.shape[-2] - 1) + _back(xy[..., :-1, 1:], -1, q.shape[-1])
    return torch.stack((F.pad(x, (0, 1)), F.pad(y, (0, 0, 0, 1))), 2)


def _diff(a: Tensor, axis: int) -> Tensor:
    """Differences of neighbours, none where there is one pixel or none."""
    return a.diff(dim=axis) if a.shape[axis] > 1 else a.narrow(axis, 0, 0)


def _padded(a: Tensor, sides: tuple[int, int, int, int], like: Tensor) -> Tensor:
    """With zeros to the size of a field; all zeros where there are no differences."""
    return F.pad(a, sides) if a.numel() else torch.zeros_like(like[:, :, 0])


def _back(a: Tensor, axis: int, n: int) -> Tensor:
    """The adjoint of `_diff` of `n` pixels."""
    if n < 2 or not a.numel():
        shape = list(a.shape)
        shape[axis] = max(n, 0)
        return a.new_zeros(shape)
    return -F.pad(a, (1, 1) if axis == -1 else (0, 0, 1, 1)).diff(dim=axis)


def _first(u: Tensor) -> Tensor:
    return torch.full_like(u[:, :1, :1, :1], FIRST)


def _half_step(
    problem: "Problem | Linear", u: Tensor, w: Tensor, p: Tensor, q: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A proximal step on `u` and `w`, then one on `p` and `q` where these are extrapolated to; `τ σ |K|² = 1`."""
    tau, (f, turn) = 1 / (SQUARED_NORM * sigma), problem.source
    x = torch.lerp(u + tau * divergence(p), f, tau / (1 + tau))  # to the bit, where it is f
    y = w + tau[..., None] * (p - bend_adjoint(q) + turn)
    ahead, sigma = 2 * y - w, sigma[..., None]
    return x, y, *problem.bounded(p + sigma * (gradient(2 * x - u) - ahead), q + sigma * bend(ahead), sigma)


@compiled
def _step(problem: "Problem | Linear", u: Tensor, w: Tensor, p: Tensor, q: Tensor, sigma: Tensor) -> State:
    old, new = (u, w, p, q), _half_step(problem, u, w, p, q, sigma)
    return *(a + RELAXATION * (b - a) for a, b in zip(old, new, strict=True)), (sigma + GROWTH).clamp(max=LAST)


@compiled
def _gap(problem: Problem, *state: Tensor) -> Tensor:
    return _measure(problem, *_half_step(problem, *state))


def _certified(problem: Problem, *state: Tensor) -> Tensor:
    """The gap in double precision, at the value that is returned: as its type rounds it where its frame is left."""
    u, *rest = _half_step(problem, *state)
    exact = problem._replace(f=problem.f.double(), weight=problem.weight.double())
    back = torch.where(u == problem.f, u.double(), problem.frame.rounded(u))
    return _measure(exact, back, *(part.double() for part in rest)).to(u.dtype)


def _measure(problem: Problem, u: Tensor, w: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """The duality gap over the energy, or over a thousand times that of rounding errors, which affine pictures have."""
    f, radius, coupling, tiny = problem.f, problem.radius, problem.coupling, torch.finfo(u.dtype).tiny
    q = problem.balls[1](q)
    p = bend_adjoint(q)
    share = (radius / variation(p, coupling).clamp(min=tiny)).flatten(1).amin(1).clamp(max=1)
    share = torch.where(radius.flatten(1).amax(1) > 0, share, 0).reshape(-1, 1, 1, 1, 1)
    p, q, slope, bent = share * p, share * q, gradient(u) - w, bend(w)
    cost = radius * variation(slope, coupling)
    bending = problem.ratio * radius * variation(bent, coupling)
    gap = total((cost - inner(slope, p, coupling)).clamp(min=0)) + total(
        (bending - inner(bent, q, coupling)).clamp(min=0)
    )
    gap = gap + total((u - f - divergence(p)).square()) / 2
    energy = total(cost) + total(bending) + total((u - f).square()) / 2
    rounding = 8 * torch.finfo(problem.frame.unit.dtype).eps * problem.frame.outside(f).abs() / problem.frame.unit
    least = 1e3 * (total(rounding.square()) + total(problem.weight * rounding)) + torch.finfo(torch.float64).tiny
    return (gap / torch.maximum(energy, least)).to(u.dtype)


class Linear(NamedTuple):
    """The problem with the projections replaced by their derivatives at `p + ∇u - w` and at `q + E w`."""

    source: tuple[Tensor, Tensor]
    """What pulls at `u` and at `w`."""
    at_p: tuple[Tensor, Tensor]
    """`normal` and `stretch`, see `primal_dual.Linearised`."""
    at_q: tuple[Tensor, Tensor]
    coupling: Coupling

    def bounded(self, p: Tensor, q: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The derivatives of the proximal maps of `p` and of `q`."""

        def bounded(field: Tensor, normal: Tensor, stretch: Tensor) -> Tensor:
            return (field - normal * inner(normal, field, self.coupling)) / (1 + sigma * stretch)

        return bounded(p, *self.at_p), bounded(q, *self.at_q)


def _linear_response(linear: Linear, stop: Stop) -> Tensor:
    """`M g` of the source `g`; it stops on what remains of `u - div p = g_u` and `Eᵀq - p = g_w`, over `|g|`."""
    f, turn = linear.source
    scale = (total(f.square()) + total(turn.square())).clamp(min=torch.finfo(f.dtype).tiny)

    def residual(*state: Tensor) -> Tensor:
        u, _, p, q = _half_step(linear, *state)
        left = total((u - divergence(p) - f).square()) + total((bend_adjoint(q) - p - turn).square())
        return (left / scale).sqrt().to(f.dtype)

    start = f, torch.zeros_like(turn), torch.zeros_like(turn), torch.zeros_like(bend(turn)), _first(f)
    found = iterate(lambda k, *state: _step(linear, *state), start, residual, stop.for_derivative())
    u, w, *_ = _half_step(linear, *found.value)
    return torch.cat((u[:, :, None], w), 2)
