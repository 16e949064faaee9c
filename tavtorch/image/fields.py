"""Vector fields on the pixel grid, as every total-variation solver of this wing uses them.

A field `(b, c, 2, h, w)` has one vector `(x, y)` a pixel and channel, as `gradient` of an image gives it, and a field
`(b, c, 3, d, h, w)` one `(x, y, z)` a voxel. `Coupling` says over which of its axes one length is taken; total
variation is the sum of these lengths.
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tavtorch.image.grid import corner, distances, divergence, gradient, space
from tavtorch.solve import compiled

RELAXATION = 1.8
"""`α` of the alternating direction method of multipliers."""
Coupling = Literal["joint", "separate", "none"]
COUPLED: dict[str, tuple[int, ...]] = {"joint": (2, 1), "separate": (2,), "none": ()}
"""The axes of a field `(b, c, n, …)` over which one length is taken."""


def inner(a: Tensor, b: Tensor, coupling: Coupling) -> Tensor:
    """Inner products of two fields over the coupled axes, which stay with size 1."""
    product = a * b
    for axis in COUPLED[coupling]:
        product = product.sum(axis, keepdim=True)
    return product


def length(field: Tensor, coupling: Coupling) -> Tensor:
    """Euclidean length of a field over the coupled axes, which stay with size 1; above zero, so that it can divide."""
    return inner(field, field, coupling).clamp(min=torch.finfo(field.dtype).tiny).sqrt()


def variation(field: Tensor, coupling: Coupling) -> Tensor:
    """`length`, exactly 0 where the field is; it has no derivative there."""
    return inner(field, field, coupling).sqrt()


def total(a: Tensor) -> Tensor:
    """Sum over all axes but the batch, in double precision: a duality gap is a small sum of many terms."""
    return a.flatten(1).sum(1, dtype=torch.float64)


def mean_of(image: Tensor, hole: Tensor | None = None) -> Tensor:
    """Mean of the known pixels of each channel, `(b, c, 1, …)`; of equal pixels it is exact."""
    return _mean_low_high(image, hole)[0]


def offset_of(image: Tensor, hole: Tensor | None = None) -> Tensor:
    """Mean of each channel where it is large beside the contrast, else 0.

    A solver takes it off first and adds it to the result: rounding is then relative to the contrast. The difference
    is exact, since pixels and mean are then within a factor of 2.
    """
    mean, low, high = _mean_low_high(image, hole)
    return torch.where(mean.abs() / 8 > high - low, mean, 0)


class Frame(NamedTuple):
    """An image's own zero and unit, in which a solver works: rounding is relative to the contrast, and no square is
    too large or too small for its type."""

    offset: Tensor
    """Of each channel, `(b, c, 1, …)`."""
    unit: Tensor
    """Of each item, `(b, 1, 1, …)`, a power of 2: to divide by it is exact."""

    def inside(self, image: Tensor) -> Tensor:
        return image / self.unit - self.offset / self.unit

    def outside(self, u: Tensor) -> Tensor:
        return u * self.unit + self.offset

    def rounded(self, u: Tensor) -> Tensor:
        """`u` as it is once its type has rounded it outside, in double precision."""
        return Frame(self.offset.double(), self.unit.double()).inside(self.outside(u).double())


def frame_of(image: Tensor, hole: Tensor | None = None, offset: Tensor | None = None) -> Frame:
    """The frame of an image's known pixels, from `offset`, by default `offset_of`, to the farthest value."""
    image = image.detach()
    _, low, high = _mean_low_high(image, hole)
    offset = offset_of(image, hole) if offset is None else offset
    reach = torch.maximum((high - offset).abs(), (low - offset).abs()).amax(1, keepdim=True)
    return Frame(offset, unit_of(reach))


def unit_of(reach: Tensor) -> Tensor:
    """The power of 2 up to the farthest value, from half of it; 1 where that is 0."""
    return torch.where(reach > 0, reach / 2 / torch.frexp(reach).mantissa, 1)


