"""Filling holes with the least total variation, and finding the holes by their colour."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from tavtorch.image.check import (
    check_coupling,
    check_hole,
    check_image,
    check_init,
    check_spacing,
    full_precision,
    spread_weight,
)
from tavtorch.image.fields import Coupling, capped, each, flow, frame_of, halved, mean_of
from tavtorch.image.grid import VOLUMES, corner, space
from tavtorch.image.restoration.primal_dual import Problem, minimise
from tavtorch.solve import Solution, Stop


def inpaint_tv(
    image: Float[Tensor, "b c *d h w"],
    hole: Bool[Tensor, "b 1 *d h w"],
    weight: float | Float[Tensor, "..."] = 0.0,
    *,
    coupling: Coupling = "joint",
    spacing: Sequence[float] | Tensor | None = None,
    stop: Stop | None = None,
    init: Float[Tensor, "b c *d h w"] | None = None,
) -> Solution:
    """Fill `hole` with the least total variation, and denoise the rest on the way.

        weight > 0:     min_u  ½ |u - f|² over the known pixels + Σ_i λ_i |∇u|_i
        weight = 0:     min_u  Σ_i |∇u|_i    where u = f on the known pixels, kept to the bit

    The fill never leaves the range of its channel's known pixels: the minimum has this property, and imposing it makes
    the duality gap finite, hence a certificate.

    The gradient in the known pixels of `image`, and in a weight above 0, is that of the minimiser, where there is only
    one. There are more where an edge, or a level, may move in the hole at no cost: the last pixel, bottom right, for
    one, lies anywhere between its two neighbours if it is missing. What stands in the hole has no effect and no
    gradient.

    Args:
        image: `f`, `(b, c, h, w)`, or volumes `(b, c, d, h, w)`; any finite values in the hole.
        hole: `(b, 1, h, w)` or `(b, 1, d, h, w)`, True = missing.
        weight: λ, a number, one an image `(b,)`, or a map of the hole's shape; more is smoother.
        coupling, spacing: see `rof`.
        stop: `gap` is the duality gap over the energy, one number for all channels.
        init: where to start; without it, coarse means of the known pixels, interpolated.

    Returns:
        A `Solution` whose value is `u`.

    Source: Chan & Shen, SIAM J. Appl. Math. 62(3), 2002, doi:10.1137/S0036139900368844.

    >>> edge = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 1, 4, 4)
    >>> hole = torch.zeros(1, 1, 4, 4, dtype=torch.bool); hole[..., 1:3, 1:3] = True
    >>> inpaint_tv(edge, hole, stop=Stop(tol=1e-6)).value[0, 0, 1].round(decimals=2)            # the edge goes on
    tensor([0., 0., 1., 1.])
    """
    check_image(image, volumes=True)
    check_hole(hole, image, volumes=True)
    check_coupling(coupling)
    if init is not None:
        check_init(init, image)
    dtype, image = image.dtype, full_precision(image)
    spacing, frame, axes = check_spacing(spacing, image), frame_of(image, hole), space(image)
    weight = spread_weight(weight, image) / frame.unit
    f = torch.where(hole, 0, frame.inside(image))
    known = f.detach()
    low = known.masked_fill(hole, torch.inf).amin(axes, keepdim=True)
    high = known.masked_fill(hole, -torch.inf).amax(axes, keepdim=True)
    span = (high - low).amax(1, keepdim=True)

    # Where data are imposed any weight gives the same solution; one as large as the span suits the steps.
    exact = (weight == 0).flatten(1).all(1).reshape(-1, *(1,) * (image.dim() - 1))
    trust = torch.where(hole, 0, torch.where(exact, torch.inf, torch.ones_like(weight)))
    mean = mean_of(known, hole)
    still = flow(torch.where(hole, mean, known), spacing)
    enough, constant = capped(weight, still, coupling)
    constant = constant & ~exact
    weight = torch.where(exact, span, torch.where(constant, enough, weight))
    low, high = torch.where(constant, mean, low), torch.where(constant, mean, high)

    step = 12 * (weight.detach().amax(axes, keepdim=True) / span).clamp(max=1).nan_to_num(1)
    problem = Problem(f, weight, trust, low, high, step, step, coupling, frame=frame, spacing=spacing)
    start = torch.where(
        hole, fill(known, ~hole) if init is None else frame.inside(full_precision(init.detach())), known
    )
    start = torch.where(constant, mean, start)
    p = each(lambda part: torch.where(constant, part, 0), still)
    found = minimise(problem, start, p, stop or Stop())
    return found._replace(value=torch.where(trust.isinf(), image, frame.outside(found.value)).to(dtype))


def hole_from_color(
    image: Float[Tensor, "b c *d h w"], color: Sequence[float] | Float[Tensor, "c"], tolerance: float
) -> Bool[Tensor, "b 1 *d h w"]:
    """The pixels painted in a colour: those where every channel is within `tolerance` of `color`.

    >>> hole_from_color(torch.tensor([[[[0.9]], [[0.8]], [[0.1]]]]), (1.0, 1.0, 0.0), tolerance=0.2)    # yellow
    tensor([[[[True]]]])
    """
    check_image(image, volumes=True)
    wanted = torch.as_tensor(color, dtype=image.dtype, device=image.device)
    if wanted.shape != image.shape[1:2]:
        raise ValueError(f"color: expected {image.shape[1]} numbers, one a channel, got shape {tuple(wanted.shape)}.")
    if not tolerance >= 0:
        raise ValueError(f"tolerance: expected a number >= 0 in the unit of the image, got {tolerance}.")
    return ((image - wanted.reshape(-1, *(1,) * (image.dim() - 2))).abs() <= tolerance).all(1, keepdim=True)


def fill(image: Tensor, known: Tensor) -> Tensor:
    """Coarse means of the known pixels, interpolated where there are none: smooth, and as cheap as a few steps."""
    sides = image.shape[2:]
    if sides.numel() == 1:
        return image
    share = halved(known.to(image.dtype))
    means = halved(image * known) / share.clamp(min=0.1)
    mode = "trilinear" if image.dim() == VOLUMES else "bilinear"
    coarse = F.interpolate(fill(means, share > 0), scale_factor=2, mode=mode)
    return torch.where(known, image, corner(coarse, sides))
