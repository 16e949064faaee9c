"""Active contours (snakes): polygons that creep to the edges of an image, many at once."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tavtorch.image.contours.forces import gvf_force
from tavtorch.image.contours.polygons import area, check_points, equidistant, many
from tavtorch.image.grid import sample
from tavtorch.solve import Solution, State, Stop, implicit, iterate

Weight = float | Float[Tensor, "..."]

CREEPING = Stop(tol=0.1, max_iter=1000, every=10)
LAST_ROUNDS = Stop(tol=1e-3, max_iter=20)
GVF = partial(gvf_force, smoothness=0.2)
SMALLEST = 1.0
"""Area in pixels of a closed contour, or length of an open one, below which it has collapsed."""


def evolve(
    points: Float[Tensor, "..."],
    field: Float[Tensor, "..."],
    *,
    elasticity: Weight = 0.05,
    rigidity: Weight = 0.0,
    balloon: Weight = 0.0,
    step: float = 1.0,
    unit: bool = True,
    ends: str = "closed",
    resample: int = 5,
    stop: Stop | None = None,
    adjoint: Stop | None = LAST_ROUNDS,
    history: list[Tensor] | None = None,
) -> Solution:
    """Let contours creep along a force field until they rest.

        min_x  Σ_i  ½ α |x_{i+1} - x_i|² + ½ β |x_{i+1} - 2 x_i + x_{i-1}|² + E(x_i),        field = -∇E

        x ← (I + τ A)⁻¹ (x + τ (field(x) + κ n(x))),        A = α D₁ᵀD₁ + β D₂ᵀD₂

    The contour's own energy is taken implicitly, so that any step is stable for it: for closed contours by a Fourier
    transform along the contour. Every `resample` steps the points are spread evenly. The border of the image is a wall.

    Args:
        points: `(b, n, 2)`, or `(b, m, n, 2)` for many contours an image, which share its field without copies.
        field: `(b, 2, h, w)`, see `gvf_force`.
        elasticity: α >= 0, per step of the index: more is shorter. Like `rigidity` and `balloon` a number, one an image
            `(b,)`, or one a contour `(b, m)`.
        rigidity: β >= 0; more bends less.
        balloon: κ, a force along the outer normal: it inflates where positive, deflates where negative.
        step: τ > 0, in pixels for a unit field.
        unit: only the direction of the field counts, as in Xu & Prince, averaged over the neighbours so that steps of
            a pixel come to rest on an edge; False takes the field as it is, whose length then sets the step.
        ends: `"closed"`, or open with `"free"` or `"fixed"` ends.
        resample: steps between two redistributions of the points; 0 leaves them as they come.
        stop: `gap` is how far the contour moved over the last `every` steps: the most of its points, in pixels,
            along the normals, since sliding along itself does not move a curve. Default: `Stop(0.1, 1000, every=10)`.
        adjoint: how far the gradient looks back from the solution. Default: `Stop(1e-3, max_iter=20)`, the last 20
            rounds of `resample` steps; `Stop(tol=1e-6, max_iter=10000)` is the implicit function theorem, exact for a
            contour at rest; None unrolls all steps, whose memory grows with them, and knows the start. Ask for
            gradients of what the curve encloses (`area`, `soft_fill`), not of points, which may slide along it.
        history: a list to which the contours are appended at the start and every `stop.every` steps.

    Returns:
        A `Solution`; all its fields are one a contour, `(b,)` or `(b, m)`. A contour that collapsed (below one pixel)
        keeps the last shape above, with `converged` False and `gap` infinite. So does one whose field is zero
        everywhere, as that of a constant image: it shrinks by its own energy, and nowhere is right. A contour that
        crosses itself is moved like any other; it counts as collapsed if its loops cancel.

    Source: Kass, Witkin & Terzopoulos, IJCV 1(4), 1988, doi:10.1007/BF00133570; balloon: Cohen, CVGIP 53(2), 1991,
    doi:10.1016/1049-9660(91)90028-N; gradient of the last steps: Shaban et al., AISTATS 2019, arXiv:1810.10667.

    >>> from tavtorch import circle, fill
    >>> disk = fill(circle((32, 32), 12, 64), (65, 65)).float()
    >>> found = evolve(circle((30, 35), 25, 80), gvf_force(disk, 0.2).value)
    >>> found.converged.item(), bool(area(found.value) / (3.1416 * 12**2) > 0.9)
    (True, True)
    """
    _check(points, field, ends, resample)
    stop, closed = stop or CREEPING, ends == "closed"
    if not closed and torch.as_tensor(balloon).any():
        raise ValueError("balloon: an open contour has no inside to inflate; leave it at 0.")
    contours = many(points)
    b, m, n, _ = contours.shape
    smooth, reach = _smoother(contours, elasticity, rigidity, step, ends)
    pressure = _weight("balloon", balloon, contours, least=-math.inf)
    inflated = bool(pressure.any())
    if unit:
        field = _binomial(_unit(field, dim=1))
    corner, wall = points.new_zeros(2), points.new_tensor([field.shape[-1] - 1, field.shape[-2] - 1])

    def creep(x: Tensor) -> Tensor:
        force = sample(field, x.reshape(b, m * n, 2)).reshape(x.shape)
        if inflated:
            force = force + pressure * _normals(x)
        return smooth(x + reach * force).clamp(min=corner, max=wall)

    def go(k: int, x: Tensor, past: Tensor, collapsed: Tensor) -> State:
        past = x if k % stop.every == 0 else past
        x = creep(x)
        if resample and (k + 1) % resample == 0:
            x = equidistant(x, closed=closed)
        if (k + 1) % stop.every == 0 or k + 1 == stop.max_iter:
            collapsed = collapsed | (_extent(x, closed) < SMALLEST)
            x = torch.where(collapsed[:, None, None], past, x)
        return x, past, collapsed

    def moved(x: Tensor, past: Tensor, collapsed: Tensor) -> Tensor:
        if history is not None:
            history.append(x.detach().reshape(points.shape))
        distance = ((x - past) * _normals(x)).sum(-1).abs() if closed else (x - past).norm(dim=-1)
        return torch.where(collapsed, 0, distance.amax(-1))

    def round_(x: Tensor) -> Tensor:
        for _ in range(max(resample, 1)):
            x = creep(x)
        return equidistant(x, closed=closed) if resample else x

    x = contours.flatten(0, 1)
    state = x, torch.full_like(x, torch.finfo(x.dtype).max ** 0.5), _extent(x, closed) < SMALLEST
    with torch.set_grad_enabled(torch.is_grad_enabled() and adjoint is None):
        found = iterate(go, state, moved, stop)
    x, _, collapsed = found.value
    lost = collapsed | ~field.flatten(1).any(1).repeat_interleave(m)
    shape = points.shape[:-2]
    return Solution(
        (x if adjoint is None else implicit(round_, x, stop=adjoint)).reshape(points.shape),
        found.iterations.reshape(shape),
        torch.where(lost, torch.inf, found.gap).reshape(shape),
        (found.converged & ~lost).reshape(shape),
    )


def segment(
    image: Float[Tensor, "b c h w"],
    points: Float[Tensor, "..."],
    *,
    force: Callable[[Tensor], Tensor | Solution] = GVF,
    elasticity: Weight = 0.05,
    rigidity: Weight = 0.0,
    balloon: Weight = 0.0,
    step: float = 1.0,
    stop: Stop | None = None,
    history: list[Tensor] | None = None,
) -> Solution:
    """Contours of objects: the force field of the image, then `evolve` from `points`.

    Args:
        image: `(b, c, h, w)`.
        points: `(b, n, 2)` or `(b, m, n, 2)`, around or inside of the objects; see `circle`.
        force: gives the field of an image, by itself or in a `Solution`: `kass_force`, `partial(gaussian_force,
            sigma=3)`, `partial(gvf_force, smoothness=1)`. Default: `gvf_force` with smoothness 0.2.
        elasticity, rigidity, balloon, step, stop, history: see `evolve`.

    Returns:
        As `evolve`; `converged` only where the force field is, too. Its mask is `fill(value, (h, w))`.

    >>> from tavtorch import circle, fill
    >>> disk = fill(circle((16, 16), 8, 64), (33, 33)).float()
    >>> mask = fill(segment(disk, circle((16, 16), 14, 64)).value, (33, 33))
    >>> (mask == (disk > 0)).float().mean() > 0.98
    tensor(True)
    """
    pulled = force(image)
    found = evolve(
        points,
        pulled if isinstance(pulled, Tensor) else pulled.value,
        elasticity=elasticity,
        rigidity=rigidity,
        balloon=balloon,
        step=step,
        stop=stop,
        history=history,
    )
    if isinstance(pulled, Tensor):
        return found
    settled = pulled.converged.reshape(-1, *(1,) * (points.dim() - 3))
    return found._replace(converged=found.converged & settled)


def _smoother(
    contours: Tensor, elasticity: Weight, rigidity: Weight, step: float, ends: str
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """`(I + τ A)⁻¹` along contours `(k, n, 2)`, and the step of each point, τ, or 0 where it is held."""
    if not step > 0:
        raise ValueError(f"step: expected a number > 0, got {step}; 1 moves a pixel a step.")
    n, steps = contours.shape[-2], torch.full_like(contours[0, 0, :, :1], step)
    alpha, beta = (_weight(name, w, contours) for name, w in (("elasticity", elasticity), ("rigidity", rigidity)))
    if ends == "closed":
        angle = torch.arange(n // 2 + 1, dtype=contours.dtype, device=contours.device) * (2 * math.pi / n)
        stiffness = (2 - 2 * angle.cos())[:, None]
        response = 1 / (1 + step * (alpha * stiffness + beta * stiffness**2))
        return lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=1) * response, n, dim=1), steps
    if ends == "fixed":
        steps[0] = steps[-1] = 0
    identity = torch.eye(n, dtype=contours.dtype, device=contours.device)
    first, second = identity.diff(dim=0), identity.diff(n=2, dim=0)
    inverse = torch.linalg.inv(identity + steps * (alpha * first.mT @ first + beta * second.mT @ second))
    return lambda x: inverse @ x, steps


def _binomial(u: Tensor) -> Tensor:
    """Mean with the neighbours by (1, 2, 1) / 4 each way: across an edge a field of unit vectors turns smoothly."""
    u = F.pad(u, (1, 1, 1, 1), mode="replicate")
    for _ in range(2):
        u = u[..., 1:] + u[..., :-1]
        u = u[..., 1:, :] + u[..., :-1, :]
    return u / 16


def _normals(x: Tensor) -> Tensor:
    """Unit normals of closed contours, outwards whichever way they run; zero where there is no direction."""
    dx, dy = (x.roll(-1, -2) - x.roll(1, -2)).unbind(-1)
    return _unit(torch.stack((dy, -dx), dim=-1), dim=-1) * area(x).sign()[..., None, None]


def _unit(v: Tensor, dim: int) -> Tensor:
    """Vectors of length 1; zero where they are zero, with a zero gradient."""
    square = v.square().sum(dim, keepdim=True)
    return v * torch.where(square > 0, square, torch.inf).rsqrt()


def _extent(x: Tensor, closed: bool) -> Tensor:
    """What a contour must not lose: its area, or, open, its length."""
    return area(x).abs() if closed else x.diff(dim=-2).norm(dim=-1).sum(-1)


def _weight(name: str, value: Weight, contours: Tensor, least: float = 0.0) -> Tensor:
    """A number, `(b,)` or `(b, m)` as `(1, 1, 1)` or `(b m, 1, 1)`; raise unless it is finite and at least `least`."""
    b, m = contours.shape[:2]
    weight = torch.as_tensor(value, dtype=contours.dtype, device=contours.device)
    if weight.shape not in {(), (b,), (b, m)} or not bool((weight >= least).all() & weight.isfinite().all()):
        expected = f"a finite number, one an image ({b},), or one a contour {(b, m)}"
        raise ValueError(f"{name}: expected {expected}, each at least {least:g}, got {value}.")
    if weight.dim() == 1:
        weight = weight[:, None].expand(b, m)
    return weight.reshape(-1, 1, 1)


def _check(points: Tensor, field: Tensor, ends: str, resample: int) -> None:
    check_points(points)
    if ends not in ("closed", "free", "fixed"):
        raise ValueError(f"ends: expected 'closed', 'free' or 'fixed', got {ends!r}.")
    if resample < 0:
        raise ValueError(f"resample: expected a number of steps >= 0, got {resample}; 0 never spreads the points.")
    if field.dim() != 4 or field.shape[1] != 2 or len(field) != len(points) or field.dtype != points.dtype:
        raise ValueError(
            f"field: expected ({len(points)}, 2, h, w) in {points.dtype} as the points are, got "
            f"{tuple(field.shape)} in {field.dtype}; see gvf_force."
        )
    if not bool(field.isfinite().all()):
        raise ValueError("field: some values are NaN or infinite; fill the image that it was made from first.")
    size = points.new_tensor([field.shape[-1], field.shape[-2]])
    if not bool(((points > -0.5) & (points < size - 0.5)).all()):
        w, h = size.long().tolist()
        raise ValueError(f"points: some are outside of the image of {w} x {h} pixels; clamp them or start smaller.")