def _mean_low_high(image: Tensor, hole: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, least and greatest of the known pixels of each channel; the mean is between the others."""
    hole, axes = torch.zeros_like(image[:1, :1], dtype=torch.bool) if hole is None else hole, space(image)
    low = image.masked_fill(hole, torch.inf).amin(axes, keepdim=True)
    high = image.masked_fill(hole, -torch.inf).amax(axes, keepdim=True)
    mean = (image.masked_fill(hole, 0) / (~hole).sum(axes, keepdim=True)).sum(axes, keepdim=True)
    return mean.clamp(low, high), low, high


def flow(image: Tensor, spacing: Tensor | None = None) -> Tensor:
    """A field `p` with `image + div p` constant: along the rows to their means, then along the columns, and so on."""
    mean = corner(image, [1 for _ in space(image)])
    mean, parts = image - mean, []  # a constant image has no flow, not even a rounded one
    for k in reversed(space(image)):
        rest, mean = mean, mean.mean(k, keepdim=True)
        parts.append((mean - rest).cumsum(k).expand_as(image))
    field = torch.stack(parts, dim=2)
    return field if spacing is None else torch.where(field == 0, 0, field * distances(spacing, field))


def capped(weight: Tensor, flow: Tensor, coupling: Coupling) -> tuple[Tensor, Tensor]:
    """λ with the case taken out in which the solution is constant, and whether that is the case, `(b, 1, 1, …)`.

    If λ is at least the longest vector of `flow(f)`, the constant image is the solution, for every larger λ as well;
    λ is then replaced by that least value.
    """
    enough = variation(flow, coupling).flatten(1).amax(1).reshape(-1, *(1,) * (weight.dim() - 1))
    constant = weight.amin(space(weight), keepdim=True) >= enough
    return torch.where(constant, enough, weight), constant


def halved(a: Tensor) -> Tensor:
    """Half the resolution: means of 2 × 2 pixels, or of 2 × 2 × 2 voxels, of fewer at odd borders."""
    pool = F.avg_pool3d if len(space(a)) == 3 else F.avg_pool2d
    sides = [min(a.shape[k], 2) for k in space(a)]  # in three dimensions no window may exceed what it is in
    return pool(a, sides, ceil_mode=True, count_include_pad=False)


class Projection(NamedTuple):
    """The projection `P` onto the fields that are nowhere longer than a radius."""

    radius: Tensor
    coupling: Coupling

    def __call__(self, field: Tensor) -> Tensor:
        return field * (self.radius / length(field, self.coupling)).clamp(max=1)

    def derivative(self, field: Tensor) -> "ProjectionDerivative":
        """The derivative of the projection at `field`."""
        size = length(field, self.coupling)
        normal = torch.where(size > self.radius, field / size, 0)
        return ProjectionDerivative(normal, (self.radius / size).clamp(max=1), self.coupling)


class ProjectionDerivative(NamedTuple):
    """The derivative of a projection: removes `normal` where the projection shortens, and scales by `factor`."""

    normal: Tensor
    """Unit vectors where the projection shortens, 0 elsewhere."""
    factor: Tensor
    """By how much the projection shortens, at most 1."""
    coupling: Coupling

    def __call__(self, field: Tensor) -> Tensor:
        return self.factor * (field - self.normal * inner(self.normal, field, self.coupling))


@compiled
def reflect(s: Tensor, ball: Projection | ProjectionDerivative) -> tuple[Tensor, Tensor]:
    """`P(s)`, and the divergence of `s - 2 P(s)`: what the picture is next solved from in the alternating direction
    method of multipliers on `z = ∇u`, whose state is the field `s`."""
    inside = ball(s)
    return inside, divergence(s - 2 * inside)


@compiled
def relax(inside: Tensor, s: Tensor, u: Tensor) -> Tensor:
    """The next `s`, over-relaxed, once the picture is `u`: `P(s) + α ∇u + (1 - α) (s - P(s))`."""
    return inside + torch.lerp(s - inside, gradient(u), RELAXATION)
