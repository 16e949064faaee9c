"""Vector fields on the pixel grid, as every total-variation solver of this wing uses them.

A `Field` has one vector a pixel and channel, `(x, y)`, or `(x, y, z)` a voxel, and keeps each component as an image of
its own: steps then need no copies to join them. `Coupling` says over what one length is taken; total variation is the
sum of these lengths.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tavtorch.image.grid import corner, differences, distances, outflow, space
from tavtorch.memory import into
from tavtorch.solve import compiled

RELAXATION = 1.8
"""`α` of the alternating direction method of multipliers."""
Coupling = Literal["joint", "separate", "none"]
"""What one length is taken of: a pixel's vectors of all channels together, each vector, or each component."""
Field = tuple[Tensor, ...]
"""One image a component, `(b, c, h, w)` or `(b, c, d, h, w)`; of lengths and the like one a length: a single image, or,
where each component has its own, as many as there are."""


def inner(a: Field, b: Field, coupling: Coupling) -> Field:
    """Inner products of two fields, of what is coupled; coupled channels stay as one."""
    if coupling == "none":
        return each(torch.mul, a, b)
    products = a[0] * b[0]
    for x, y in zip(a[1:], b[1:], strict=True):
        products = into(products, torch.addcmul, products, x, y)
    return (products.sum(1, keepdim=True) if coupling == "joint" and products.shape[1] > 1 else products,)


def length(field: Field, coupling: Coupling) -> Field:
    """Euclidean lengths of what is coupled; above zero, so that they can divide."""

    def root(square: Tensor) -> Tensor:
        square = into(square, torch.clamp, square, min=torch.finfo(square.dtype).tiny)
        return into(square, torch.sqrt, square)

    return each(root, inner(field, field, coupling))


def variation(field: Field, coupling: Coupling) -> Field:
    """`length`, exactly 0 where the field is; it has no derivative there."""
    return each(torch.sqrt, inner(field, field, coupling))


def each(function: Callable[..., Tensor], *fields: Field | Tensor | float) -> Field:
    """A function of the components of fields, one after the other; what is a single image is the same for all.

    Not for methods such as `torch.Tensor.double`: `torch.compile` takes one for any other function (2.14).
    """
    parts = [field if isinstance(field, tuple) else (field,) for field in fields]
    return tuple(function(*(part[i % len(part)] for part in parts)) for i in range(max(map(len, parts))))


def doubled(field: Field) -> Field:
    """In double precision."""
    return each(lambda part: part.double(), field)


def total(*images: Tensor) -> Tensor:
    """Sum over images, all axes but the batch: rows first, then in double precision, as a duality gap is a small sum of
    many terms."""
    sums = [image.sum(-1).flatten(1).sum(1, dtype=torch.float64) for image in images]
    return sum(sums[1:], sums[0])


def mean_of(image: Tensor, hole: Tensor | None = None) -> Tensor:
    """Mean of the known pixels of each channel, `(b, c, 1, …)`; of equal pixels it is exact."""
    return _mean_low_high(image, hole)[0]


def offset_of(image: Tensor, hole: Tensor | None = None) -> Tensor:
    """Mean of each channel where it is large beside the contrast, else 0.

    A solver takes it off first and adds it to the result: rounding is then relative to the contrast. The difference
    is exact, since pixels and mean are then within a factor of 2.
    """
    return _offset(*_mean_low_high(image, hole))


def _offset(mean: Tensor, low: Tensor, high: Tensor) -> Tensor:
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
    mean, low, high = _mean_low_high(image, hole)
    offset = _offset(mean, low, high) if offset is None else offset
    reach = torch.maximum((high - offset).abs(), (low - offset).abs()).amax(1, keepdim=True)
    return Frame(offset, unit_of(reach))


def unit_of(reach: Tensor) -> Tensor:
    """The power of 2 up to the farthest value, from half of it; 1 where that is 0."""
    return torch.where(reach > 0, reach / 2 / torch.frexp(reach).mantissa, 1)


