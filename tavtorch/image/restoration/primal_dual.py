"""One certified, differentiable solver for what ROF denoising, TV inpainting and TV-L1 have in common.

    min_u  Σ_i c_i / 2 |u - f|_i² + Σ_i λ_i h(|∇u|_i)        where  low <= u <= high

`c` is the trust in a pixel: 1 where its data term counts, 0 where it is missing, ∞ where `u = f` is imposed; data may
be absolute instead, `Σ_i |u - f|_i`. `h(t)` is `t`, or Huber's function: `t² / 2α` up to `α`, and `t - α / 2` beyond.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from tavtorch.derivative import derivative_wanted, with_derivative, without_derivatives
from tavtorch.image.fields import (
    Coupling,
    Field,
    Frame,
    Projection,
    across,
    doubled,
    each,
    inner,
    length,
    total,
    variation,
)
from tavtorch.image.grid import differences, outflow, space
from tavtorch.memory import into
from tavtorch.solve import Solution, State, Stop, compiled, iterate

RELAXATION, GROWTH = 1.9, 1 / 14


class Problem(NamedTuple):
    """The energy above; shapes broadcast with the image `(b, c, h, w)`, or the volume `(b, c, d, h, w)`."""

    f: Tensor
    weight: Tensor
    """λ >= 0, one an item or a map, `(b, 1, …)`."""
    trust: float | Tensor
    """`c`: the number 1, or a map."""
    low: Tensor
    high: Tensor
    first: Tensor
    """Dual step length at the start, as if `|∇|² = 8`, `(b, 1, 1, …)`; small steps settle large shapes."""
    last: Tensor
    """Dual step length at the end; it grows by `GROWTH` a step up to this. Large steps settle detail."""
    coupling: Coupling
    huber: float | Tensor = 0.0
    """α >= 0: the number 0, or one an item, `(b, 1, 1, …)`."""
    absolute: bool = False
    """The data term is `|u - f|`, and `c` is 1."""
    frame: Frame | None = None
    """From which the result is put back; None for a first guess, of which no certificate is asked."""
    spacing: Tensor | None = None
    """Distances between neighbours along each axis of space; None if they are 1."""

    @property
    def steps(self) -> float | Tensor:
        """`8 / |∇|²`, where `|∇|²` is at most 4 for each axis over its spacing squared."""
        if self.spacing is None:
            return 2 / len(space(self.f))
        return 2 / self.spacing.square().reciprocal().sum().clamp(min=1e-20)

    def imposed(self, here: float | Tensor, elsewhere: Tensor) -> Tensor:
        """`here` where `c` is ∞."""
        return torch.where(self.trust.isinf(), here, elsewhere) if isinstance(self.trust, Tensor) else elsewhere

    def gradient(self, u: Tensor) -> Field:
        return differences(u, self.spacing)

    def divergence(self, p: Field) -> Tensor:
        return outflow(p, self.spacing)


def solve(problem: Problem, u: Tensor, p: Field, stop: Stop) -> Solution:
    """Minimiser and dual field `(u, p)`, from a first guess of them; `gap` is the duality gap over the energy.

    Over-relaxed primal-dual steps (Condat 2013, doi:10.1007/s10957-012-0245-9). At `u` and any field in the balls
    `|p|_i <= λ_i`, with `d = -div p`,

        gap = Σ_i (λ_i h(|∇u|_i) + α / 2λ_i |p|_i² - ∇u_i · p_i)
              +  Σ_known ½ (u - f + d)²  +  Σ_missing d⁺ (u - low) + d⁻ (high - u),    or, where data are absolute,
              +  Σ |u - f| + d (u - f) + (d - 1)⁺ (f - low) + (-d - 1)⁺ (high - f):

    terms that are never negative, and bound together what the energy of `u` has above the minimum.
    """
    with without_derivatives():
        noise = _rounding(problem)
        found = iterate(
            lambda k, *state: _step(problem, *state),
            (u, p, problem.first),
            lambda *state: _gap(problem, noise, *state),
            stop,
            certify=partial(_certified, problem, problem.frame) if problem.frame else None,
        )
        return found._replace(value=_half_step(problem, *found.value))


def minimise(problem: Problem, u: Tensor, p: Field, stop: Stop) -> Solution:
    """`solve` for `u` alone, with its derivative in `f` and `weight`.

    Where pixels are known the solution is `u = f + div (λ ν)`, with `ν` in the unit balls, and

        du = M (df + div (dλ ν)),        M = `tangent`,  Mᵀ = `adjoint`.

    Absolute data count as imposed where `u = f`, and as missing elsewhere: there their slope is 1 or -1, and constant.
    """
    detached = problem._replace(f=problem.f.detach(), weight=problem.weight.detach())
    found = solve(detached, u, p, stop)
    u, p = found.value
    if not derivative_wanted(problem.f, problem.weight):
        return found._replace(value=u)

    if problem.absolute:
        detached = detached._replace(trust=torch.where(u == detached.f, torch.inf, 0.0))
    z = each(torch.add, p, problem.gradient(u))
    unit = Projection(detached.weight + problem.huber, problem.coupling).unit(z)
    pull = detached.imposed(0, problem.divergence(each(torch.mul, unit, problem.weight)))
    known = torch.where(detached.trust > 0, problem.f, 0) if isinstance(detached.trust, Tensor) else problem.f
    attached = known + pull
    value = with_derivative(
        attached,
        u,
        pull=lambda g: adjoint(g, z, detached, stop),
        push=lambda t: tangent(t, z, detached, stop),
    )
    return found._replace(value=value)


def project(z: Field, problem: Problem, sigma: float | Tensor = 0.0) -> Field:
    """The proximal map of `σ h*`, in the place of `z`: into the balls of radius λ, and shorter for Huber's function."""
    least = problem.weight + sigma * problem.huber if isinstance(problem.huber, Tensor) else problem.weight

    def factor(size: Tensor) -> Tensor:
        reach = into(size, torch.maximum, size, least)
        return into(reach, torch.div, problem.weight, reach)

    factors = each(factor, length(z, problem.coupling))
    return each(lambda part, factor: into(part, torch.mul, part, factor), z, factors)


