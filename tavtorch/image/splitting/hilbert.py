"""Structure and texture by total variation and frequency: the TV-Hilbert model and its solver.

min_u  ½ <f - u, K (f - u)> + Σ_i λ_i |∇u|_i,        K > 0 diagonal in the cosine transform
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.derivative import derivative_wanted, holds, with_derivative, without_derivatives
from tavtorch.image.check import check_coupling, check_image, full_precision, spread_weight
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
    frame_of,
    mean_length,
    mean_of,
    reflect,
    relax,
    total,
)
from tavtorch.image.grid import (
    cosine_frequencies,
    cosine_transform,
    differences,
    inverse_cosine_transform,
    laplacian_eigenvalues,
    outflow,
)
from tavtorch.image.splitting.split import Split
from tavtorch.solve import Solution, Stop, iterate

Response = Callable[[Tensor], Tensor]
"""A function of frequencies (x, y) in cycles a pixel, `(2, …)`."""


def split_hilbert(
    image: Float[Tensor, "b c h w"],
    weight: float | Float[Tensor, "..."],
    *,
    kernel: Response | Float[Tensor, "..."] | None = None,
    coupling: Coupling = "joint",
    stop: Stop | None = None,
) -> Split:
    """Structure has little total variation; texture has little energy in a norm that weighs frequencies.

        min_u  ½ <f - u, K (f - u)> + Σ_i λ_i |∇u|_i

    `K` says what texture costs at each frequency: high where there shall be none of it. With `K = 1` this is ROF. The
    default, `sobolev`, keeps slow waves in the structure as `split_fourier` does, and edges too, as `split_rof`.

    Gradients in image, weight and kernel are those of the exact minimiser, at constant memory.

    Args:
        image: `f`, `(b, c, h, w)`.
        weight: λ >= 0: a number, one an image `(b,)`, or a map `(b, 1, h, w)`; more is smoother. 0 leaves no texture.
        kernel: a function of frequencies in cycles a pixel, such as `sobolev` or `gabor`; or its values at
            `cosine_frequencies(image)`, `(h, w)` or one an image `(b, 1, h, w)`. Above zero: what costs nothing would
            be undetermined.
        coupling: see `total_variation`.
        stop: `gap` is the duality gap over the energy, one number for all channels.

    Source: Aujol & Gilboa, J. Math. Imaging Vis. 26, 2006, doi:10.1007/s10851-006-7801-6.

    >>> split_hilbert(torch.eye(8)[None, None], 1.0).solution.converged
    tensor([True])
    """
    check_image(image)
    check_coupling(coupling)
    dtype, image = image.dtype, full_precision(image)
    weight, costs = spread_weight(weight, image), _kernel(sobolev if kernel is None else kernel, image)
    frame = frame_of(image)
    solution = _minimise(frame.inside(image), weight / frame.unit, costs, coupling, stop or Stop(), frame)
    structure = frame.outside(solution.value)
    structure, texture = structure.to(dtype), (image - structure).to(dtype)
    return Split(structure, texture, solution._replace(value=structure))


def sobolev(frequencies: Float[Tensor, "2 *n"], *, floor: float = 0.05) -> Float[Tensor, "*n"]:
    """`1 / (|ω| + floor)²`: texture costs the less the faster it oscillates, as in the space H⁻¹.

    Source: Osher, Solé & Vese, Multiscale Model. Simul. 1(3), 2003, doi:10.1137/S1540345902416247.
    """
    return 1 / (frequencies.norm(dim=0) + floor).square()


def gabor(
    frequencies: Float[Tensor, "2 *n"], *, center: tuple[float, float], width: float = 0.03, floor: float = 0.02
) -> Float[Tensor, "*n"]:
    """`floor + 1 - exp(-|ω - center|² / 2 width²)`: texture costs next to nothing about one frequency, and 1 elsewhere.

    Cosines do not tell `(x, y)` from `(x, -y)`: both are texture. `center` has both parts positive.

    Source: Aujol, Gilboa, Chan & Osher, Int. J. Comput. Vis. 67, 2006, doi:10.1007/s11263-006-4331-z.
    """
    middle = frequencies.new_tensor(center).reshape(2, *(1,) * (frequencies.dim() - 1))
    return floor + 1 - torch.exp(-(frequencies - middle).square().sum(0) / (2 * width**2))


def _minimise(f: Tensor, weight: Tensor, kernel: Tensor, coupling: Coupling, stop: Stop, frame: Frame) -> Solution:
    """The minimiser, by the alternating direction method of multipliers on `z = ∇u`.

    Its state is one field `s`: with `P` the projection on the balls of radius `λ / ρ`, the multiplier is `p = ρ P(s)`,
    the split variable `z = s - P(s)`, and a step is

        (K + ρ ∇ᵀ∇) u = K f + ρ ∇ᵀ (s - 2 P(s)),        s ← (1 - α) s + α (P(s) + ∇u),

    the system exact in the cosine transform. At `u` and the feasible `p`, with `r = K (u - f) + ∇ᵀp`,

        gap = Σ_i (λ_i |∇u|_i - ∇u_i · p_i)  +  ½ <r, K⁻¹ r>,

    terms that are never negative. At the solution `r` is zero. With `g` the gradient that arrives at `u`, and `w` the
    solution of the linearised problem, see `_linear_response`,

        dL/df = K w,        dL/dK = ŵ (f̂ - û) at each frequency,        dL/dλ_i = -∇w_i · p_i / λ_i.

    Args:
        f, weight, kernel: of shapes that broadcast to the image `(b, c, h, w)`; weight >= 0, kernel > 0.
        frame: from which the result is put back.

    Source: Boyd et al., Found. Trends Mach. Learn. 3(1), 2011, doi:10.1561/2200000016.
    """
    with without_derivatives():
        data, costs = cosine_transform(f.detach()), kernel.detach()
        still = flow(inverse_cosine_transform(costs * data))
    weight, constant = capped(weight, still, coupling)
    with without_derivatives():
        step, start = _pose(f.detach(), weight.detach(), costs, coupling)
        start = each(lambda rest, slope: torch.where(constant, rest / step.rho, slope), still, start)

        def image_of(spectrum: Tensor) -> Tensor:
            return torch.where(constant, mean_of(f.detach()), inverse_cosine_transform(spectrum))

        found = iterate(
            lambda k, s: step(s)[1:],
            (start,),
            lambda s: _gap(s, step, data, costs),
            stop,
            certify=lambda s: _certified(image_of(step(s)[0]), s, step, f.detach(), costs, frame),
        )
        u, s = step(found.value[0])
        u = image_of(u)
    if not derivative_wanted(f, weight, kernel):
        return found._replace(value=u)

    assert isinstance(step.ball, Projection)
    pull = outflow(each(torch.mul, step.ball.unit(s), weight))
    optimality = inverse_cosine_transform(kernel * cosine_transform(f - u)) + pull
    value = with_derivative(optimality, u, pull=lambda g: _linear_response(g, s, step, costs, stop))
    return found._replace(value=value)


def _pose(f: Tensor, weight: Tensor, kernel: Tensor, coupling: Coupling) -> tuple["Step", Field]:
    """The step, and the field that the iteration starts from."""
    tiny = torch.finfo(f.dtype).tiny ** 0.5
    start = differences(f)
    slope = mean_length(start, coupling)
    rho = 3 * weight.mean((-2, -1), keepdim=True).clamp(min=tiny) / slope.clamp(min=tiny)
    ball = Projection((weight / rho).clamp(min=tiny), coupling)
    inverse = 1 / (kernel + rho * laplacian_eigenvalues(f))
    return Step(kernel * cosine_transform(f), inverse, rho, ball), start


class Step(NamedTuple):
    """From `s` to the spectrum of the next `u`, and the next `s`."""

    right: Tensor
    """`K f` at the cosine frequencies."""
    inverse: Tensor
    """Of `K + ρ ∇ᵀ∇` there."""
    rho: Tensor
    ball: Projection | ProjectionDerivative
    """Onto which `P` projects."""

    def __call__(self, s: Field) -> tuple[Tensor, Field]:
        kept, source = reflect(s, self.ball)
        u = torch.addcmul(self.right, cosine_transform(source), self.rho, value=-1) * self.inverse
        return u, relax(kept, inverse_cosine_transform(u))

    def multiplier(self, s: Field) -> Field:
        """`p = ρ P(s)`."""
        return each(torch.mul, self.ball(s), self.rho)


def _gap(s: Field, step: Step, data: Tensor, kernel: Tensor) -> Tensor:
    spectrum, s = step(s)
    assert isinstance(step.ball, Projection)
    ball = Projection(step.rho * step.ball.radius, step.ball.coupling)
    u = inverse_cosine_transform(spectrum)
    return _measure(u, spectrum - data, step.multiplier(s), ball, kernel).to(u.dtype)


def _certified(u: Tensor, s: Field, step: Step, f: Tensor, kernel: Tensor, frame: Frame) -> Tensor:
    """The gap in double precision, at the value that is returned: as its type rounds it where its frame is left."""
    assert isinstance(step.ball, Projection)
    ball = Projection(step.rho.double() * step.ball.radius.double(), step.ball.coupling)
    u, p = frame.rounded(u), ball(doubled(step.multiplier(step(s)[1])))
    return _measure(u, cosine_transform(u - f.double()), p, ball, kernel.double()).to(f.dtype)


def _measure(u: Tensor, apart: Tensor, p: Field, ball: Projection, kernel: Tensor) -> Tensor:
    """The duality gap over the energy; `apart` has the cosine coefficients of `u - f`, `ball` the radius λ."""
    cost, missed = costs_missed(differences(u), p, ball)
    residual = kernel * apart - cosine_transform(outflow(p))
    gap = total(*missed) + total(residual.square() / kernel / 2)
    energy = total(*cost) + total(kernel * apart.square() / 2)
    return gap / energy.clamp(min=torch.finfo(u.dtype).tiny)


def _linear_response(g: Tensor, s: Field, forward: Step, kernel: Tensor, stop: Stop) -> Tensor:
    """Solve the linearised problem by the steps that `_minimise` takes, with the derivative of `P` at `s` for `P`.

        min_w  ½ <w, K w> - <g, w> + Σ λ / 2|∇u| · |∇w - n (n · ∇w)|²  where |s| > λ / ρ, and ∇w = 0 elsewhere

    Here `n = s / |s|`. The map is symmetric: it serves both modes of derivatives. It stops on `|K w + ∇ᵀq - g| / |g|`.
    """
    assert isinstance(forward.ball, Projection)
    right = cosine_transform(g)
    step = forward._replace(right=right, ball=forward.ball.derivative(s))
    scale = total(right.square()).clamp(min=torch.finfo(g.dtype).tiny)

    def residual(t: Field) -> Tensor:
        w, t = step(t)
        missing = kernel * w - right - cosine_transform(outflow(step.multiplier(t)))
        return (total(missing.square()) / scale).sqrt().to(g.dtype)

    found = iterate(lambda k, t: step(t)[1:], (each(torch.zeros_like, s),), residual, stop.for_derivative())
    return inverse_cosine_transform(step(found.value[0])[0])


def _kernel(kernel: Response | Tensor, image: Tensor) -> Tensor:
    b, _, h, w = image.shape
    values = kernel if isinstance(kernel, Tensor) else kernel(cosine_frequencies(image))
    if values.shape not in {(h, w), (b, 1, h, w)}:
        raise ValueError(f"kernel: expected values {(h, w)} or {(b, 1, h, w)}, got shape {tuple(values.shape)}.")
    if not holds((values > 0) & values.isfinite()):
        raise ValueError("kernel: expected finite numbers > 0; what costs nothing is undetermined: add a floor.")
    return values.to(image).expand(len(values) if values.dim() == 4 else 1, 1, h, w)
