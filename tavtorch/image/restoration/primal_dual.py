"""One certified, differentiable solver for what ROF denoising, TV inpainting and TV-L1 have in common.

    min_u  Σ_i c_i / 2 |u - f|_i² + Σ_i λ_i h(|∇u|_i)        where  low <= u <= high

`c` is the trust in a pixel: 1 where its data term counts, 0 where it is missing, ∞ where `u = f` is imposed; data may
be absolute instead, `Σ_i |u - f|_i`. `h(t)` is `t`, or Huber's function: `t² / 2α` up to `α`, and `t - α / 2` beyond.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from tavtorch.image.fields import Coupling, inner, length, total
from tavtorch.image.grid import divergence, gradient
from tavtorch.solve import Solution, State, Stop, compiled, iterate

RELAXATION, GROWTH = 1.9, 1 / 14


class Problem(NamedTuple):
    """The energy above; shapes broadcast with the image `(b, c, h, w)`."""

    f: Tensor
    weight: Tensor
    """λ >= 0, `(b, 1, 1, 1)` or `(b, 1, h, w)`."""
    trust: Tensor
    low: Tensor
    high: Tensor
    first: Tensor
    """Dual step length to begin with, `(b, 1, 1, 1)`; small ones are good at large shapes,"""
    last: Tensor
    """large ones at detail: it grows by `GROWTH` a step up to this one, and then stays."""
    coupling: Coupling
    huber: float | Tensor = 0.0
    """α >= 0: the number 0, or 0-d."""
    absolute: bool = False
    """The data term is `|u - f|`, and `c` is 1."""

    @property
    def radius(self) -> Tensor:
        """λ over a field `(b, c, 2, h, w)`."""
        return self.weight[:, :, None]


def solve(problem: Problem, u: Tensor, p: Tensor, stop: Stop) -> Solution:
    """Minimiser and dual field `(u, p)`, from a first guess of them; `gap` is the duality gap over the energy.

    Over-relaxed primal-dual steps (Condat 2013, doi:10.1007/s10957-012-0245-9). At `u` and any field in the balls
    `|p|_i <= λ_i`, with `d = -div p`,

        gap = Σ_i (λ_i h(|∇u|_i) + α / 2λ_i |p|_i² - ∇u_i · p_i)
              +  Σ_known ½ (u - f + d)²  +  Σ_missing d⁺ (u - low) + d⁻ (high - u),    or, where data are absolute,
              +  Σ |u - f| + d (u - f) + (d - 1)⁺ (f - low) + (-d - 1)⁺ (high - f):

    terms that are never negative, and bound together what the energy of `u` has above the minimum.
    """
    with torch.no_grad():
        found = iterate(
            lambda k, *state: _step(problem, *state), (u, p, problem.first), lambda *state: _gap(problem, *state), stop
        )
        return found._replace(value=_half_step(problem, *found.value))


def minimise(problem: Problem, u: Tensor, p: Tensor, stop: Stop) -> Solution:
    """`solve` for `u` alone, with its gradient in `f` and `weight`.

    Where pixels are known, the solution is `u = f + div (λ ν)` with `ν` in the unit balls. Its derivative `J` in `f` is
    symmetric; for a gradient `g` that arrives at `u`, `adjoint` finds `w = Jg`, and

        dL/df_i = w_i where known,        dL/dλ_i = -(∇w)_i · ν_i.

    Absolute data pass for known where `u = f`, and for missing elsewhere: there their pull is 1 or -1, and constant.
    """
    detached = problem._replace(f=problem.f.detach(), weight=problem.weight.detach())
    found = solve(detached, u, p, stop)
    u, p = found.value
    if torch.is_grad_enabled() and (problem.f.requires_grad or problem.weight.requires_grad):
        if problem.absolute:
            detached = detached._replace(trust=torch.where(u == problem.f, torch.inf, 0.0))
        z = p + gradient(u)
        unit = z / torch.maximum(length(z, problem.coupling), detached.radius + problem.huber)
        pull = torch.where(detached.trust.isinf(), 0, divergence(problem.weight[:, :, None] * unit))
        attached = torch.where(detached.trust > 0, problem.f, 0) + pull
        attached.register_hook(lambda g: adjoint(g.detach(), z, detached, stop))
        u = u + (attached - attached.detach())  # adds zero: the value stays, the gradient comes along
    return found._replace(value=u)


def project(z: Tensor, problem: Problem, sigma: float | Tensor = 0.0) -> Tensor:
    """The nearest field whose lengths are at most λ; with `α > 0`, the proximal map of `σ α / 2λ |p|²` there."""
    return z * (problem.radius / torch.maximum(length(z, problem.coupling), problem.radius + sigma * problem.huber))


def _half_step(problem: Problem, u: Tensor, p: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """A proximal step on `u`, then one on `p` at the extrapolated `u`; it converges as `τ σ |∇|² <= 1`, `|∇|² <= 8`."""
    tau, sigma = 1 / (8 * sigma), sigma[..., None]
    x = u + tau * divergence(p)
    if problem.absolute:
        apart = x - problem.f
        x = problem.f + (apart - torch.clamp(apart, -tau, tau))  # to the bit, where it is f
    else:
        x = torch.lerp(x, problem.f, 1 / (1 + 1 / (tau * problem.trust)))
    x = x.clamp(problem.low, problem.high)
    return x, project(p + sigma * gradient(2 * x - u), problem, sigma)


@compiled
def _step(problem: Problem, u: Tensor, p: Tensor, sigma: Tensor) -> State:
    x, y = _half_step(problem, u, p, sigma)
    return u + RELAXATION * (x - u), p + RELAXATION * (y - p), (sigma + GROWTH).clamp(max=problem.last)


@compiled
def _gap(problem: Problem, u: Tensor, p: Tensor, sigma: Tensor) -> Tensor:
    u, p = _half_step(problem, u, p, sigma)
    slope, d, apart = gradient(u), -divergence(p), u - problem.f
    if problem.absolute:
        low, high = problem.f - problem.low, problem.high - problem.f
        data = apart.abs()
        missed = data + d * apart + (d - 1).clamp(min=0) * low + (-1 - d).clamp(min=0) * high
    else:
        data = torch.where(problem.trust == 1, apart.square() / 2, 0)
        missing = d.clamp(min=0) * (u - problem.low) - d.clamp(max=0) * (problem.high - u)
        missed = torch.where(problem.trust == 1, (apart + d).square() / 2, torch.where(problem.trust == 0, missing, 0))
    size = length(slope, problem.coupling)
    share = size / size.clamp(min=problem.huber)
    variation = problem.radius * share * (size - problem.huber * share / 2)
    bent = problem.huber * inner(p, p, problem.coupling) / (2 * problem.radius).clamp(min=torch.finfo(u.dtype).tiny)
    gap = total((variation + bent - inner(slope, p, problem.coupling)).clamp(min=0)) + total(missed)
    energy = total(variation) + total(data)
    rounding = total((8 * torch.finfo(u.dtype).eps * problem.f).square()) + torch.finfo(u.dtype).tiny
    return (gap / torch.maximum(energy, rounding)).to(u.dtype)


class Linearised(NamedTuple):
    """The problem whose solution is `w`: `c w - div q = g` with `q` the derivative of the projection at `q + ∇w`."""

    g: Tensor
    normal: Tensor
    """`n` where active, else 0."""
    stretch: Tensor
    """`|∇u| / λ` where active, else `α / λ`."""
    problem: Problem


def adjoint(g: Tensor, z: Tensor, problem: Problem, stop: Stop) -> Tensor:
    """Pull `g` back through the minimiser: `w = Jg`.

    With `z = p + ∇u`, the places where `|z| > λ + α` are active; there `n = z / |z|`, and `w` solves

        min_w  Σ c / 2 w² - g · w + Σ_active λ / 2|∇u| · |∇w - n (n · ∇w)|² + Σ_others λ / 2α · |∇w|²,

    with `∇w = 0` on the others where `α = 0`.

    The steps are those of `solve`, with the projection on the balls replaced by its derivative. What remains of the
    optimality condition, `|c w - g - div q| / |g|`, stops at `√tol` as a gap is the square of an error.
    """
    size = length(z, problem.coupling)
    active = size > problem.radius + problem.huber
    stretch = torch.where(active, size / problem.radius - 1, problem.huber / problem.radius)
    linearised = Linearised(g, torch.where(active, z / size, 0), stretch, problem)
    found = iterate(
        lambda k, *state: _adjoint_step(linearised, *state),
        (g, torch.zeros_like(z), problem.first),
        lambda *state: _adjoint_residual(linearised, *state),
        Stop(stop.tol**0.5, stop.max_iter, stop.every),
    )
    w, q = _adjoint_half_step(linearised, *found.value)
    return torch.where(problem.trust.isinf(), g + divergence(q), w)


def _adjoint_half_step(linearised: Linearised, w: Tensor, q: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    g, normal, stretch, problem = linearised
    tau, sigma = 1 / (8 * sigma), sigma[..., None]
    x = (w + tau * (g + divergence(q))) / (1 + tau * problem.trust)
    y = q + sigma * gradient(2 * x - w)
    return x, (y - normal * inner(normal, y, problem.coupling)) / (1 + sigma * stretch)


@compiled
def _adjoint_step(linearised: Linearised, w: Tensor, q: Tensor, sigma: Tensor) -> State:
    x, y = _adjoint_half_step(linearised, w, q, sigma)
    return w + RELAXATION * (x - w), q + RELAXATION * (y - q), (sigma + GROWTH).clamp(max=linearised.problem.last)


@compiled
def _adjoint_residual(linearised: Linearised, w: Tensor, q: Tensor, sigma: Tensor) -> Tensor:
    x, y = _adjoint_half_step(linearised, w, q, sigma)
    trust, g = linearised.problem.trust, linearised.g
    residual = torch.where(trust.isinf(), 0, trust * x - g - divergence(y))
    scale = total(g.square()).clamp(min=torch.finfo(g.dtype).tiny)
    return (total(residual.square()) / scale).sqrt().to(g.dtype)