def _half_step(problem: Problem, u: Tensor, p: Field, sigma: Tensor) -> tuple[Tensor, Field]:
    """A proximal step on `u`, then one on `p` at the extrapolated `u`; it converges as `τ σ |∇|² <= 1`."""
    rate, sigma = 8 * sigma, problem.steps * sigma
    tau = rate.reciprocal()
    x = problem.divergence(p)
    x = into(x, torch.addcmul, u, x, tau)
    if problem.absolute:
        apart = x - problem.f
        x = problem.f + (apart - torch.clamp(apart, -tau, tau))  # to the bit, where it is f
    else:
        x = into(x, torch.lerp, x, problem.f, (1 + rate / problem.trust).reciprocal())
    x = into(x, torch.maximum, x, problem.low)  # clamp is slow with tensors
    x = into(x, torch.minimum, x, problem.high)
    slopes = problem.gradient(torch.lerp(u, x, 2.0))
    y = each(lambda part, slope: into(slope, torch.addcmul, part, slope, sigma), p, slopes)
    return x, project(y, problem, sigma)


@compiled
def _step(problem: Problem, u: Tensor, p: Field, sigma: Tensor) -> State:
    x, y = _half_step(problem, u, p, sigma)
    return relaxed(u, x), each(relaxed, p, y), torch.minimum(sigma + GROWTH, problem.last)


def relaxed(old: Tensor, new: Tensor) -> Tensor:
    """A step as far as from `old` to `new`, and nearly as far again, in the place of `new`."""
    return into(new, torch.lerp, old, new, RELAXATION)


@compiled
def _gap(problem: Problem, noise: Tensor, u: Tensor, p: Field, sigma: Tensor) -> Tensor:
    return _measure(problem, noise, *_half_step(problem, u, p, sigma))


def _certified(problem: Problem, frame: Frame, u: Tensor, p: Field, sigma: Tensor) -> Tensor:
    """The gap in double precision, at the value that is returned: as its type rounds it where its frame is left."""
    u, p = _half_step(problem, u, p, sigma)
    exact = Problem._make(part.double() if isinstance(part, Tensor) else part for part in problem)
    back = torch.where(u == problem.f, u.double(), frame.rounded(u))
    return _measure(exact, _rounding(exact), back, project(doubled(p), exact)).to(u.dtype)


def _measure(problem: Problem, noise: Tensor, u: Tensor, p: Field) -> Tensor:
    """The duality gap over the energy, see `solve`; over that of rounding errors where it is larger."""
    slope, d, apart, weight = problem.gradient(u), problem.divergence(p), u - problem.f, problem.weight
    d = into(d, torch.neg, d)
    tiny = torch.finfo(u.dtype).tiny
    if problem.absolute:
        low, high = problem.f - problem.low, problem.high - problem.f
        data = apart.abs()
        missed = data + d * apart + (d - 1).clamp(min=0) * low + (-1 - d).clamp(min=0) * high
    else:
        missed, data = _half_square(apart + d), _half_square(apart)
    if isinstance(problem.trust, Tensor):
        data = torch.where(problem.trust == 1, data, 0)
        missing = d.clamp(min=0) * (u - problem.low) - d.clamp(max=0) * (problem.high - u)
        missed = torch.where(problem.trust == 1, missed, torch.where(problem.trust == 0, missing, 0))
    size, along = variation(slope, problem.coupling), inner(slope, p, problem.coupling)
    huber = problem.huber
    if isinstance(huber, Tensor):
        share = each(lambda t: t / torch.maximum(t, huber).clamp(min=tiny), size)
        cost = each(lambda t, share: weight * share * (t - huber * share / 2), size, share)
        bent = each(lambda pp: huber * pp / (2 * weight).clamp(min=tiny), inner(p, p, problem.coupling))
        along = each(torch.sub, along, bent)
    else:
        cost = each(lambda t: into(t, torch.mul, t, weight), size)
    over = each(lambda t, a: into(a, torch.sub, t, a), cost, along)
    gap = total(*each(lambda t: into(t, torch.clamp, t, min=0), over), missed)
    return (gap / torch.maximum(total(*cost, data), noise)).to(u.dtype)


