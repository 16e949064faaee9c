"""Active contours (snakes): polygons that move to the edges of an image, many at once."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.derivative import holds, without_derivatives
from tavtorch.image.check import check_device, check_image, full_precision
from tavtorch.image.contours.forces import gvf_force
from tavtorch.image.contours.handles import Handles
from tavtorch.image.contours.motion import Term, Weight, normals, semi_implicit_step, unit_directions
from tavtorch.image.contours.polygons import area, check_inside, check_points, crosses_itself, equidistant, many
from tavtorch.image.contours.terms import repulsion
from tavtorch.precision import exact
from tavtorch.solve import Solution, State, Stop, implicit, iterate

AT_REST = Stop(tol=0.1, max_iter=1000, every=10)
LAST_ROUNDS = Stop(tol=1e-3, max_iter=20)
GVF = partial(gvf_force, smoothness=0.2)
REACH = 2.0
"""Pixels within which contours repel each other."""
SMALLEST = 1.0
"""Area in square pixels of a closed contour, or length in pixels of an open one, below which it has collapsed."""


@exact()
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
    terms: Sequence[Term] = (),
    repel: float = 0.0,
    anchors: Float[Tensor, "..."] | None = None,
    stop: Stop | None = None,
    adjoint: Stop | None = LAST_ROUNDS,
    history: list[Tensor] | None = None,
) -> Solution:
    """Move contours along a force field, against their own elastic energy, until they come to rest.

        min_x  Σ_i  ½ α |x_{i+1} - x_i|² + ½ β |x_{i+1} - 2 x_i + x_{i-1}|² + E(x_i),        field = -∇E

        x ← (I + τ A)⁻¹ (x + τ (field(x) + κ n(x))),        A = α D₁ᵀD₁ + β D₂ᵀD₂

    `D₁`, `D₂` are first and second differences along the contour, `n` its outer normals. The elastic energy is treated
    implicitly, so that it allows any step. Every `resample` steps the points are redistributed at equal distances. They
    never leave the image.

    A contour whose area falls below one pixel has collapsed: it keeps its last shape above, with `converged` False and
    `gap` infinite. The same holds for a contour in a field that is zero everywhere, as that of a constant image: it
    only shrinks by its own energy. A contour may run clockwise or not, and keeps to the frame of the image where it is
    pushed out. One that crosses itself is moved like any other; if it does so at the end, `converged` is False, and it
    counts as collapsed if the signed areas of its loops cancel.

    Args:
        points: `(b, n, 2)`, or `(b, m, n, 2)` for many contours an image, which share its field without copies.
        field: `(b, 2, h, w)`, see `gvf_force`.
        elasticity: α >= 0, a number, one an image `(b,)`, or one a contour `(b, m)`; more is shorter. It refers to the
            index of the points, not to their distance.
        rigidity: β >= 0, as `elasticity`; more bends less.
        balloon: κ, as `elasticity`, a force along the outer normal: positive inflates, negative deflates.
        step: τ > 0, in pixels for a unit field.
        unit: True uses only the direction of the field, as Xu & Prince do, averaged over the neighbouring pixels so
            that steps of a pixel come to rest on an edge. False uses the field as it is; its length then scales the
            step.
        ends: `"closed"`, or open with `"free"` or `"fixed"` ends.
        resample: steps between two redistributions of the points; 0 never redistributes them.
        terms: further forces that depend on the contours, functions from `(b, m, n, 2)` to the same, in pixels a step
            of 1: `partial(chan_vese_force, image)`, or one of your own.
        repel: force, 0 or more, by which the contours of an image keep each other `REACH` pixels away, each from its
            six nearest: half of it where two touch, all of it where they overlap. 0.5 is enough in a unit field.
        anchors: `(b, k, 2)`, places inside the image that hold the contour, such as handles that a person moves: the
            nearest point of the image's contours is kept on each, in a bump as wide as it is far from where they rest
            without it (which is found first).
        stop: `gap` is the greatest distance in pixels that a point moved over the last `every` steps, along the
            normals, since sliding along itself does not change a curve. Default: `Stop(0.1, 1000, every=10)`.
        adjoint: stopping rule of the backward pass, in rounds of `resample` steps. Default: `Stop(1e-3, max_iter=20)`,
            the last 20 rounds. `Stop(1e-6, 10000)`: the implicit function theorem, exact at rest. None: unroll all
            steps; memory grows with them, and the gradient reaches the start. Take gradients of what the curve
            encloses (`area`, `soft_fill`), not of points, which may slide along the curve.
        history: a list to which the contours are appended at the start and every `stop.every` steps.

    Returns:
        A `Solution` with the contours, like `points`; its other fields are one a contour, `(b,)` or `(b, m)`.

    Source: Kass, Witkin & Terzopoulos, IJCV 1(4), 1988, doi:10.1007/BF00133570; balloon: Cohen, CVGIP 53(2), 1991,
    doi:10.1016/1049-9660(91)90028-N; gradient of the last steps: Shaban et al., AISTATS 2019, arXiv:1810.10667.

    >>> from tavtorch import circle, fill
    >>> disk = fill(circle((32, 32), 12, 64), (65, 65)).float()
    >>> found = evolve(circle((30, 35), 25, 80), gvf_force(disk, 0.2).value)
    >>> found.converged.item(), bool(area(found.value) / (3.1416 * 12**2) > 0.9)
    (True, True)
    """
    _check(points, field, step, ends, resample)
    closed = ends == "closed"
    if not closed and torch.as_tensor(balloon).any():
        raise ValueError("balloon: an open contour has no inside to inflate; leave it at 0.")
    contours, field = full_precision(many(points)), full_precision(field)
    field = unit_directions(field) if unit else field
    terms = [*terms, *_repulsion(repel, closed)]
    moved_by = partial(
        semi_implicit_step,
        contours,
        field,
        elasticity=elasticity,
        rigidity=rigidity,
        balloon=balloon,
        step=step,
        ends=ends,
        terms=terms,
    )
    to_rest = partial(_move_to_rest, contours.flatten(0, 1), closed=closed, resample=resample, stop=stop or AT_REST)
    move = moved_by()
    if anchors is not None:
        places = _places(anchors, contours)
        with without_derivatives():
            free, _ = to_rest(move)
        move = moved_by(handles=Handles.of(places, free.value.reshape(contours.shape)))

    def record(x: Tensor) -> None:
        if history is not None:
            history.append(x.detach().reshape(points.shape).to(points.dtype))

    def one_round(x: Tensor) -> Tensor:
        for _ in range(max(resample, 1)):
            x = move(x)
        return equidistant(x, closed=closed) if resample else x

    # Without a record of the steps, unless the gradient is that of all of them.
    with nullcontext() if adjoint is None else without_derivatives():
        found, collapsed = to_rest(move, record=record)
    x = found.value if adjoint is None else implicit(one_round, found.value, stop=adjoint, worst=math.inf)

    # A zero field has no edge to find, unless other forces do.
    still = torch.zeros_like(collapsed) if terms else ~field.flatten(1).any(1).repeat_interleave(contours.shape[1])
    failed = collapsed | still
    tangled = crosses_itself(x.detach()) if closed else torch.zeros_like(failed)
    shape = points.shape[:-2]
    return Solution(
        x.reshape(points.shape).to(points.dtype),
        found.iterations.reshape(shape),
        torch.where(failed, torch.inf, found.gap).reshape(shape),
        (found.converged & ~failed & ~tangled).reshape(shape),
    )


def segment(
    image: Float[Tensor, "b c h w"],
    points: Float[Tensor, "..."],
    *,
    force: Callable[[Tensor], Tensor | Solution] | None = GVF,
    region: Callable[[Tensor, Tensor], Tensor] | None = None,
    elasticity: Weight = 0.05,
    rigidity: Weight = 0.0,
    balloon: Weight = 0.0,
    step: float = 1.0,
    repel: float = 0.0,
    anchors: Float[Tensor, "..."] | None = None,
    stop: Stop | None = None,
    history: list[Tensor] | None = None,
) -> Solution:
    """Contours of objects: compute the force field of the image, then `evolve` from `points`.

    Args:
        image: `(b, c, h, w)`.
        points: `(b, n, 2)` or `(b, m, n, 2)`, around or inside the objects; see `circle`.
        force: a function of the image that gives its field, alone or in a `Solution`: `kass_force`,
            `partial(gaussian_force, sigma=3)`, `partial(gvf_force, smoothness=1)`. Default: `gvf_force` with
            smoothness 0.2. None: no edges count.
        region: a function of the image and the contours that gives the force at their points, `chan_vese_force`: added
            to that of the edges.
        elasticity, rigidity, balloon, step, repel, anchors, stop, history: see `evolve`.

    Returns:
        As `evolve`; `converged` only where the force field has converged too. `fill(value, (h, w))` is the mask.

    >>> from tavtorch import circle, fill
    >>> disk = fill(circle((16, 16), 8, 64), (33, 33)).float()
    >>> mask = fill(segment(disk, circle((16, 16), 14, 64)).value, (33, 33))
    >>> (mask == (disk > 0)).float().mean() > 0.98
    tensor(True)
    """
    check_image(image)
    single = full_precision(image)
    if force is None and region is None:
        raise ValueError("force: expected a function of the image, or a region that moves the contours; got None.")
    flow = torch.zeros_like(single[:, :1]).expand(-1, 2, -1, -1) if force is None else force(single)
    found = evolve(
        points,
        flow if isinstance(flow, Tensor) else flow.value,
        elasticity=elasticity,
        rigidity=rigidity,
        balloon=balloon,
        step=step,
        terms=[] if region is None else [partial(region, single)],
        repel=repel,
        anchors=anchors,
        stop=stop,
        history=history,
    )

    # A field that has not converged makes the result uncertain.
    if isinstance(flow, Tensor):
        return found
    field_converged = flow.converged.reshape(-1, *(1,) * (points.dim() - 3))
    return found._replace(converged=found.converged & field_converged)


def _move_to_rest(
    x: Tensor,
    move: Callable[[Tensor], Tensor],
    *,
    closed: bool,
    resample: int,
    stop: Stop,
    record: Callable[[Tensor], None] = lambda x: None,
) -> tuple[Solution, Tensor]:
    """Repeat `move` on contours `(k, n, 2)` until each rests or has collapsed, and whether it has, `(k,)`.

    The state has the contours, these at the last look at the gap, and whether they have collapsed.
    """

    def step(k: int, x: Tensor, before: Tensor, collapsed: Tensor) -> State:
        before = x if k % stop.every == 0 else before
        x = move(x)
        if resample and (k + 1) % resample == 0:
            x = equidistant(x, closed=closed)

        # Before each look at the gap, a contour that has collapsed goes back to where it was at the last one.
        if (k + 1) % stop.every == 0 or k + 1 == stop.max_iter:
            collapsed = collapsed | (_extent(x, closed) < SMALLEST)
            x = torch.where(collapsed[:, None, None], before, x)
        return x, before, collapsed

    def gap(x: Tensor, before: Tensor, collapsed: Tensor) -> Tensor:
        record(x)
        distance = ((x - before) * normals(x)).sum(-1).abs() if closed else (x - before).norm(dim=-1)
        return torch.where(collapsed, 0, distance.amax(-1))  # a collapsed contour is done

    far_away = torch.full_like(x, torch.finfo(x.dtype).max ** 0.5)
    found = iterate(step, (x, far_away, _extent(x, closed) < SMALLEST), gap, stop)
    x, _, collapsed = found.value
    return found._replace(value=x), collapsed


def _repulsion(repel: float, closed: bool) -> list[Term]:
    """The force of `repel`, if there is any; raise unless it is a weight."""
    if not 0 <= repel < float("inf") or (repel and not closed):
        raise ValueError(f"repel: expected a finite number >= 0, and closed contours, got {repel}; 0.5 is usual.")
    return [lambda x: repel * repulsion(x, REACH)] if repel else []


def _places(anchors: Tensor, contours: Tensor) -> Tensor:
    """The anchors in the precision of the contours; raise unless these are places of the same pictures."""
    if anchors.shape[::2] != (len(contours), 2) or anchors.dim() != 3 or not holds(anchors.isfinite()):
        raise ValueError(
            f"anchors: expected finite places (x, y), ({len(contours)}, k, 2), got {tuple(anchors.shape)}."
        )
    return anchors.to(contours.dtype)


def _extent(x: Tensor, closed: bool) -> Tensor:
    """The area of closed contours, the length of open ones, `(k,)`."""
    return area(x).abs() if closed else x.diff(dim=-2).norm(dim=-1).sum(-1)


def _check(points: Tensor, field: Tensor, step: float, ends: str, resample: int) -> None:
    """Raise unless `evolve` can move `points` in `field`."""
    check_points(points)
    if not 0 < step < float("inf"):
        raise ValueError(f"step: expected a finite number > 0, got {step}; 1 moves a pixel a step.")
    if ends not in ("closed", "free", "fixed"):
        raise ValueError(f"ends: expected 'closed', 'free' or 'fixed', got {ends!r}.")
    if resample < 0:
        raise ValueError(f"resample: expected a number of steps >= 0, got {resample}; 0 never spreads the points.")

    # The field: one for each image, finite, and where and in the type that the points are.
    check_device(field, points, "field")
    dtype = full_precision(points).dtype
    if field.dim() != 4 or field.shape[1] != 2 or len(field) != len(points) or full_precision(field).dtype != dtype:
        raise ValueError(
            f"field: expected ({len(points)}, 2, h, w) in {dtype} as the points are, got "
            f"{tuple(field.shape)} in {field.dtype}; see gvf_force."
        )
    if not holds(field.isfinite()):
        raise ValueError("field: some values are NaN or infinite; fill the image that it was made from first.")
    check_inside(points, (field.shape[-2], field.shape[-1]))
