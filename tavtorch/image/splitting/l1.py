"""Structure by size: total variation with absolute data (TV-L1)."""

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.derivative import without_derivatives
from tavtorch.image.check import check_coupling, check_image, full_precision, spread_weight
from tavtorch.image.fields import Coupling, Field, capped, each, flow, frame_of
from tavtorch.image.restoration.primal_dual import Problem, minimise
from tavtorch.image.splitting.split import Split
from tavtorch.solve import Stop


def split_l1(
    image: Float[Tensor, "b c h w"],
    weight: float | Float[Tensor, "..."],
    *,
    coupling: Coupling = "joint",
    stop: Stop | None = None,
) -> Split:
    """Structure is large, texture is small, whatever their contrast (TV-L1).

        min_u  |f - u|₁ + Σ_i λ_i |∇u|_i

    A disc of radius `r` is texture if `r < 2 λ` and stays as it is otherwise: λ is a length in pixels, and most pixels
    of the structure are those of the image, to the bit.

    Where several structures are as good, one of them is found, and the gradient is of no use; else it is that of the
    minimiser, which pixels of the image act on only where the structure is equal to them.

    Args:
        image: `f`, `(b, c, h, w)`.
        weight: λ >= 0, in pixels: a number, one an image `(b,)`, or a map `(b, 1, h, w)`. 0 leaves no texture.
        coupling: see `total_variation`.
        stop: `gap` is the duality gap over the energy, one number for all channels. Steps grow with λ: 400 for 1.5.

    Source: Nikolova, J. Math. Imaging Vis. 20, 2004, doi:10.1023/B:JMIV.0000011326.88682.e5; Chan & Esedoğlu, SIAM J.
    Appl. Math. 65(5), 2005, doi:10.1137/040604297.

    >>> dot = torch.zeros(1, 1, 9, 9); dot[..., 4, 4] = 1.0
    >>> split_l1(dot, 1.0).structure.max(), split_l1(dot, 0.2).structure.max()        # all of it or nothing
    (tensor(0.), tensor(1.))
    """
    check_image(image)
    check_coupling(coupling)
    dtype, image = image.dtype, full_precision(image)
    frame = frame_of(image, offset=image.detach().flatten(2).median(2).values[..., None, None])
    problem, u, p = _pose(frame.inside(image), spread_weight(weight, image), coupling)
    solution = minimise(problem._replace(frame=frame), u, p, stop or Stop())
    structure = torch.where(solution.value == problem.f, image, frame.outside(solution.value))
    structure, texture = structure.to(dtype), (image - structure).to(dtype)
    return Split(structure, texture, solution._replace(value=structure))


def _pose(f: Tensor, weight: Tensor, coupling: Coupling) -> tuple[Problem, Tensor, Field]:
    """TV-L1 of an image of median 0 as a `Problem`, and first guesses of the image and of its dual field.

    Where λ is so large that what lies above the median may flow to what lies below, the median is the solution: see
    `capped`.
    """
    with without_derivatives():
        image = f.detach()
        side = image.sign()
        at = side == 0
        side = torch.where(at, -side.sum((-2, -1), keepdim=True) / at.sum((-2, -1), keepdim=True), side)
        still = flow(side)
    weight, constant = capped(weight, still, coupling)

    low, high = image.amin((-2, -1), keepdim=True), image.amax((-2, -1), keepdim=True)
    slope = weight.detach().amax((-2, -1), keepdim=True) / (high - low).amax(1, keepdim=True)
    step = 8 * torch.where((slope > 0) & slope.isfinite(), slope, 1)  # within 1.3 of the best for λ from 0.3 to 4
    low, high = torch.where(constant, 0, low), torch.where(constant, 0, high)
    problem = Problem(f, weight, 1.0, low, high, step, step, coupling, absolute=True)
    return problem, torch.where(constant, 0, image), each(lambda part: torch.where(constant, part, 0), still)
