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

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tavtorch.derivative import derivative_wanted, with_derivative, without_derivatives
from tavtorch.image.fields import Coupling, Field, Frame, Projection, across, costs_missed, doubled, each, total
from tavtorch.image.grid import differences, outflow
from tavtorch.image.restoration.primal_dual import normals, relaxed
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
    def balls(self) -> tuple[Projection, Projection]:
        """Of `p` and of `q`."""
        return Projection(self.weight, self.coupling), Projection(self.ratio * self.weight, self.coupling)

    @property
    def source(self) -> tuple[Tensor, float]:
        """What pulls at `u` and at `w`."""
        return self.f, 0.0

    def bounded(self, p: Field, q: Field, sigma: Tensor) -> tuple[Field, Field]:
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
        slope = differences(u)
        start = u, slope, each(torch.zeros_like, slope), (torch.zeros_like(u),) * 3, _first(u)
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

    at_p, at_q = each(lambda p, slope, w: p + slope - w, p, differences(u), w), each(torch.add, q, bend(w))
    on_p, on_q = fixed.balls
    pull = each(torch.mul, on_p.unit(at_p), problem.weight)
    turn = bend_adjoint(each(lambda mu: problem.ratio * problem.weight * mu, on_q.unit(at_q)))
    attached = problem.f + outflow(pull), *each(torch.sub, pull, turn)
    bent = normals(at_p, on_p.radius, fixed.coupling), normals(at_q, on_q.radius, fixed.coupling)

    def response(g: Tensor) -> Tensor:
        f, *turn = g.unbind(2)
        return _linear_response(Linear((f, tuple(turn)), *bent, fixed.coupling), stop)

    value = with_derivative(torch.stack(attached, 2), torch.stack((u, *w), 2), pull=response)
    return found._replace(value=value[:, :, 0])


def bend(w: Field) -> Field:
    """`E w` of a field `(w_x, w_y)`: `(w_xx, w_yy, √2 w_xy)`, so that its length is Euclidean.

    The last column of `w_x` and the last row of `w_y` do not count, as in `divergence`.
    """
    like = w[0]
    x, y = w[0][..., :-1], w[1][..., :-1, :]
    xx, yy = _padded(_diff(x, -1), (1, 1, 0, 0), like), _padded(_diff(y, -2), (0, 0, 1, 1), like)
    xy = _padded(_diff(x, -2), (0, 1, 1, 0), like) + _padded(_diff(y, -1), (1, 0, 0, 1), like)
    return xx, yy, xy * 0.5**0.5


def bend_adjoint(q: Field) -> Field:
    """`Eᵀq`: `<E w, q> = <w, Eᵀq>` for every `w` and `q`."""
    h, w = q[0].shape[-2:]
    xx, yy, xy = q[0][..., 1:-1], q[1][..., 1:-1, :], q[2] * 0.5**0.5
    x = _back(xx, -1, w - 1) + _back(xy[..., 1:, :-1], -2, h)
    y = _back(yy, -2, h - 1) + _back(xy[..., :-1, 1:], -1, w)
    return F.pad(x, (0, 1)), F.pad(y, (0, 0, 0, 1))


def _diff(a: Tensor, axis: int) -> Tensor:
    """Differences of neighbours, none where there is one pixel or none."""
    return a.diff(dim=axis) if a.shape[axis] > 1 else a.narrow(axis, 0, 0)


def _padded(a: Tensor, sides: tuple[int, int, int, int], like: Tensor) -> Tensor:
    """With zeros to the size of an image; all zeros where there are no differences."""
    return F.pad(a, sides) if a.numel() else torch.zeros_like(like)


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
    problem: "Problem | Linear", u: Tensor, w: Field, p: Field, q: Field, sigma: Tensor
) -> tuple[Tensor, Field, Field, Field]:
    """A proximal step on `u` and `w`, then one on `p` and `q` where these are extrapolated to; `τ σ |K|² = 1`."""
    tau, (f, turn) = 1 / (SQUARED_NORM * sigma), problem.source
    x = torch.lerp(u + tau * outflow(p), f, tau / (1 + tau))  # to the bit, where it is f
    y = each(lambda w, p, back, turn: w + tau * (p - back + turn), w, p, bend_adjoint(q), turn)
    ahead = each(lambda new, old: 2 * new - old, y, w)
    slopes = each(torch.sub, differences(torch.lerp(u, x, 2.0)), ahead)
    on_p, on_q = (each(lambda a, b: torch.addcmul(a, b, sigma), *pair) for pair in ((p, slopes), (q, bend(ahead))))
    return x, y, *problem.bounded(on_p, on_q, sigma)


