"""The least total variation behind a linear operator, certified for every operator.

    min_u  ½ |A u - f|² + Σ_i λ_i |∇u|_i

The alternating direction method of multipliers on `z = ∇u`. With `M >= AᵀA` diagonal in the cosine transform, and `P`
the projection on the balls of radius `λ / ρ`, its state is a field `s` and the picture `u`, and a step is

    (M + ρ ∇ᵀ∇) u ← Aᵀf + (M - AᵀA) u + ρ ∇ᵀ(s - 2 P(s)),        s ← (1 - α) s + α (P(s) + ∇u).

Where `M = AᵀA` the step is exact, and needs no `A`; else it is linearised (Fang, He, Liu & Yuan, Math. Program. Comput.
7, 2015, doi:10.1007/s12532-015-0078-2).

The dual problem asks for `y` and `p` with `Aᵀy + ∇ᵀp = 0` and `|p|_i <= λ_i`, which `A u - f` and the multiplier
`ρ P(s)` fulfil at the end only. So a pair is corrected: by `ψ` of `(M + ρ ∇ᵀ∇) ψ = Aᵀy + ∇ᵀp` in the sense of the step,
`y - A ψ` and `p - ρ ∇ψ`; by a multiple of `A 1` in `y`, so that what remains has mean zero; by the gradient of a
Poisson equation in `p`; and by one factor that takes the longest `p_i` to its radius. Then

    gap = Σ_i (λ_i |∇u|_i - ∇u_i · p_i)  +  ½ |A u - f - y|²,

terms that are never negative, and bound together what the energy of `u` has above the minimum. `A` need not be
injective; it has to see constants.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from tavtorch.derivative import derivative_wanted, with_derivative, without_derivatives
from tavtorch.image.fields import (
    Coupling,
    Field,
    Frame,
    Projection,
    ProjectionDerivative,
    capped,
    costs_missed,
    doubled,
    each,
    flow,
    mean_length,
    reflect,
    relax,
    total,
)
from tavtorch.image.grid import cosine_transform, differences, inverse_cosine_transform, laplacian_eigenvalues, outflow
from tavtorch.image.restoration.operators import Operator
from tavtorch.solve import Solution, State, Stop, iterate

STIFFNESS = 0.3
"""`ρ` over `λ` by the mean slope; what is best for blurs and larger pixels, within twice the steps for any weight."""


class Problem(NamedTuple):
    """The energy above; shapes broadcast with the picture `(b, c, h, w)`."""

    operator: Operator
    f: Tensor
    """`A` of the picture, and noise."""
    weight: Tensor
    """λ > 0, `(b, 1, 1, 1)` or `(b, 1, h, w)`."""
    coupling: Coupling
    flat: Tensor
    """`A 1`."""
    noise: Tensor
    """The energy of rounding errors, `(b,)`: a gap is over that of `u`, or over this where it is larger."""


def minimise(problem: Problem, still: Tensor, stop: Stop, frame: Frame) -> Solution:
    """The minimiser, with its derivative; `gap` is the duality gap over the energy.

    With the optimality condition `F = Aᵀ(f - A u) + div (λ ν)`, `ν` in the unit balls, and `u` held in it,

        du = H⁻¹ dF,

    `H⁻¹` the linearised problem of `_linear_response`. `F` has the derivatives in `f`, in λ, and in whatever `A` is
    made of.

    Args:
        still: the best constant picture, `(b, c, 1, 1)`.
        frame: from which the result is put back.
    """
    operator, coupling = problem.operator, problem.coupling
    with without_derivatives():
        fixed = problem._replace(f=problem.f.detach(), weight=problem.weight.detach())
        pulled = operator.adjoint(fixed.f - fixed.flat * still)
        rest = flow(pulled)
    weight, constant = capped(problem.weight, rest, coupling)
    with without_derivatives():
        fixed = fixed._replace(weight=weight.detach())
        step, s = _pose(fixed, pulled, still)
        s = each(lambda still, slope: torch.where(constant, still / step.rho, slope), rest, s)

        def image_of(spectrum: Tensor) -> Tensor:
            return torch.where(constant, still, inverse_cosine_transform(spectrum))

        def measured(s: Field, spectrum: Tensor) -> Tensor:
            spectrum, s = step(s, spectrum)[::-1]
            return _measure(fixed, step, image_of(spectrum), step.multiplier(s)).to(spectrum.dtype)

        def certified(s: Field, spectrum: Tensor) -> Tensor:
            spectrum, s = step(s, spectrum)[::-1]
            problem = fixed._replace(f=fixed.f.double(), weight=fixed.weight.double(), flat=fixed.flat.double())
            exact = step._replace(rho=step.rho.double(), inverse=step.inverse.double())
            u = frame.rounded(image_of(spectrum))
            return _measure(problem, exact, u, doubled(step.multiplier(s))).to(spectrum.dtype)

        found = iterate(lambda k, *state: step(*state), (s, step.start), measured, stop, certify=certified)
        s, spectrum = step(*found.value)
        u = image_of(spectrum)
    assert isinstance(step.ball, Projection)
    pull = outflow(each(torch.mul, step.ball.unit(s), weight))
    optimality = operator.adjoint(problem.f - operator(u)) + pull
    if not derivative_wanted(optimality):
        return found._replace(value=u)
    value = with_derivative(optimality, u, pull=lambda g: _linear_response(g, s, step, stop))
    return found._replace(value=value)


class Step(NamedTuple):
    """From `s` and the cosine coefficients of `u` to the next ones."""

    operator: Operator
    right: Tensor
    """`Aᵀf` at the cosine frequencies,"""
    power: Tensor
    """and `M` there,"""
    inverse: Tensor
    """and the inverse of `M + ρ ∇ᵀ∇`."""
    rho: Tensor
    ball: Projection | ProjectionDerivative
    """Onto which `P` projects."""
    start: Tensor

    def __call__(self, s: Field, spectrum: Tensor) -> State:
        kept, source = reflect(s, self.ball)
        right = self.right
        if not self.operator.diagonal:
            right = right + self.power * spectrum - self.normal(spectrum)
        spectrum = torch.addcmul(right, cosine_transform(source), self.rho, value=-1) * self.inverse
        return relax(kept, inverse_cosine_transform(spectrum)), spectrum

    def normal(self, spectrum: Tensor) -> Tensor:
        """`AᵀA` between cosine coefficients."""
        if self.operator.diagonal:
            return self.power * spectrum
        return cosine_transform(self.operator.adjoint(self.operator(inverse_cosine_transform(spectrum))))

    def multiplier(self, s: Field) -> Field:
        """`p = ρ P(s)`."""
        return each(torch.mul, self.ball(s), self.rho)


def _pose(problem: Problem, pulled: Tensor, still: Tensor) -> tuple[Step, Field]:
    """The step, and the field that the iteration starts from: that of a picture with little of its squared slope."""
    operator, f, weight, coupling, *_ = problem
    tiny = torch.finfo(f.dtype).tiny ** 0.5
    power, bend = operator.power(pulled), laplacian_eigenvalues(pulled)
    largest, mean = power.amax((-2, -1), keepdim=True), weight.mean((-2, -1), keepdim=True).clamp(min=tiny)
    start = cosine_transform(pulled) / (power + 1e-2 * largest * (1 + bend))
    slope = mean_length(differences(inverse_cosine_transform(start)), coupling)
    rho = STIFFNESS * mean / slope.clamp(min=tiny)
    start = start + cosine_transform(still.expand_as(pulled))
    ball = Projection((weight / rho).clamp(min=tiny), coupling)
    right = cosine_transform(operator.adjoint(f))
    step = Step(operator, right, power, 1 / (power + rho * bend), rho, ball, start)
    return step, differences(inverse_cosine_transform(start))


def _measure(problem: Problem, step: Step, u: Tensor, p: Field) -> Tensor:
    """The duality gap over the energy, see above."""
    apart = problem.operator(u) - problem.f
    y, p = _feasible(problem, step, apart, p)
    cost, missed = costs_missed(differences(u), p, Projection(problem.weight, problem.coupling))
    gap = total(*missed) + total((apart - y).square()) / 2
    return gap / torch.maximum(total(*cost) + total(apart.square()) / 2, problem.noise)


def _feasible(problem: Problem, step: Step, y: Tensor, p: Field) -> tuple[Tensor, Field]:
    """A dual pair near `y`, `p`."""
    operator, flat = problem.operator, problem.flat
    shift = inverse_cosine_transform(cosine_transform(operator.adjoint(y) - outflow(p)) * step.inverse)
    y, p = y - operator(shift), each(lambda part, slope: part - step.rho * slope, p, differences(shift))
    seen = flat.square().sum((-2, -1), keepdim=True)
    y = y - (y * flat).sum((-2, -1), keepdim=True) / seen * flat
    bend = laplacian_eigenvalues(p[0])
    rest = cosine_transform(operator.adjoint(y) - outflow(p)) * torch.where(bend > 0, 1 / bend, 0)
    p = each(torch.sub, p, differences(inverse_cosine_transform(rest)))
    share = Projection(problem.weight, problem.coupling).share(p)
    return share * y, each(torch.mul, p, share)


def _linear_response(g: Tensor, s: Field, forward: Step, stop: Stop) -> Tensor:
    """Solve the linearised problem by the steps of `minimise`, with the derivative of `P` at `s` for `P`.

        min_w  ½ |A w|² - <g, w> + Σ λ / 2|∇u| · |∇w - n (n · ∇w)|²  where |s| > λ / ρ, and ∇w = 0 elsewhere

    Here `n = s / |s|`. The map is symmetric: it serves both modes of derivatives. It stops on what is left,
    `|AᵀA w + ∇ᵀq - g| / |g|`.
    """
    assert isinstance(forward.ball, Projection)
    right = cosine_transform(g)
    step = forward._replace(right=right, ball=forward.ball.derivative(s))
    scale = total(right.square()).clamp(min=torch.finfo(g.dtype).tiny)

    def residual(t: Field, w: Tensor) -> Tensor:
        t, w = step(t, w)
        missing = step.normal(w) - right - cosine_transform(outflow(step.multiplier(t)))
        return (total(missing.square()) / scale).sqrt().to(g.dtype)

    start = each(torch.zeros_like, s), torch.zeros_like(right)
    found = iterate(lambda k, *state: step(*state), start, residual, stop.for_derivative())
    return inverse_cosine_transform(step(*found.value)[1])
