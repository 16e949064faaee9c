"""Total variation of images, and the denoising of Rudin, Osher and Fatemi (ROF)."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tavtorch.derivative import without_derivatives
from tavtorch.image.check import check_coupling, check_image, check_init, full_precision, spread_weight
from tavtorch.image.fields import Coupling, capped, flow, frame_of, length, mean_of, mean_of_four
from tavtorch.image.grid import divergence, gradient
from tavtorch.image.restoration.primal_dual import Problem, minimise, project, solve
from tavtorch.solve import Solution, Stop


def total_variation(image: Float[Tensor, "b c h w"], *, coupling: Coupling = "joint") -> Float[Tensor, "b"]:
    """Sum over the pixels of the length of the gradient.

        TV(u) = Σ_i |∇u|_i

    Args:
        image: `(b, c, h, w)`.
        coupling: what one length is taken of: `"joint"`, the gradients of all channels of a pixel together (Frobenius),
            so that the edges of the channels meet; `"separate"`, the gradient of each channel; `"none"`, each
            difference by itself (anisotropic).

    Returns:
        `(b,)`, in float32 at least.

    >>> total_variation(torch.tensor([[[[0.0, 1.0], [1.0, 1.0]]]]))
    tensor([1.4142])
    """
    check_image(image)
    single = full_precision(image)
    unit = frame_of(single).unit
    return unit.flatten() * length(gradient(single / unit), coupling).flatten(1).sum(1)


def rof(
    image: Float[Tensor, "b c h w"],
    weight: float | Float[Tensor, "..."] | Literal["sure"],
    *,
    coupling: Coupling = "joint",
    huber: float = 0.0,
    stop: Stop | None = None,
    init: Float[Tensor, "b c h w"] | None = None,
) -> Solution:
    """Denoise: the image near `image` whose total variation is small.

        min_u  ½ |u - f|² + Σ_i λ_i |∇u|_i

    Forward differences, reflecting borders. The result is certified: its energy is above the minimum by no more than
    the duality gap, which bounds its error too, `½ |u - minimiser|² <= gap`.

    The gradient is that of the exact minimiser, by an adjoint iteration whose memory does not depend on the number of
    steps; so is the forward-mode derivative. Its relative error is a few times `√tol`, as the solution's is: ask for
    `Stop(tol=1e-4)` or less where gradients matter. First derivatives only.

    Args:
        image: `f`, `(b, c, h, w)`.
        weight: λ >= 0, in the unit of the image: a number, one an image `(b,)`, or a map `(b, 1, h, w)`; more is
            smoother. 0 gives the image back, a huge one its mean. `"sure"`: that of `sure_weight` for the noise that it
            finds in each image, which takes 20 times as long as the rest; it counts as constant in derivatives.
        coupling: see `total_variation`; `"separate"` treats channels one by one.
        huber: slopes `t` up to this `α` cost `t² / 2α` and steeper ones `t - α / 2`, so that ramps and shades stay
            smooth where total variation alone makes stairs; in the unit of the image, 0.01 for [0, 1].
        stop: `gap` is the duality gap over the energy, one number for all channels; float32 reaches about 1e-6.
        init: where to start, for instance the solution of a similar problem; without it, at `image`.

    Returns:
        A `Solution` whose value is `u`.

    Source: Rudin, Osher & Fatemi, Physica D 60, 1992, doi:10.1016/0167-2789(92)90242-F; the gap: Chambolle, J. Math.
    Imaging Vis. 20, 2004, doi:10.1023/B:JMIV.0000011325.36760.1e; channels together: Bresson & Chan, Inverse Probl.
    Imaging 2(4), 2008, doi:10.3934/ipi.2008.2.455; Huber's function: Chambolle & Pock, J. Math. Imaging Vis. 40, 2011,
    doi:10.1007/s10851-010-0251-1.

    >>> edge = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 1, 4, 4)
    >>> rof(edge, 0.5, stop=Stop(tol=1e-6)).value[0, 0, 0]                   # each side moves by weight / its width
    tensor([0.2500, 0.2500, 0.7500, 0.7500])
    """
    check_image(image)
    check_coupling(coupling)
    if init is not None:
        check_init(init, image)
    if not (huber >= 0 and math.isfinite(huber)):
        raise ValueError(f"huber: expected a finite number >= 0 in the unit of the image, got {huber}.")
    dtype, image = image.dtype, full_precision(image)
    if isinstance(weight, str):
        from tavtorch.image.restoration.weight import estimated_weight  # here, as it solves ROF itself

        weight = estimated_weight(weight, image, coupling)
    frame = frame_of(image)
    bend = huber / frame.unit[..., None] if huber else 0.0
    problem, p = pose(frame.inside(image), spread_weight(weight, image) / frame.unit, coupling, bend)
    u = problem.f.detach() + divergence(p)
    if init is not None:
        u = frame.inside(full_precision(init.detach()))
        p = project(1e4 * gradient(u), problem, 1e4)  # λ ∇u / max(|∇u|, α)
    found = minimise(problem._replace(frame=frame), u, p, stop or Stop())
    return found._replace(value=frame.outside(found.value).to(dtype))


def pose(f: Tensor, weight: Tensor, coupling: Coupling, huber: float | Tensor = 0.0) -> tuple[Problem, Tensor]:
    """ROF as a `Problem`, and a first guess of its dual field `p`: `f + div p` is that of `u`.

    The guess comes from half the resolution, where large shapes take half as many steps; pixels twice as wide make λ
    count half, and slopes twice as steep. A λ for which the mean is the solution is `capped`.
    """
    with without_derivatives():
        still = flow(f.detach())
    capped_weight, constant = capped(weight, still, coupling)
    constant = constant & (not isinstance(huber, Tensor))
    weight = torch.where(constant, capped_weight, weight)

    one = torch.ones_like(still[:, :1, 0, :1, :1])
    mean = mean_of(f.detach())
    low, high = torch.where(constant, mean, -torch.inf), torch.where(constant, mean, torch.inf)
    problem = Problem(f, weight, one, low, high, one / 5, 12 * one, coupling, huber)
    with without_derivatives():
        return problem, torch.where(constant[..., None], still, _coarse_field(problem))


def _coarse_field(problem: Problem) -> Tensor:
    f = problem.f.detach()
    h, w = f.shape[-2:]
    if min(h, w) < 64:
        return torch.zeros_like(gradient(f))
    weight = problem.weight.detach()
    weight = weight if weight.shape[-1] == 1 else mean_of_four(weight)
    coarse, p = pose(mean_of_four(f), weight / 2, problem.coupling, 2 * problem.huber)
    _, p = solve(coarse, coarse.f + divergence(p), p, Stop(3e-3, 400, 5)).value
    return 2 * _finer(p)[..., :h, :w]


def _finer(p: Tensor) -> Tensor:
    """A field at twice the resolution whose divergence is even within each 2 x 2 pixels: what flows in flows on."""
    x, y = p.repeat_interleave(2, -1).repeat_interleave(2, -2).unbind(-3)
    return torch.stack((x + F.pad(x[..., :-1], (1, 0)), y + F.pad(y[..., :-1, :], (0, 0, 1, 0))), dim=-3) / 2
