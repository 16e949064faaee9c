"""The picture behind what a camera did to it, by total variation or by a learned regulariser."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.derivative import holds, without_derivatives
from tavtorch.image.check import check_coupling, check_image, full_precision, spread_over, spread_weight
from tavtorch.image.fields import Coupling, Frame, total, unit_of
from tavtorch.image.restoration import restore_learned, restore_tv
from tavtorch.image.restoration.operators import Operator
from tavtorch.image.restoration.ridge import RidgeModel, from_axes, levels_of_axes, to_axes
from tavtorch.precision import exact
from tavtorch.solve import Solution, Stop

Pair = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


@exact()
def restore(
    image: Float[Tensor, "b c m n"],
    operator: Operator | Pair,
    weight: float | Float[Tensor, "..."],
    *,
    regulariser: Literal["tv"] | RidgeModel = "tv",
    sigma: float | Float[Tensor, "..."] | None = None,
    coupling: Coupling = "joint",
    stop: Stop | None = None,
) -> Solution:
    """What a camera would have seen without blur, gaps or large pixels: the least rough picture that explains `image`.

        min_u  ½ |A u - f|² + Σ_i λ_i |∇u|_i        or, learned,        min_u  ½ |A u - f|² + λ Σ_c Σ_i φ_c((w_c ∗ u)_i)

    With `regulariser="tv"` the result is certified for every operator, whether injective or not: `gap` is the duality
    gap over the energy, at a dual pair that is made feasible.

    With a `RidgeModel` the certificate depends on the case. Where a blur keeps so much of every frequency, and the
    weight is so small, that the energy is strongly convex, `gap` is a bound of the root mean square distance to the one
    minimiser, as of `ridge`. Else, behind most blurs and behind whatever leaves pixels out, it is the residual: the
    root mean square of the step that gradient descent would take next. It says that the picture is settled, but other
    pictures may be as good. Both are in the unit of the image.

    The gradient in `image`, `weight`, `sigma`, the weights of the model and what the operator is made of, such as a
    kernel, is that of the exact minimiser, at constant memory; ask for a small `tol` where it matters. Where behind a
    model it does not converge it is NaN, and the log says so. First derivatives only.

    Args:
        image: `f`, `(b, c, m, n)`.
        operator: `A`: `Blur`, `Subsample`, `Mask`, products of them by `@`, or a pair of functions, `A` and its
            adjoint, as for `Operator`. The kernels are known: this is not blind.
        weight: λ > 0, in the unit of the image for total variation: a number, one an image `(b,)`, or, for total
            variation, a map `(b, 1, h, w)`; more is smoother. A tenth of the noise is a good start for `"tv"`, 0.1
            for a model.
        regulariser: `"tv"`, or filters and penalties: `RidgeModel.pretrained()`.
        sigma: level of the penalties of a model, in the unit of the image, a number or `(b,)`: about three times the
            deviation of the noise; more is smoother, and keeps edges.
        coupling: for total variation, see `total_variation`.
        stop: `gap` as above. Default: `Stop(1e-3, 2000)`, and `Stop(1e-4, 500, 5)` for a model.

    Returns:
        A `Solution` whose value is `u`, `(b, c, h, w)`.

    Source: Rudin & Osher, "Total variation based image restoration with free local constraints", ICIP 1994,
    doi:10.1109/ICIP.1994.413269; learned: Goujon, Neumayer & Unser, SIAM J. Imaging Sci. 17(1), 2024,
    doi:10.1137/23M1565243.

    >>> from tavtorch import Blur, Subsample, gaussian_kernel
    >>> camera = Subsample(2) @ Blur(gaussian_kernel(0.5))
    >>> square = torch.zeros(1, 1, 16, 16)
    >>> square[..., 4:12, 4:12] = 1.0
    >>> found = restore(camera(square), camera, 1e-3)
    >>> found.converged, bool((found.value - square).abs().mean() < 0.01)
    (tensor([True]), True)
    """
    check_image(image)
    check_coupling(coupling)
    operator = operator if isinstance(operator, Operator) else Operator(*operator)
    dtype, f = image.dtype, full_precision(image)
    with torch.autocast(f.device.type, enabled=False):
        with without_derivatives():
            like = _pictures_behind(f, operator)
            flat = operator(torch.ones_like(like))
            frame, still = _frame_of(f.detach(), flat)
            unit, still = frame.unit, (still - frame.offset) / frame.unit
        strength = spread_weight(weight, like)
        if not holds(strength > 0):
            raise ValueError("weight: expected numbers > 0; without a regulariser the picture is not determined.")
        inside = f / unit - flat * (frame.offset / unit)
        if isinstance(regulariser, RidgeModel):
            found = _learned(inside, operator, strength, regulariser, sigma, still, stop, frame)
        elif regulariser == "tv":
            eps = 32 * torch.finfo(f.dtype).eps  # of the transforms
            noise = total((eps * f.detach() / unit).square()) + torch.finfo(torch.float64).tiny
            problem = restore_tv.Problem(operator, inside, strength / unit, coupling, flat, noise)
            found = restore_tv.minimise(problem, still, stop or Stop(1e-3, 2000), frame)
        else:
            raise ValueError(f'regulariser: expected "tv" or a RidgeModel, got {regulariser!r}.')
        return found._replace(value=frame.outside(found.value).to(dtype))


def _learned(
    f: Tensor,
    operator: Operator,
    weight: Tensor,
    model: RidgeModel,
    sigma: float | Tensor | None,
    still: Tensor,
    stop: Stop | None,
    frame: Frame,
) -> Solution:
    """In the frame, as brightness and two differences of colours."""
    if sigma is None:
        raise ValueError("sigma: a model needs the level of its penalties; try three times the deviation of the noise.")
    level = spread_over(sigma, f, "sigma")
    if level.shape[-1] > 1 or weight.shape[-1] > 1:
        raise ValueError("weight, sigma: expected a number or one an image; a model takes no maps here.")
    if not holds((level > 0) & level.isfinite()):
        raise ValueError("sigma: expected a number > 0 in the unit of the image.")
    stop = stop or Stop(tol=1e-4, max_iter=500, every=5)
    experts, f = model.experts(level / frame.unit, levels_of_axes(level, f)), to_axes(f)
    found = restore_learned.minimise(operator, experts, f, weight, to_axes(still), stop, frame.unit)
    value = from_axes(found.value)
    with without_derivatives():
        exact = experts.detach().double()
        u = to_axes(frame.rounded(value.detach()))
        gap = restore_learned.measure(operator, exact, f.detach().double(), weight.detach().double(), u)
        gap = (frame.unit.flatten() * gap).to(f.dtype)
    return Solution(value, found.iterations, gap, gap <= stop.tol)


def _pictures_behind(f: Tensor, operator: Operator) -> Tensor:
    """A picture of the size of the result; raise unless the operator is one."""
    try:
        like = torch.zeros_like(operator.adjoint(f))
    except (RuntimeError, TypeError, IndexError) as error:
        raise ValueError(f"operator: its adjoint fails on an image {f.dtype} {tuple(f.shape)}: {error}") from error
    if like.dim() != 4 or like.shape[:2] != f.shape[:2] or like.numel() == 0:
        raise ValueError(
            f"operator: expected an adjoint to pictures of as many items and channels as the image {tuple(f.shape)}, "
            f"got {tuple(like.shape)}."
        )
    operator.check(like)
    return like


def _frame_of(f: Tensor, flat: Tensor) -> tuple[Frame, Tensor]:
    """The frame in which a solver works, and the constant picture that is nearest, `(b, c, 1, 1)`."""
    size = flat.abs().amax((-2, -1), keepdim=True)
    shape = flat / torch.where(size > 0, size, 1)
    seen = shape.square().sum((-2, -1), keepdim=True)
    spread = shape.square().mean((-2, -1), keepdim=True).sqrt() * size
    if not holds(spread > 1e-6 * size.amax(1, keepdim=True)):
        raise ValueError(
            "operator: gives nothing for a constant picture, so that brightness is not determined; leave at least one "
            "pixel, and give kernels a sum that is not 0."
        )
    mean = (shape * f).sum((-2, -1), keepdim=True) / seen / size
    apart = (f - flat * mean).abs().amax((-2, -1), keepdim=True)
    offset = torch.where((mean * size).abs() / 16 > apart, mean, 0)
    reach = (f - flat * offset).abs().amax((-3, -2, -1), keepdim=True) / size.amax(1, keepdim=True)
    return Frame(offset, unit_of(reach)), mean
