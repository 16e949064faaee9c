"""Total variation with a data term that weighs frequencies: the solver of the TV-Hilbert model.

min_u  ½ <f - u, K (f - u)> + Σ_i λ_i |∇u|_i,        K > 0 diagonal in the cosine transform
"""

from typing import NamedTuple

import torch
from torch import Tensor

from tavtorch.grid import cosine_transform, divergence, gradient, inverse_cosine_transform, laplacian_eigenvalues
from tavtorch.image.primal_dual import Coupling, inner, length, total
from tavtorch.solve import Solution, Stop, compiled, iterate

RELAXATION = 1.8


def minimise(f: Tensor, weight: Tensor, kernel: Tensor, coupling: Coupling, stop: Stop) -> Solution:
    """The minimiser, by the alternating direction method of multipliers on `z = ∇u`.

    Its state is one field `s`: with `P` the projection on the balls of radius `λ / ρ`, the multiplier is `p = ρ P(s)`,
    the split variable `z = s - P(s)`, and a step is

        (K + ρ ∇ᵀ∇) u = K f + ρ ∇ᵀ (s - 2 P(s)),        s ← P(s) + α ∇u + (1 - α) z,

    the system exact in the cosine transform. At `u` and the feasible `p`, with `r = K (u - f) + ∇ᵀp`,

        gap = Σ_i (λ_i |∇u|_i - ∇u_i · p_i)  +  ½ <r, K⁻¹ r>,

    terms that are never negative. At the solution `r` is zero, and its derivative is the solution's: with `g` what
    arrives at `u`, and `w` the same steps' solution of the linearised problem, see `_adjoint`,

        dL/df = K w,        dL/dK = ŵ (f̂ - û) at each frequency,        dL/dλ_i = -∇w_i · p_i / λ_i.

    Args:
        f, weight, kernel: of shapes that broadcast to the image `(b, c, h, w)`; weight >= 0, kernel > 0.

    Source: Boyd et al., Found. Trends Mach. Learn. 3(1), 2011, doi:10.1561/2200000016.
    """
    with torch.no_grad():
        tiny = torch.finfo(f.dtype).tiny ** 0.5
        slope = length(gradient(f), coupling).mean((1, 2, 3, 4)).reshape(-1, 1, 1, 1)
        rho = 3 * weight.mean((-2, -1), keepdim=True).clamp(min=tiny) / slope.clamp(min=tiny)
        ball, data = Ball((weight / rho)[:, :, None].clamp(min=tiny), coupling), cosine_transform(f)
        step = Step(kernel * data, 1 / (kernel + rho * laplacian_eigenvalues(f)), rho, ball)
        found = iterate(lambda k, s: step(s)[1:], (gradient(f),), lambda s: _gap(s, step, data, kernel), stop)
        u, s = step(found.value[0])
        u = inverse_cosine_transform(u)
    if not (torch.is_grad_enabled() and (f.requires_grad or weight.requires_grad or kernel.requires_grad)):
        return found._replace(value=u)
    unit = s / torch.maximum(length(s, coupling), ball.radius)
    zero = inverse_cosine_transform(kernel * cosine_transform(f - u)) + divergence(weight[:, :, None] * unit)
    zero.register_hook(lambda g: _adjoint(g, s, step, kernel.detach(), stop))
    return found._replace(value=u + (zero - zero.detach()))  # adds zero: the value stays, the gradient comes along


class Ball(NamedTuple):
    """Fields no longer than a radius anywhere, and the projection on them, or its derivative."""

    radius: Tensor
    """Of the ball; in a derivative, the factor."""
    coupling: Coupling
    normal: Tensor | None = None
    """Makes it a derivative: the direction that the projection loses, 0 where it does nothing."""

    def project(self, s: Tensor) -> Tensor:
        if self.normal is None:
            return s * (self.radius / length(s, self.coupling)).clamp(max=1)
        return self.radius * (s - self.normal * inner(self.normal, s, self.coupling))

    def derivative(self, s: Tensor) -> "Ball":
        """The derivative of the projection at `s`."""
        size = length(s, self.coupling)
        normal = torch.where(size > self.radius, s / size, 0)
        return Ball((self.radius / size).clamp(max=1), self.coupling, normal)


class Step(NamedTuple):
    """From `s` to the spectrum of the next `u`, and the next `s`."""

    right: Tensor
    """`K f` at the cosine frequencies."""
    inverse: Tensor
    """Of `K + ρ ∇ᵀ∇` there."""
    rho: Tensor
    ball: Ball
    """Onto which `P` projects."""

    def __call__(self, s: Tensor) -> tuple[Tensor, Tensor]:
        inside, source = _reflect(s, self.ball)
        u = (self.right - self.rho * cosine_transform(source)) * self.inverse
        return u, _relax(inside, s, inverse_cosine_transform(u))

    def multiplier(self, s: Tensor) -> Tensor:
        """`p = ρ P(s)`."""
        return self.rho[..., None] * self.ball.project(s)


@compiled
def _reflect(s: Tensor, ball: Ball) -> tuple[Tensor, Tensor]:
    """`P(s)`, and the divergence of `s - 2 P(s)`."""
    inside = ball.project(s)
    return inside, divergence(s - 2 * inside)


@compiled
def _relax(inside: Tensor, s: Tensor, u: Tensor) -> Tensor:
    return inside + torch.lerp(s - inside, gradient(u), RELAXATION)


def _gap(s: Tensor, step: Step, data: Tensor, kernel: Tensor) -> Tensor:
    u, s = step(s)
    p, slope = step.multiplier(s), gradient(inverse_cosine_transform(u))
    variation = step.rho[..., None] * step.ball.radius * length(slope, step.ball.coupling)
    residual = kernel * (u - data) - cosine_transform(divergence(p))
    gap = total(variation - inner(slope, p, step.ball.coupling)) + total(residual.square() / kernel / 2)
    energy = total(variation) + total(kernel * (u - data).square() / 2)
    rounding = torch.finfo(u.dtype).eps * total(kernel * data.square() / 2)
    return (gap / (energy + rounding).clamp(min=torch.finfo(u.dtype).tiny)).to(u.dtype)


def _adjoint(g: Tensor, s: Tensor, forward: Step, kernel: Tensor, stop: Stop) -> Tensor:
    """Solve the linearised problem by the steps that `minimise` takes, with the derivative of `P` at `s` for `P`.

        min_w  ½ <w, K w> - <g, w> + Σ λ / 2|∇u| · |∇w - n (n · ∇w)|²  where |s| > λ / ρ, and ∇w = 0 elsewhere

    Here `n = s / |s|`. It stops on `|K w + ∇ᵀq - g| / |g|` at `√tol`, as a gap is the square of an error.
    """
    right = cosine_transform(g)
    step = forward._replace(right=right, ball=forward.ball.derivative(s))

    def residual(t: Tensor) -> Tensor:
        w, t = step(t)
        missing = kernel * w - right - cosine_transform(divergence(step.multiplier(t)))
        return (total(missing.square()) / total(right.square())).sqrt().to(g.dtype)

    stop = Stop(stop.tol**0.5, stop.max_iter, stop.every)
    found = iterate(lambda k, t: step(t)[1:], (torch.zeros_like(s),), residual, stop)
    return inverse_cosine_transform(step(found.value[0])[0])
