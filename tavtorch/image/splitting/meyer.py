"""Structure by oscillation: the least total variation near an image in the G-norm (TV-G, Meyer's model)."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.derivative import derivative_wanted, with_derivative, without_derivatives
from tavtorch.image.check import check_coupling, check_image, full_precision, spread_weight
from tavtorch.image.fields import (
    RELAXATION,
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
    relax,
    total,
    variation,
)
from tavtorch.image.grid import (
    cosine_transform,
    differences,
    inverse_cosine_transform,
    laplacian_eigenvalues,
    outflow,
)
from tavtorch.image.splitting.split import Split
from tavtorch.solve import Solution, State, Stop, compiled, iterate


def split_meyer(
    image: Float[Tensor, "b c h w"],
    weight: float | Float[Tensor, "..."],
    *,
    coupling: Coupling = "joint",
    stop: Stop | None = None,
) -> Split:
    """Structure has the least total variation that is left when texture may oscillate (TV-G, Meyer's model).

        min_u  Σ_i |∇u|_i        where  f - u = div g  and  |g|_i <= λ_i

    The texture's norm in Meyer's space G is the least bound on such a `g`; that of a wave is its amplitude over `2 π`
    times its frequency, so that it may be the higher the faster it is. Of the same structures `rof` takes the one of
    least squares, this the one of least variation.

    Where several structures are as good, one of them is found, and the gradient is of no use; else it is that of the
    minimiser.

    Args:
        image: `f`, `(b, c, h, w)`.
        weight: λ >= 0, in pixels times the unit of the image, as for `rof`: a number, one an image `(b,)`, or a map
            `(b, 1, h, w)`. 0 leaves no texture.
        coupling: see `total_variation`.
        stop: `gap` is the duality gap over the total variation of `image`, one number for all channels.

    Source: Meyer, "Oscillating patterns in image processing and nonlinear evolution equations", 2001,
    doi:10.1090/ulect/022; with a bound on the norm: Aujol, Aubert, Blanc-Féraud & Chambolle, J. Math. Imaging Vis. 22,
    2005, doi:10.1007/s10851-005-4783-8.

    >>> ripple = torch.tensor([0.0, 0.1]).repeat(4).expand(1, 1, 8, 8) + torch.linspace(0, 1, 8).round()
    >>> split_meyer(ripple, 0.05).structure[0, 0, 0].round(decimals=2)
    tensor([0.0500, 0.0500, 0.0500, 0.0900, 1.0100, 1.0500, 1.0500, 1.0500])
    """
    check_image(image)
    check_coupling(coupling)
    dtype, image = image.dtype, full_precision(image)
    frame = frame_of(image)
    weight = spread_weight(weight, image) / frame.unit
    solution = _minimise(frame.inside(image), weight, coupling, stop or Stop(), frame)
    structure = frame.outside(solution.value)
    structure, texture = structure.to(dtype), (image - structure).to(dtype)
    return Split(structure, texture, solution._replace(value=structure))


def _minimise(f: Tensor, weight: Tensor, coupling: Coupling, stop: Stop, frame: Frame) -> Solution:
    """A minimiser, by the alternating direction method of multipliers on `z = ∇u` and `y = g`.

    Its state is two fields `s`, `t`: with `P` the projections on the balls of radius `1 / ρ` and `λ`, the multiplier of
    `z` is `p = ρ P(s)`, and `y = P(t)` is feasible. A step, exact in the cosine transform, is

        g = argmin_g  ρ |∇(f + div g) - s + 2 P(s)|² + η |g + t - 2 P(t)|²,        u = f + div g,
        s ← (1 - α) s + α (P(s) + ∇u),        t ← t + α (g - P(t)).

    Returned is `u = f + div y`. There, with `r = -div p`,

        gap = Σ_i (|∇u|_i - ∇u_i · p_i)  +  Σ_i (λ_i |∇r|_i - y_i · ∇r_i)  +  <u - f - div y, r>,

    of which two terms are never negative, and the last is what rounding the returned `u` does: `r` is what the dual,
    `max <f, r> - Σ λ_i |∇r|_i`, is about. With `v` the gradient that arrives at `u`, and `w = v + div q` from the
    linearised problem, see `_pull`,

        dL/df = w,        dL/dλ_i = -∇w_i · y_i / λ_i.

    Args:
        f, weight: image `(b, c, h, w)`, and what broadcasts with it; weight >= 0.
        frame: from which the result is put back.
    """
    with without_derivatives():
        step, start = _pose(f.detach(), weight.detach(), coupling)
        found = iterate(
            lambda k, *state: step(*state),
            start,
            lambda s, t: _gap(s, t, step),
            stop,
            certify=lambda s, t: _certified(s, t, step, frame),
        )
        s, t = found.value
        u = step.image + outflow(step.fields(t))
    if not derivative_wanted(f, weight):
        return found._replace(value=u)

    assert isinstance(step.fields, Projection)
    value = with_derivative(
        f + outflow(each(torch.mul, step.fields.unit(t), weight)),
        u,
        pull=lambda v: _pull(v, s, t, step, stop),
        push=lambda v: _push(v, s, t, step, stop),
    )
    return found._replace(value=value)


def _pose(f: Tensor, weight: Tensor, coupling: Coupling) -> tuple["Step", State]:
    """The first step, and where it starts; where λ is so large that the mean is a solution, there: see `capped`.

    On pictures, with λ from 0.01 to 0.3, `ρ` and `η` are within twice the best.
    """
    still, slopes = flow(f), differences(f)
    weight, constant = capped(weight, still, coupling)

    slope = mean_length(slopes, coupling).clamp(min=_tiny(f))
    bound = torch.maximum(weight.mean((-2, -1), keepdim=True), 1e-3 * slope)
    rho, eta = 1 / slope, (slope / bound**3).sqrt() / 2

    e = laplacian_eigenvalues(f)
    inverse = torch.where(e > 0, 1 / (e.square() + eta / rho), 0)  # ∇h has no part at e = 0
    balls = Projection(1 / rho, coupling), Projection(weight, coupling)
    start = (
        each(lambda part: torch.where(constant, 0, part), slopes),
        each(lambda part: torch.where(constant, part, 0), still),
    )
    return Step(f, each(torch.zeros_like, still), rho, eta, inverse, *balls), start


class Step(NamedTuple):
    """From `s`, `t` to the next ones."""

    image: Tensor
    """`f`"""
    push: Field
    """What is added to `2 P(t) - t`."""
    rho: Tensor
    eta: Tensor
    inverse: Tensor
    """Of `(∇ᵀ∇)² + η / ρ` at the cosine frequencies."""
    slopes: Projection | ProjectionDerivative
    """Onto which `P(s)` projects,"""
    fields: Projection | ProjectionDerivative
    """and `P(t)`."""

    def __call__(self, s: Field, t: Field) -> State:
        kept, base, right = _reflect(s, t, self)
        return _relax(kept, base, inverse_cosine_transform(self.inverse * cosine_transform(right)))

    def multiplier(self, s: Field) -> Field:
        """`p = ρ P(s)`."""
        return each(torch.mul, self.slopes(s), self.rho)


@compiled
def _reflect(s: Field, t: Field, step: Step) -> tuple[State, Tensor, Tensor]:
    """What is known before the `h` of `g + ∇h`: the next `s` and `t` and `u`, as far as they go without it, and the
    right-hand side for it."""
    p, y = step.slopes(s), step.fields(t)
    g = each(lambda y, old, push: torch.sub(push, old).add(y, alpha=2), y, t, step.push)
    u = step.image + outflow(g)
    bent = each(lambda old, p, slope: torch.sub(old, p, alpha=2) - slope, s, p, differences(u))
    kept_s = each(lambda old, p: torch.lerp(old, p, RELAXATION), s, p)
    kept_t = each(lambda old, g, y: torch.add(old, g - y, alpha=RELAXATION), t, g, y)
    return (kept_s, kept_t), u, outflow(bent)


@compiled
def _relax(kept: State, u: Tensor, h: Tensor) -> State:
    """The next `s` and `t`."""
    g = differences(h)
    next_t = each(lambda old, g: torch.add(old, g, alpha=RELAXATION), kept[1], g)
    return relax(kept[0], u + outflow(g)), next_t


def _gap(s: Field, t: Field, step: Step) -> Tensor:
    y = step.fields(t)
    return _measure(step.image + outflow(y), step.multiplier(s), y, step).to(step.image.dtype)


def _certified(s: Field, t: Field, step: Step, frame: Frame) -> Tensor:
    """The gap in double precision, at the value that is returned: as its type rounds it where its frame is left."""
    assert isinstance(step.slopes, Projection)
    assert isinstance(step.fields, Projection)
    coupling, one = step.slopes.coupling, torch.ones_like(step.rho, dtype=torch.float64)
    fields = Projection(step.fields.radius.double(), coupling)
    u = frame.rounded(step.image + outflow(step.fields(t)))
    p = Projection(one, coupling)(doubled(step.multiplier(s)))
    exact = step._replace(image=step.image.double(), slopes=Projection(one, coupling), fields=fields)
    return _measure(u, p, fields(doubled(t)), exact).to(step.image.dtype)


def _measure(u: Tensor, p: Field, y: Field, step: Step) -> Tensor:
    """The duality gap over the total variation of the image; over that of rounding errors where it is larger."""
    assert isinstance(step.fields, Projection)
    coupling = step.fields.coupling
    structure = costs_missed(differences(u), p, Projection(torch.ones_like(step.rho), coupling))[1]
    r = -outflow(p)
    texture = costs_missed(differences(r), y, step.fields)[1]
    rounded = total((u - step.image - outflow(y)) * r)

    rounding = torch.finfo(step.image.dtype).eps * total(step.image.abs())
    scale = torch.maximum(total(*variation(differences(step.image), coupling)), rounding)
    return (total(*structure, *texture) + rounded).clamp(min=0) / scale.clamp(min=_tiny(u))


def _pull(v: Tensor, s: Field, t: Field, forward: Step, stop: Stop) -> Tensor:
    """Pull `v` back through the minimiser: `w = v + div q` with the saddle point of the linearised problem.

    min_g max_q  <∇v, g> + <∇ div g, q>,        g and q as the derivatives of the projections leave them free
    """
    push = each(lambda slope: -slope / forward.eta, differences(v))
    step = _linearised(s, t, forward, image=torch.zeros_like(v), push=push)
    found = _settle(step, stop)
    return v + outflow(step.multiplier(found[0]))


def _push(v: Tensor, s: Field, t: Field, forward: Step, stop: Stop) -> Tensor:
    """Push `v` forward through the minimiser: `v + div g`, with `g` of the linearised problem whose image is `v`."""
    step = _linearised(s, t, forward, image=v, push=each(torch.zeros_like, s))
    found = _settle(step, stop)
    return v + outflow(step.fields(found[1]))


def _linearised(s: Field, t: Field, forward: Step, *, image: Tensor, push: Field) -> Step:
    """The steps of `_minimise` with the derivatives of `P` at `s` and `t` for `P`."""
    assert isinstance(forward.slopes, Projection)
    assert isinstance(forward.fields, Projection)
    slopes, fields = forward.slopes.derivative(s), forward.fields.derivative(t)
    return forward._replace(image=image, push=push, slopes=slopes, fields=fields)


def _settle(step: Step, stop: Stop) -> State:
    """The state at which the linearised steps come to rest: the last step's length is small beside all of the way."""

    def size(s: Field, t: Field) -> Tensor:
        squares = *(step.rho * part.square() for part in s), *(step.eta * part.square() for part in t)
        return total(*squares).sqrt()

    def moved(s: Field, t: Field) -> Tensor:
        after = step(s, t)
        way = size(each(torch.sub, after[0], s), each(torch.sub, after[1], t))
        return (way / size(*after).clamp(min=_tiny(step.image))).to(step.image.dtype)

    start = each(torch.zeros_like, step.push), each(torch.zeros_like, step.push)
    return iterate(lambda k, *state: step(*state), start, moved, stop.for_derivative()).value


def _tiny(like: Tensor) -> float:
    """So far above zero that its cube and its inverse are numbers."""
    return float(torch.finfo(like.dtype).tiny ** 0.25)
