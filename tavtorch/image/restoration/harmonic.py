"""Inpainting without edges: the smoothest image that agrees with what is known. For holes a few pixels wide."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from tavtorch.derivative import unwrapped
from tavtorch.image.check import check_hole, check_image, full_precision
from tavtorch.image.fields import frame_of, mean_of, total
from tavtorch.image.grid import laplacian
from tavtorch.image.multigrid import v_cycle
from tavtorch.solve import Solution, Stop, conjugate_gradient

HELD = 1e4
"""Weight of a known pixel in the preconditioner: its error is divided by so much, which is zero to a preconditioner."""

BLOCK = 16
"""Side in pixels of the blocks that a picture is cut along. A power of two: the coarse grids stay where they are."""

Region = tuple[int, slice, slice, slice]
"""An item and a box of its pixels, as an index."""


def inpaint_harmonic(
    image: Float[Tensor, "b c h w"], hole: Bool[Tensor, "..."], *, order: int = 1, stop: Stop | None = None
) -> Solution:
    """Fill a hole by the smoothest continuation of what surrounds it.

        order 1, harmonic:      minimise ½ |gradient(u)|²      so that   laplacian(u) = 0                in the hole
        order 2, biharmonic:    minimise ½ |laplacian(u)|²     so that   laplacian(laplacian(u)) = 0

    with `u = image` outside of it and reflecting borders of the picture. A membrane passes through the values at the
    hole's border and stays between them; a thin plate passes through the slopes as well and may overshoot. With `P` the
    projection on the hole and `L = -laplacian`, the filling `v` solves `P Lᵏ P v = -P Lᵏ image`: linear in the image,
    solved by conjugate gradients under multigrid. Harmonic takes about 10 steps whatever the hole; biharmonic about 15
    where the hole is thin, more as it gets wider (50 at 200 pixels). Work and memory are those of the boxes about the
    hole; parts of it that are far from each other are systems of their own.

    Args:
        image: `(b, c, h, w)`; what it has in the hole does not count, and may be NaN.
        hole: `(b, 1, h, w)`, True where the image is missing.
        order: 1 or 2.
        stop: `gap` is the relative residual of that system at the result as its type rounds it, the largest of an
            image that has several. Default: `Stop(tol=1e-6, max_iter=200, every=1)`; where rounding alone leaves more,
            as it does in float32 where the values are large beside the contrast, as much as that.

    Returns:
        A `Solution` with the filled image. Known pixels are those of `image` to the bit. The gradient with respect to
        the image is exact, by the adjoint system.

    Source: Chan & Shen, "Mathematical models for local nontexture inpaintings", SIAM J. Appl. Math. 62(3), 2002,
    doi:10.1137/S0036139900368844; biharmonic: Damelin & Hoang, "On surface completion and image inpainting by
    biharmonic functions", 2018, doi:10.1155/2018/3950312.

    >>> ramp, hole = torch.arange(5.0).expand(1, 1, 3, 5), torch.zeros(1, 1, 3, 5, dtype=torch.bool)
    >>> hole[..., 1:4] = True
    >>> inpaint_harmonic(ramp, hole).value[0, 0, 0].round(decimals=4).tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    if order not in (1, 2):
        raise ValueError(f"order: expected 1 (harmonic) or 2 (biharmonic), got {order}.")
    check_hole(hole, image)
    dtype, image = image.dtype, full_precision(image)
    known = torch.where(hole, 0, image)
    check_image(known)
    filled, gap = torch.zeros_like(known), known.new_zeros(len(known))
    iterations = torch.zeros(len(known), dtype=torch.int64, device=known.device)
    converged = torch.ones_like(iterations)
    for regions in _regions(hole, order):
        parts, holes = (torch.stack([whole[at] for at in regions]) for whole in (known, hole))
        found = _fill(parts, holes, order, stop)
        for at, value in zip(regions, found.value, strict=True):
            filled[at] = value
        item = torch.tensor([at[0] for at in regions], device=known.device)
        gap = gap.scatter_reduce(0, item, found.gap, "amax")
        iterations = iterations.scatter_reduce(0, item, found.iterations, "amax")
        converged = converged.scatter_reduce(0, item, found.converged.long(), "amin")
    return Solution(torch.where(hole, filled, image).to(dtype), iterations, gap, converged > 0)


def _fill(known: Tensor, hole: Tensor, order: int, stop: Stop | None) -> Solution:
    """`known`, which is 0 in the hole, with the solution there."""
    frame = frame_of(known, hole, offset=mean_of(known.detach(), hole))
    known = torch.where(hole, 0, frame.inside(known))
    inside = hole.to(known.dtype)
    inverse = v_cycle(HELD * (1 - inside), 1.0)

    def operator(u: Tensor) -> Tensor:
        for _ in range(order):
            u = -laplacian(u)
        return inside * u

    def precondition(r: Tensor) -> Tensor:
        for _ in range(order):
            r = inside * inverse(r)
        return r

    exact = known.detach().double()
    size = total(operator(exact).square()).sqrt().clamp(min=torch.finfo(known.dtype).tiny)

    def gap(u: Tensor) -> Tensor:
        return (total(operator(torch.where(hole, frame.rounded(u), exact)).square()).sqrt() / size).to(u.dtype)

    right, rule = -operator(known), stop or Stop(tol=1e-6, max_iter=200, every=1)
    found = conjugate_gradient(operator, right, precondition=precondition, measure=gap, stop=rule)
    if stop is None:
        values = torch.where(hole, frame.outside(found.value.detach()) / frame.unit, 0)
        rounding = torch.finfo(known.dtype).eps * 8**order * total(values.square()).sqrt() / size
        found = found._replace(converged=found.converged | (found.gap <= rounding))
    return found._replace(value=frame.outside(found.value))


def _regions(hole: Tensor, order: int) -> list[list[Region]]:
    """Boxes of blocks whose systems have nothing in common, in groups of equal shape.

    `Lᵏ` couples pixels up to `k` apart: a box holds a part of the hole with a rim of `k` pixels. It depends on its own
    item only, so that items stay independent.
    """
    touched = F.max_pool2d(hole[:, 0].float(), BLOCK + 2 * order, BLOCK, order, ceil_mode=True) > 0
    plain = unwrapped(touched.cpu())
    if plain.dim() > touched.dim():  # `vmap` maps over holes: the systems are as large as the pictures
        plain = plain.new_ones(touched.shape)
    groups: dict[tuple[int, ...], list[Region]] = {}
    for i, blocks in enumerate(np.array(plain.tolist())):
        for box in _boxes(blocks):
            sides = zip(box, hole.shape[-2:], strict=True)
            rows, columns = (slice(part.start * BLOCK, min(part.stop * BLOCK, n)) for part, n in sides)
            shape = rows.stop - rows.start, columns.stop - columns.start
            groups.setdefault(shape, []).append((i, slice(None), rows, columns))
    return list(groups.values())


def _boxes(blocks: NDArray[np.bool_]) -> list[tuple[slice, slice]]:
    """Boxes that hold the connected parts of a mask and have nothing in common."""
    from scipy import ndimage  # here, so that importing tavtorch does not load scipy

    boxes: list[tuple[slice, slice]] = ndimage.find_objects(ndimage.label(blocks)[0])
    filled = blocks.copy()
    for box in boxes:
        filled[box] = True
    return boxes if (filled == blocks).all() else _boxes(filled)  # those that touch become one