@compiled
def _step(problem: "Problem | Linear", u: Tensor, w: Field, p: Field, q: Field, sigma: Tensor) -> State:
    x, *fields = _half_step(problem, u, w, p, q, sigma)
    moved = (each(relaxed, old, new) for old, new in zip((w, p, q), fields, strict=True))
    return relaxed(u, x), *moved, (sigma + GROWTH).clamp(max=LAST)


@compiled
def _gap(problem: Problem, *state: Any) -> Tensor:
    return _measure(problem, *_half_step(problem, *state))


def _certified(problem: Problem, *state: Any) -> Tensor:
    """The gap in double precision, at the value that is returned: as its type rounds it where its frame is left."""
    u, *rest = _half_step(problem, *state)
    exact = problem._replace(f=problem.f.double(), weight=problem.weight.double())
    back = torch.where(u == problem.f, u.double(), problem.frame.rounded(u))
    return _measure(exact, back, *(doubled(field) for field in rest)).to(u.dtype)


def _measure(problem: Problem, u: Tensor, w: Field, p: Field, q: Field) -> Tensor:
    """The duality gap over the energy, or over a thousand times that of rounding errors, which affine pictures have."""
    f, (on_p, on_q) = problem.f, problem.balls
    q = on_q(q)
    share = on_p.share(bend_adjoint(q))
    q = each(torch.mul, q, share)
    p = bend_adjoint(q)
    cost, missed = costs_missed(each(torch.sub, differences(u), w), p, on_p)
    bending, unbent = costs_missed(bend(w), q, on_q)
    gap = total(*missed, *unbent) + total((u - f - outflow(p)).square()) / 2
    energy = total(*cost, *bending) + total((u - f).square()) / 2
    rounding = 8 * torch.finfo(problem.frame.unit.dtype).eps * problem.frame.outside(f).abs() / problem.frame.unit
    least = 1e3 * (total(rounding.square()) + total(problem.weight * rounding)) + torch.finfo(torch.float64).tiny
    return (gap / torch.maximum(energy, least)).to(u.dtype)


class Linear(NamedTuple):
    """The problem with the projections replaced by their derivatives at `p + ∇u - w` and at `q + E w`."""

    source: tuple[Tensor, Field]
    """What pulls at `u` and at `w`."""
    at_p: tuple[Field, Field]
    """`normal` and `stretch`, see `primal_dual.Linearised`."""
    at_q: tuple[Field, Field]
    coupling: Coupling

    def bounded(self, p: Field, q: Field, sigma: Tensor) -> tuple[Field, Field]:
        """The derivatives of the proximal maps of `p` and of `q`."""

        def bounded(field: Field, normal: Field, stretch: Field) -> Field:
            return each(lambda a, t: a / (1 + sigma * t), across(field, normal, self.coupling), stretch)

        return bounded(p, *self.at_p), bounded(q, *self.at_q)


def _linear_response(linear: Linear, stop: Stop) -> Tensor:
    """`M g` of the source `g`; it stops on what remains of `u - div p = g_u` and `Eᵀq - p = g_w`, over `|g|`."""
    f, turn = linear.source
    scale = total(*each(torch.square, (f, *turn))).clamp(min=torch.finfo(f.dtype).tiny)

    def residual(*state: Any) -> Tensor:
        u, _, p, q = _half_step(linear, *state)
        left = u - outflow(p) - f, *each(lambda back, p, turn: back - p - turn, bend_adjoint(q), p, turn)
        return (total(*each(torch.square, left)) / scale).sqrt().to(f.dtype)

    zero = torch.zeros_like(f)
    start = f, (zero, zero), (zero, zero), (zero, zero, zero), _first(f)
    found = iterate(lambda k, *state: _step(linear, *state), start, residual, stop.for_derivative())
    u, w, *_ = _half_step(linear, *found.value)
    return torch.stack((u, *w), 2)