def _mean_low_high(image: Tensor, hole: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, least and greatest of the known pixels of each channel; the mean is between the others."""
    axes = space(image)

    def known(missing: float) -> Tensor:
        return image if hole is None else image.masked_fill(hole, missing)

    count = image[0, 0].numel() if hole is None else (~hole).sum(axes, keepdim=True)
    low, high = known(torch.inf).amin(axes, keepdim=True), known(-torch.inf).amax(axes, keepdim=True)
    return (known(0) / count).sum(axes, keepdim=True).clamp(low, high), low, high


def flow(image: Tensor, spacing: Tensor | None = None) -> Field:
    """A field `p` with `image + div p` constant: along the rows to their means, then along the columns, and so on."""
    mean = corner(image, [1 for _ in space(image)])
    mean, parts = image - mean, []  # a constant image has no flow, not even a rounded one
    for k in reversed(space(image)):
        rest, mean = mean, mean.mean(k, keepdim=True)
        parts.append((mean - rest).cumsum(k).expand_as(image))
    if spacing is None:
        return tuple(parts)
    return each(lambda part, along: torch.where(part == 0, 0, part * along), tuple(parts), distances(spacing, image))


def capped(weight: Tensor, flow: Field, coupling: Coupling) -> tuple[Tensor, Tensor]:
    """λ with the case taken out in which the solution is constant, and whether that is the case, `(b, 1, 1, …)`.

    If λ is at least the longest vector of `flow(f)`, the constant image is the solution, for every larger λ as well;
    λ is then replaced by that least value.
    """
    longest = torch.stack([size.flatten(1).amax(1) for size in variation(flow, coupling)]).amax(0)
    enough = longest.reshape(-1, *(1,) * (weight.dim() - 1))
    constant = weight.amin(space(weight), keepdim=True) >= enough
    return torch.where(constant, enough, weight), constant


def halved(a: Tensor) -> Tensor:
    """Half the resolution: means of 2 × 2 pixels, or of 2 × 2 × 2 voxels, of fewer at odd borders."""
    pool = F.avg_pool3d if len(space(a)) == 3 else F.avg_pool2d
    sides = [min(a.shape[k], 2) for k in space(a)]  # in three dimensions no window may exceed what it is in
    return pool(a, sides, ceil_mode=True, count_include_pad=False)


def mean_length(field: Field, coupling: Coupling) -> Tensor:
    """The mean over all pixels, and over the lengths of one pixel, `(b, 1, 1, 1)`."""
    return torch.stack([size.flatten(1).mean(1) for size in length(field, coupling)]).mean(0).reshape(-1, 1, 1, 1)


def costs_missed(slope: Field, p: Field, ball: "Projection") -> tuple[Field, Field]:
    """`λ_i |∇u|_i`, and by how much it exceeds `∇u_i · p_i`; at least 0, with `p` in the balls of radius λ."""
    costs = each(torch.mul, variation(slope, ball.coupling), ball.radius)
    return costs, each(lambda cost, met: (cost - met).clamp(min=0), costs, inner(slope, p, ball.coupling))


class Projection(NamedTuple):
    """The projection `P` onto the fields that are nowhere longer than a radius."""

    radius: Tensor
    coupling: Coupling

    def __call__(self, field: Field) -> Field:
        return each(torch.mul, field, self._factor(length(field, self.coupling)))

    def derivative(self, field: Field) -> "ProjectionDerivative":
        """The derivative of the projection at `field`."""
        size = length(field, self.coupling)
        normal = each(lambda part, long: torch.where(long > self.radius, part / long, 0), field, size)
        return ProjectionDerivative(normal, self._factor(size), self.coupling)

    def unit(self, field: Field) -> Field:
        """The projection over the radius, also where that is 0."""
        size = each(lambda long: torch.maximum(long, self.radius), length(field, self.coupling))
        return each(torch.div, field, size)

    def share(self, field: Field) -> Tensor:
        """The one factor of each item, `(b, 1, 1, 1)`, at most 1, that takes all of a field inside."""
        shares = [(self.radius / long).flatten(1).amin(1) for long in length(field, self.coupling)]
        return torch.stack(shares).amin(0).clamp(max=1).reshape(-1, 1, 1, 1)

    def _factor(self, size: Field) -> Field:
        """By how much vectors so long are shortened, in the place of their lengths."""

        def share(long: Tensor) -> Tensor:
            part = into(long, torch.div, self.radius, long)
            return into(part, torch.clamp, part, max=1)

        return each(share, size)


class ProjectionDerivative(NamedTuple):
    """The derivative of a projection: removes `normal` where the projection shortens, and scales by `factor`."""

    normal: Field
    """Unit vectors where the projection shortens, 0 elsewhere."""
    factor: Field
    """By how much the projection shortens, at most 1."""
    coupling: Coupling

    def __call__(self, field: Field) -> Field:
        return each(torch.mul, across(field, self.normal, self.coupling), self.factor)


def across(field: Field, normal: Field, coupling: Coupling) -> Field:
    """What of a field is across unit vectors, `v - n (n · v)`; all of it where these are 0."""
    return each(lambda v, n, along: torch.addcmul(v, n, along, value=-1), field, normal, inner(normal, field, coupling))


@compiled
def reflect(s: Field, ball: Projection | ProjectionDerivative) -> tuple[Field, Tensor]:
    """A step of the alternating direction method of multipliers on `z = ∇u`, whose state is the field `s`, up to the
    next picture: `(1 - α) s + α P(s)`, and the divergence of `s - 2 P(s)`, from which that picture is solved."""
    inside = ball(s)
    kept = each(lambda a, p: torch.lerp(a, p, RELAXATION), s, inside)
    return kept, outflow(each(lambda a, p: into(p, torch.sub, a, p, alpha=2), s, inside))


@compiled
def relax(kept: Field, u: Tensor) -> Field:
    """The next `s`, over-relaxed, once the picture is `u`: `(1 - α) s + α (P(s) + ∇u)`."""
    return each(lambda a, slope: into(slope, torch.add, a, slope, alpha=RELAXATION), kept, differences(u))