def _half_square(x: Tensor) -> Tensor:
    """`x² / 2`, in the place of `x`."""
    x = into(x, torch.square, x)
    return into(x, torch.mul, x, 0.5)


def _rounding(problem: Problem) -> Tensor:
    """The energy of rounding errors: that of a constant image is no larger."""
    size = problem.f.abs() if problem.frame is None else problem.frame.outside(problem.f).abs() / problem.frame.unit
    return total((8 * torch.finfo(size.dtype).eps * size).square()) + torch.finfo(torch.float64).tiny


def adjoint(g: Tensor, z: Field, problem: Problem, stop: Stop) -> Tensor:
    """Pull `g` back through the minimiser: `Mᵀ g`, see `minimise`.

    Imposed pixels do not move: there `w = 0`, and what they receive is what the optimality condition lacks.
    """
    bent = normals(z, problem.weight, problem.coupling, problem.huber)
    linearised = Linearised(g, torch.zeros_like(g), *bent, problem)
    w, q = _solve_linearised(linearised, stop)
    return problem.imposed(g + problem.divergence(q), w)


def tangent(t: Tensor, z: Field, problem: Problem, stop: Stop) -> Tensor:
    """Push `t` forward through the minimiser: `M t`. Imposed pixels move by what is imposed."""
    bent = normals(z, problem.weight, problem.coupling, problem.huber)
    linearised = Linearised(t, t, *bent, problem)
    return _solve_linearised(linearised, stop)[0]


class Linearised(NamedTuple):
    """The linear problem behind a derivative.

    With `z = p + ∇u`, the places where `|z| > λ + α` are active; there `n = z / |z|`, and `w` solves

        min_w  Σ c / 2 w² - g · w + Σ_active λ / 2|∇u| · |∇w - n (n · ∇w)|² + Σ_others λ / 2α · |∇w|²,

    with `w` held where `c = ∞`, and `∇w = 0` on the others where `α = 0`. Its optimality condition is
    `c w - div q = g`, with `q` the derivative of the projection at `q + ∇w`.
    """

    g: Tensor
    held: Tensor
    """Values of `w` on imposed pixels."""
    normal: Field
    """`n` where active, else 0."""
    stretch: Field
    """`|∇u| / λ` where active, else `α / λ`."""
    problem: Problem


def normals(z: Field, weight: Tensor, coupling: Coupling, huber: float | Tensor = 0.0) -> tuple[Field, Field]:
    """`normal` and `stretch` of a `Linearised`, with λ the weight and α `huber`."""
    size = length(z, coupling)
    stretch = each(lambda t: torch.where(t > weight + huber, t / weight - 1, huber / weight), size)
    return each(lambda part, t: torch.where(t > weight + huber, part / t, 0), z, size), stretch


def _solve_linearised(linearised: Linearised, stop: Stop) -> tuple[Tensor, Field]:
    """`w` and `q`, by the steps of `solve` with the derivative of the projection in its place.

    It stops on what remains of the optimality condition, `|c w - g - div q| / |g|`.
    """
    start = linearised.g, each(torch.zeros_like, linearised.normal), linearised.problem.first
    found = iterate(
        lambda k, *state: _linear_step(linearised, *state),
        start,
        lambda *state: _linear_residual(linearised, *state),
        stop.for_derivative(),
    )
    return _linear_half_step(linearised, *found.value)


def _linear_half_step(linearised: Linearised, w: Tensor, q: Field, sigma: Tensor) -> tuple[Tensor, Field]:
    g, held, normal, stretch, problem = linearised
    tau, sigma = (8 * sigma).reciprocal(), problem.steps * sigma
    x = problem.imposed(held, torch.addcmul(w, g + problem.divergence(q), tau) / (1 + tau * problem.trust))
    slopes = problem.gradient(torch.lerp(w, x, 2.0))
    y = each(lambda part, slope: torch.addcmul(part, slope, sigma), q, slopes)
    return x, each(lambda part, t: part / (1 + sigma * t), across(y, normal, problem.coupling), stretch)


@compiled
def _linear_step(linearised: Linearised, w: Tensor, q: Field, sigma: Tensor) -> State:
    x, y = _linear_half_step(linearised, w, q, sigma)
    return relaxed(w, x), each(relaxed, q, y), torch.minimum(sigma + GROWTH, linearised.problem.last)


@compiled
def _linear_residual(linearised: Linearised, w: Tensor, q: Field, sigma: Tensor) -> Tensor:
    x, y = _linear_half_step(linearised, w, q, sigma)
    problem, g = linearised.problem, linearised.g
    residual = problem.imposed(0, problem.trust * x - g - problem.divergence(y))
    scale = total(g.square()).clamp(min=torch.finfo(g.dtype).tiny)
    return (total(residual.square()) / scale).sqrt().to(g.dtype)
