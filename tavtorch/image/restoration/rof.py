"""Total variation of images, and the denoising of Rudin, Osher and Fatemi (ROF)."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tavtorch.derivative import holds, without_derivatives
from tavtorch.image.check import check_coupling, check_image, check_init, check_spacing, full_precision, spread_weight
from tavtorch.image.fields import Coupling, Field, capped, each, flow, frame_of, halved, length, mean_of
from tavtorch.image.grid import beside, corner, differences, space
from tavtorch.image.restoration import tgv
from tavtorch.image.restoration.primal_dual import Problem, minimise, project, solve
from tavtorch.solve import Solution, Stop


def total_variation(
    image: Float[Tensor, "b c *d h w"], *, coupling: Coupling = "joint", spacing: Sequence[float] | Tensor | None = None
) -> Float[Tensor, "b"]:
    """Sum over the pixels of the length of the gradient.

        TV(u) = Σ_i |∇u|_i

    Args:
        image: `(b, c, h, w)`, or volumes `(b, c, d, h, w)`.
        coupling: what one length is taken of: `"joint"`, the gradients of all channels of a pixel together (Frobenius),
            so that the edges of the channels meet; `"separate"`, the gradient of each channel; `"none"`, each
            difference by itself (anisotropic).
        spacing: distances between neighbours along each axis, `(h, w)` or `(d, h, w)`; by default 1.

    Returns:
        `(b,)`, in float32 at least.

    >>> total_variation(torch.tensor([[[[0.0, 1.0], [1.0, 1.0]]]]))
    tensor([1.4142])
    """
    check_image(image, volumes=True)
    check_coupling(coupling)
    single = full_precision(image)
    unit = frame_of(single).unit
    slopes = differences(single / unit, check_spacing(spacing, single))
    return unit.flatten() * torch.stack([size.flatten(1).sum(1) for size in length(slopes, coupling)]).sum(0)


def rof(
    image: Float[Tensor, "b c *d h w"],
    weight: float | Float[Tensor, "..."] | Literal["sure"],
    *,
    coupling: Coupling = "joint",
    huber: float = 0.0,
    order: Literal[1, 2] = 1,
    ratio: float = 2.0,
    spacing: Sequence[float] | Tensor | None = None,
    stop: Stop | None = None,
    init: Float[Tensor, "b c *d h w"] | None = None,
) -> Solution:
    """Denoise: the image near `image` whose total variation is small.

        min_u  ½ |u - f|² + Σ_i λ_i |∇u|_i

    Forward differences, reflecting borders. The result is certified: its energy is above the minimum by no more than
    the duality gap, which bounds its error too, `½ |u - minimiser|² <= gap`.

    The gradient is that of the exact minimiser, by an adjoint iteration whose memory does not depend on the number of
    steps; so is the forward-mode derivative. Its relative error is a few times `√tol`, as the solution's is: ask for
    `Stop(tol=1e-4)` or less where gradients matter. First derivatives only.

    Args:
        image: `f`, `(b, c, h, w)`; or volumes, such as films, `(b, c, d, h, w)`.
        weight: λ >= 0, in the unit of the image: a number, one an image `(b,)`, or a map `(b, 1, h, w)`; more is
            smoother. 0 gives the image back, a huge one its mean. `"sure"`: that of `sure_weight` for the noise that it
            finds in each image, which takes 20 times as long as the rest; it counts as constant in derivatives.
        coupling: see `total_variation`; `"separate"` treats channels one by one.
        huber: slopes `t` up to this `α` cost `t² / 2α` and steeper ones `t - α / 2`, so that ramps and shades stay
            smooth where total variation alone makes stairs; in the unit of the image, 0.01 for [0, 1].
        order: 2 takes total generalised variation instead, in which ramps are free, and not only smooth: the least
            `Σ_i λ_i |∇u - w|_i + ratio λ_i |E w|_i` over fields `w`, with `E w` the symmetric part of their
            differences. It takes ten times as many steps, is for pictures, and knows no `huber` and no `"sure"`.
        ratio: β, what a change of slope costs beside an edge, in pixels; more is closer to straight.
        spacing: distances between neighbours along each axis, `(d, h, w)` of voxels, in any unit; by default 1. In a
            film `(2, 1, 1)` makes changes in time count half, and `(math.inf, 1, 1)` not at all: frame by frame.
        stop: `gap` is the duality gap over the energy, one number for all channels; float32 reaches about 1e-6.
        init: where to start, for instance the solution of a similar problem; without it, at `image`.

    Returns:
        A `Solution` whose value is `u`.

    Source: Rudin, Osher & Fatemi, Physica D 60, 1992, doi:10.1016/0167-2789(92)90242-F; the gap: Chambolle, J. Math.
    Imaging Vis. 20, 2004, doi:10.1023/B:JMIV.0000011325.36760.1e; channels together: Bresson & Chan, Inverse Probl.
    Imaging 2(4), 2008, doi:10.3934/ipi.2008.2.455; Huber's function: Chambolle & Pock, J. Math. Imaging Vis. 40, 2011,
    doi:10.1007/s10851-010-0251-1; second order: Bredies, Kunisch & Pock, "Total generalized variation", SIAM J. Imaging
    Sci. 3(3), 2010, doi:10.1137/090769521.

    >>> edge = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 1, 4, 4)
    >>> rof(edge, 0.5, stop=Stop(tol=1e-6)).value[0, 0, 0]                   # each side moves by weight / its width
    tensor([0.2500, 0.2500, 0.7500, 0.7500])
    """
    check_image(image, volumes=True)
    check_coupling(coupling)
    if init is not None:
        check_init(init, image)
    if not (huber >= 0 and math.isfinite(huber)):
        raise ValueError(f"huber: expected a finite number >= 0 in the unit of the image, got {huber}.")
    plain = image.dim() == 4 and not huber and spacing is None and not isinstance(weight, str)
    _check_order(order, ratio, plain)
    dtype, image = image.dtype, full_precision(image)
    spacing = check_spacing(spacing, image)
    if isinstance(weight, str):
        from tavtorch.image.restoration.weight import estimated_weight  # here, as it solves ROF itself

        weight = estimated_weight(weight, image, coupling, spacing)
    spread, frame = spread_weight(weight, image), frame_of(image)
    f, start = frame.inside(image), None if init is None else frame.inside(full_precision(init.detach()))

    if order == 2:
        _check_all_or_none(spread.detach() > 0)
        second = tgv.Problem(f, spread / frame.unit, ratio, coupling, frame)
        found = tgv.minimise(second, f.detach() if start is None else start, stop or Stop(max_iter=4000))
    else:
        bend = huber / frame.unit if huber else 0.0
        problem, p = pose(f, spread / frame.unit, coupling, bend, spacing)
        u = f.detach() + problem.divergence(p)
        if start is not None:
            steep = each(lambda slope: 1e4 * slope, problem.gradient(start))
            u, p = start, project(steep, problem, 1e4)  # λ ∇u / max(|∇u|, α)
        found = minimise(problem._replace(frame=frame), u, p, stop or Stop())
    return found._replace(value=frame.outside(found.value).to(dtype))


def _check_order(order: int, ratio: float, plain: bool) -> None:
    if order not in {1, 2}:
        raise ValueError(f"order: expected 1 or 2, got {order}.")
    if order == 2 and not plain:
        raise ValueError(
            "order: 2 is for pictures (b, c, h, w) and a weight that is given, without huber and spacing; take order=1."
        )
    if order == 2 and not (ratio > 0 and math.isfinite(ratio)):
        raise ValueError(f"ratio: expected a finite number of pixels > 0, got {ratio}; 2 is usual.")


def _check_all_or_none(positive: Tensor) -> None:
    if not holds(positive.flatten(1).any(1) == positive.flatten(1).all(1)):
        raise ValueError("weight: with order=2 a map is above 0 in every pixel of an image, or 0 in all of them.")


def pose(
    f: Tensor, weight: Tensor, coupling: Coupling, huber: float | Tensor = 0.0, spacing: Tensor | None = None
) -> tuple[Problem, Field]:
    """ROF as a `Problem`, and a first guess of its dual field `p`: `f + div p` is that of `u`.

    The guess comes from half the resolution, where large shapes take half as many steps; pixels twice as wide make λ
    count half, and slopes twice as steep. A λ for which the mean is the solution is `capped`.
    """
    with without_derivatives():
        still = flow(f.detach(), spacing)
    capped_weight, constant = capped(weight, still, coupling)
    constant = constant & (not isinstance(huber, Tensor))
    weight = torch.where(constant, capped_weight, weight)

    one = torch.ones_like(constant, dtype=f.dtype)
    mean = mean_of(f.detach())
    low, high = torch.where(constant, mean, -torch.inf), torch.where(constant, mean, torch.inf)
    problem = Problem(f, weight, 1.0, low, high, one / 5, 12 * one, coupling, huber, spacing=spacing)
    with without_derivatives():
        return problem, each(lambda a, b: torch.where(constant, a, b), still, _coarse_field(problem))


def _coarse_field(problem: Problem) -> Field:
    f = problem.f.detach()
    if min(f.shape[-2:]) < 128:
        return each(torch.zeros_like, problem.gradient(f))
    weight = problem.weight.detach()
    weight = weight if weight.shape[-1] == 1 else halved(weight)
    coarse, p = pose(halved(f), weight / 2, problem.coupling, 2 * problem.huber, problem.spacing)
    _, p = solve(coarse, coarse.f + coarse.divergence(p), p, Stop(3e-3, 400, 10)).value
    return tuple(corner(part, [f.shape[k] for k in space(f)]) for part in _finer(p))


def _finer(p: Field) -> Field:
    """Twice a field at twice the resolution, its divergence even within each 2 x 2 pixels: what flows in flows on."""
    axes = space(p[0])
    for k in axes:
        p = tuple(part.repeat_interleave(2, k) for part in p)
    parts = zip(reversed(axes), p, strict=True)
    return tuple(x + F.pad(x.narrow(k, 0, x.shape[k] - 1), beside(k, 1, 0)) for k, x in parts)
