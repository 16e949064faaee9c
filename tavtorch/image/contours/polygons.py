"""Closed contours as polygons: circles to start from, masks, areas, distances and points at equal lengths."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from tavtorch.derivative import holds

PAIRS = 2**22
"""Pairs of edges, or of pixels and edges, that are looked at together."""


def circle(
    center: Shaped[Tensor, "*b 2"] | Sequence[float],
    radius: float | Float[Tensor, "..."],
    n: int,
    *,
    device: torch.device | str | None = None,
) -> Float[Tensor, "*b n 2"]:
    """Points on circles, to start contours from.

    Args:
        center: (x, y) in pixels: `(b, 2)`, `(b, m, 2)` for many contours an image, or one pair of numbers, which gives
            a batch of one.
        radius: in pixels, a number or one a centre.
        n: points on each, at least 3; usually two pixels apart. They run from the x to the y axis.
        device: where they are; by default where the centre is, of numbers PyTorch's default.

    >>> circle((5, 5), 2, 4)[0].round().tolist()
    [[7.0, 5.0], [5.0, 7.0], [3.0, 5.0], [5.0, 3.0]]
    """
    if n < 3:
        raise ValueError(f"n: expected at least 3 points, got {n}.")
    center = center if isinstance(center, Tensor) else torch.tensor([center], dtype=torch.get_default_dtype())
    center = center if device is None else center.to(device)
    center = center if center.is_floating_point() else center.to(torch.get_default_dtype())
    if center.shape[-1:] != (2,):
        raise ValueError(f"center: expected (x, y) in pixels, (..., 2), got shape {tuple(center.shape)}.")
    radius = torch.as_tensor(radius, dtype=center.dtype, device=center.device)
    if not holds((radius > 0) & radius.isfinite()):
        raise ValueError(f"radius: expected a finite number of pixels > 0, got {radius}.")
    angle = torch.arange(n, dtype=center.dtype, device=center.device) * (2 * math.pi / n)
    return center.unsqueeze(-2) + radius[..., None, None] * torch.stack((angle.cos(), angle.sin()), dim=-1)


def area(points: Float[Tensor, "*b n 2"]) -> Float[Tensor, "*b"]:
    """Signed area of closed contours in pixels, positive where they run from the x to the y axis (shoelace formula)."""
    x, y = points.unbind(-1)
    return (x * y.roll(-1, -1) - x.roll(-1, -1) * y).sum(-1) / 2


def fill(points: Float[Tensor, "*b n 2"], size: tuple[int, int]) -> Bool[Tensor, "*m h w"]:
    """The pixels whose centres a closed contour winds around, exactly.

    Each edge that crosses a row changes the winding number of all pixels to its right by one: the changes are written
    at the crossings and summed along the rows.

    Args:
        points: `(b, n, 2)`, or `(b, m, n, 2)`; a contour may leave the image, and may cross itself.
        size: (h, w) of the mask.

    Returns:
        `(b, 1, h, w)`, or one channel a contour, `(b, m, h, w)`. It has no gradient: see `soft_fill`.

    >>> fill(torch.tensor([[[0.5, 0.5], [3.5, 0.5], [3.5, 2.5]]]), (4, 5))[0, 0].int().tolist()
    [[0, 0, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]
    """
    check_points(points)
    contours = many(points.detach())
    h, w = size

    # The edges from (x, y) to (x2, y2), for every row, `(b, m, n, h)`.
    x, y = contours[..., None, :].unbind(-1)
    x2, y2 = contours.roll(-1, -2)[..., None, :].unbind(-1)
    row = torch.arange(h, dtype=points.dtype, device=points.device)
    turn = (y <= row).to(torch.int8) - (y2 <= row).to(torch.int8)  # an edge owns its upper end, not its lower
    crossing = x + (row - y) * (x2 - x) / torch.where(y == y2, 1, y2 - y)
    column = crossing.ceil().clamp(0, w).long()  # the first pixel at or to the right of the crossing

    # Changes of the winding number, at the crossings, then their sums along the rows.
    changes = torch.zeros(*contours.shape[:2], h * (w + 1), dtype=torch.int32, device=points.device)
    index = row.long() * (w + 1) + column
    changes = changes.scatter_add(2, index.flatten(2), turn.int().flatten(2))
    return changes.unflatten(2, (h, w + 1))[..., :w].cumsum(-1) != 0


def soft_fill(points: Float[Tensor, "*b n 2"], size: tuple[int, int], *, width: float = 1.0) -> Float[Tensor, "*m h w"]:
    """`fill` with a soft border, to differentiate: `sigmoid(±d / width)`, `d` the distance to the contour, + inside.

    Args:
        points: as for `fill`.
        size: (h, w).
        width: of the border in pixels, above 0; as it goes to 0 the mask becomes that of `fill`.
    """
    if not 0 < width < float("inf"):
        raise ValueError(f"width: expected a finite number of pixels > 0, got {width}; see fill for a hard border.")
    inside, contours = fill(points, size), many(points)
    y, x = (torch.arange(n, dtype=points.dtype, device=points.device) for n in size)
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
    away = distance(pixels.expand(*contours.shape[:2], -1, 2), contours).reshape(inside.shape)
    return torch.sigmoid(torch.where(inside, away, -away) / width)


def distance(queries: Float[Tensor, "*b q 2"], points: Float[Tensor, "*b n 2"]) -> Float[Tensor, "*b q"]:
    """Distance in pixels from each query to the closed contour, its edges included.

    >>> distance(torch.tensor([[[2.0, -1.0]]]), torch.tensor([[[0.0, 0.0], [4.0, 0.0], [4.0, 4.0]]]))
    tensor([[1.]])
    """
    ends = points.roll(-1, -2)
    few = queries.split(1 + PAIRS // points[..., 0].numel(), dim=-2)
    nearest = torch.cat([_nearest_edge(part, points, ends) for part in few], dim=-1)
    start, end = (corners.gather(-2, nearest[..., None].expand(*nearest.shape, 2)) for corners in (points, ends))
    return _off_edge(queries, start, end).norm(dim=-1)


@torch.no_grad()
def _nearest_edge(queries: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Which edge is nearest to each query; a derivative goes through that one alone, and keeps no pairs."""
    return _off_edge(queries.unsqueeze(-2), start.unsqueeze(-3), end.unsqueeze(-3)).square().sum(-1).argmin(-1)


def _off_edge(queries: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """The way to a query from the nearest point of an edge."""
    edge, offset = end - start, queries - start
    squared = edge.square().sum(-1).clamp(min=torch.finfo(edge.dtype).tiny)
    along = ((offset * edge).sum(-1) / squared).clamp(0, 1)
    return offset - along[..., None] * edge


def crosses_itself(points: Float[Tensor, "*b n 2"]) -> Bool[Tensor, "*b"]:
    """Whether two edges of a closed contour cross each other, with the ends of each on both sides of the other.

    >>> crosses_itself(torch.tensor([[[0.0, 0.0], [2.0, 2.0], [2.0, 0.0], [0.0, 2.0]]]))
    tensor([True])
    """
    n = points.shape[-2]
    return torch.cat([_crosses_itself(part) for part in points.flatten(0, -3).split(1 + PAIRS // n**2)]).reshape(
        points.shape[:-2]
    )


def _crosses_itself(points: Tensor) -> Tensor:
    edge = (points.roll(-1, -2) - points)[:, :, None]
    offset = points[:, None] - points[:, :, None]  # from the start of edge i to point j
    side = edge[..., 0] * offset[..., 1] - edge[..., 1] * offset[..., 0]
    parted = side * side.roll(-1, -1) < 0  # point j and the next one, by edge i
    return (parted & parted.mT).flatten(1).any(1)


def equidistant(points: Float[Tensor, "*b n 2"], n: int | None = None, *, closed: bool = True) -> Tensor:
    """The same polygon by `n` points at equal distances along it, from the same first point.

    Args:
        points: `(..., n, 2)`.
        n: by default as many as there are.
        closed: False leaves out the edge from the last point to the first.

    >>> equidistant(torch.tensor([[[0.0, 0.0], [3.0, 0.0], [4.0, 0.0]]]), closed=False)[0, :, 0].tolist()
    [0.0, 2.0, 4.0]
    """
    n = n or points.shape[-2]
    path = torch.cat((points, points[..., :1, :]), dim=-2) if closed else points
    length = path.diff(dim=-2).norm(dim=-1)

    # Where the new points lie, as lengths along the path, and on which of its edges.
    reached = F.pad(length.cumsum(-1), (1, 0))
    share = torch.arange(n, dtype=points.dtype, device=points.device) / (n if closed else n - 1)
    wanted = share * reached[..., -1:]
    edge = (torch.searchsorted(reached.detach(), wanted.detach(), right=True) - 1).clamp(0, length.shape[-1] - 1)

    # Linear interpolation on that edge.
    part = (wanted - reached.gather(-1, edge)) / length.gather(-1, edge).clamp(min=torch.finfo(points.dtype).tiny)
    start, end = (path.gather(-2, (edge + k)[..., None].expand(*edge.shape, 2)) for k in (0, 1))
    return torch.lerp(start, end, part[..., None])


def many(points: Tensor) -> Tensor:
    """Contours `(b, n, 2)` as one an image, `(b, 1, n, 2)`; `(b, m, n, 2)` unchanged."""
    return points if points.dim() == 4 else points.unsqueeze(1)


def check_points(points: Tensor) -> None:
    """Raise unless `points` are finite contours `(b, n, 2)` or `(b, m, n, 2)` of three points or more."""
    if points.dim() not in (3, 4) or points.shape[-1] != 2 or points.numel() == 0:
        raise ValueError(
            f"points: expected contours (b, n, 2), or many an image (b, m, n, 2), got shape {tuple(points.shape)}."
        )
    if points.shape[-2] < 3:
        raise ValueError(f"points: expected at least 3 a contour, got {points.shape[-2]}; see circle.")
    if not points.is_floating_point():
        raise ValueError(f"points: expected floating point, got {points.dtype}; call points.float().")
    if not holds(points.isfinite()):
        raise ValueError("points: some are NaN or infinite; leave such contours out.")


def check_inside(points: Tensor, size: tuple[int, int]) -> None:
    """Raise unless `points` are inside an image `(h, w)`, up to half a pixel beyond its outer pixel centres."""
    h, w = size
    if not holds((points > -0.5) & (points < points.new_tensor([w, h]) - 0.5)):
        raise ValueError(f"points: some are outside the image of {w} x {h} pixels; clamp them or start smaller.")
