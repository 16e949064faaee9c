"""Contours of objects that touch each other: a small network tells each from its neighbours."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tavtorch.image.check import check_device, check_image, full_precision
from tavtorch.image.contours.edges import central
from tavtorch.image.contours.forces import gvf_force
from tavtorch.image.contours.polygons import check_inside, check_points, fill, many
from tavtorch.image.contours.snakes import evolve
from tavtorch.image.grid import sample
from tavtorch.precision import exact
from tavtorch.solve import Solution, Stop
from tavtorch.weights import of_the_package, read_model, write_model

WEIGHTS = Path(__file__).with_name("crowd.safetensors")
"""The weights that come with the package; benchmarks/README.md says how they were trained."""
SIDE = 48
"""Samples along the side of a window."""
MARGIN = 1.6
"""Half the side of a window over the greatest distance of its start from the middle."""
FLAT = 1e-4
"""Standard deviation of a window, over the largest value of the picture, up to which nothing is seen in it."""
SMOOTHNESS = 0.2
"""Of the gradient vector flow: the edges of `P` are as strong as those of one object of high contrast."""
STEEPEST = 8.0
"""Largest gradient of a window in training, over the median one."""
BLOCK = 256
"""Windows that go through the network at once."""
AT_REST = Stop(tol=0.1, max_iter=300, every=10)
HURRIED, BACKWARD = Stop(tol=0.1, max_iter=60, every=10), Stop(tol=1e-3, max_iter=10)
"""While the network is trained: the steps of a snake, and the rounds that its gradient looks back."""


@exact()
def segment_crowd(
    image: Float[Tensor, "b c h w"],
    points: Float[Tensor, "..."],
    *,
    model: "CrowdModel | None" = None,
    elasticity: float = 0.05,
    stop: Stop | None = None,
    history: list[Tensor] | None = None,
) -> Solution:
    """Contours of objects that touch their neighbours, whose edges would attract a snake no less than their own.

    A network looks at the window about each start, and tells what in it belongs to this one object. The snake evolves
    in the gradient vector flow of the edges of that,

        f = 2 |∇P|,        P(x) the probability that x belongs to the object, from 0 to 1,

    which are closed curves, however uncertain a part of them is; what lies outside of the frame does not belong to it.
    Windows are sampled at 48² places, whatever their size, and brought to mean 0 and deviation 1: neither scale nor
    light counts. The gradient in `image` and in the weights is that of `gvf_force` and `evolve`.

    Args:
        image: `(b, c, h, w)`; the mean of the channels counts.
        points: `(b, n, 2)` or `(b, m, n, 2)`, each about one object: the weights of the package are trained with
            circles of 1 to 1.4 radii about roundish cells, brighter or not than their neighbours, if they have any.
        model: the network; None takes the one that comes with the package.
        elasticity: see `evolve`.
        stop: as in `evolve`, in samples of the window, of which the radius of a circle has 15. Default:
            `Stop(tol=0.1, max_iter=300, every=10)`.
        history: a list to which the contours are appended at the start and every `stop.every` steps.

    Returns:
        As `evolve`, the contours clamped to the area of the picture's pixels. A contour in whose window nothing is seen
        has not converged.

    Source: networks trained through snakes: Marcos et al., "Learning deep structured active contours end-to-end", CVPR
    2018, doi:10.1109/CVPR.2018.00925.

    >>> from tavtorch import circle, fill
    >>> disk = fill(circle((32, 32), 12, 64), (65, 65))
    >>> mask = fill(segment_crowd(disk.float(), circle((33, 32), 15, 64)).value, (65, 65))
    >>> bool((mask & disk).sum() / (mask | disk).sum() > 0.9)
    True
    """
    _check(image, points)
    model = of_the_package(CrowdModel.pretrained, image.device) if model is None else model
    return _segment(image, points, model, elasticity=elasticity, stop=stop, history=history)[0]


class Windows(NamedTuple):
    """Squares about contours, of `SIDE` samples a side."""

    middle: Float[Tensor, "b m 1 2"]
    """In pixels."""
    spacing: Float[Tensor, "b m 1 1"]
    """Pixels from sample to sample."""

    @classmethod
    def about(cls, contours: Float[Tensor, "b m n 2"]) -> "Windows":
        """Where `contours` start; no derivative goes through the place of a window."""
        x = contours.detach()
        middle = x.mean(2, keepdim=True)
        reach = (x - middle).norm(dim=-1).amax(-1)[..., None, None]
        return cls(middle, (2 * MARGIN / (SIDE - 1) * reach).clamp(min=torch.finfo(x.dtype).eps))

    def inside(self, places: Float[Tensor, "_ _ n 2"]) -> Float[Tensor, "b m n 2"]:
        """From pixels to samples."""
        return (places - self.middle) / self.spacing + (SIDE - 1) / 2

    def outside(self, places: Float[Tensor, "_ _ n 2"]) -> Float[Tensor, "b m n 2"]:
        """From samples to pixels."""
        return (places - (SIDE - 1) / 2) * self.spacing + self.middle


class CrowdModel(nn.Module):
    """The network of `segment_crowd`, to be trained; `model(image, points)` is that with `model=model`.

    A U-Net of three resolutions; 19,069 weights by default.

    Args:
        widths: channels at each resolution.
        through: False trains what it sees and not where snakes come to rest, to begin with: three times as fast.
    """

    def __init__(self, widths: Sequence[int] = (12, 20, 24), through: bool = True) -> None:
        super().__init__()
        if len(widths) != 3 or not all(isinstance(width, int) and width > 0 for width in widths):
            raise ValueError(f"widths: expected three whole numbers > 0, got {widths}.")
        self.settings, self.through = {"widths": list(widths)}, through
        fine, middle, coarse = widths
        self.fine, self.middle, self.coarse = _twice(3, fine), _twice(fine, middle), _twice(middle, coarse)
        self.to_middle = nn.Conv2d(coarse, middle, 1)
        self.to_fine = nn.Conv2d(middle, fine, 1)
        self.last = nn.Conv2d(fine, fine, 3, padding=1)
        self.belongs = nn.Conv2d(fine, 1, 1)

    def forward(
        self, image: Tensor, points: Tensor, stop: Stop | None = None, history: list[Tensor] | None = None
    ) -> Solution | tuple[Solution | None, Float[Tensor, "b m h w"]]:
        """See `segment_crowd`; while it is trained also `P`, at the pixels of the picture."""
        if not self.training:
            return segment_crowd(image, points, model=self, stop=stop, history=history)
        if not self.through:
            return None, probabilities(image, points, self)
        with exact():
            found, known, windows = _segment(image, points, self, stop=stop, history=history)
            return found, _in_picture(known, windows, image)

    def probability(self, windows: Float[Tensor, "k 3 s s"]) -> Float[Tensor, "k 1 s s"]:
        """`P`, of the pictures of the windows, what of these is within the picture, and the masks of the starts."""
        parts = windows.to(self.belongs.weight.dtype).split(BLOCK)
        return torch.cat([self._probability(part) for part in parts]).to(windows.dtype)

    def save(self, path: str | Path) -> None:
        """Write the weights and the settings as safetensors."""
        write_model(path, self, self.settings)

    @classmethod
    def pretrained(cls, path: str | Path = WEIGHTS, *, through: bool = True, **settings: object) -> "CrowdModel":
        """The model of a file that `save` wrote, by default that of the package; it must have these settings."""
        model = read_model(cls, path, settings)
        model.through = through
        return model

    def _probability(self, windows: Tensor) -> Tensor:
        fine = self.fine(windows)
        middle = self.middle(F.avg_pool2d(fine, 2))
        coarse = self.coarse(F.avg_pool2d(middle, 2))
        middle = F.relu(middle + _doubled(self.to_middle(coarse)))
        fine = F.relu(fine + _doubled(self.to_fine(middle)))
        return torch.sigmoid(self.belongs(F.relu(self.last(fine))))


def _segment(
    image: Tensor,
    points: Tensor,
    model: CrowdModel,
    *,
    elasticity: float = 0.05,
    stop: Stop | None = None,
    history: list[Tensor] | None = None,
) -> tuple[Solution, Tensor, Windows]:
    """As `segment_crowd`, with `P` and the windows that it is known in."""
    contours, image = full_precision(many(points)), full_precision(image)
    windows = Windows.about(contours)
    known = _look(image, contours, windows, model)
    start = windows.inside(contours).flatten(0, 1)
    way: list[Tensor] = []
    move = partial(evolve, elasticity=elasticity, history=None if history is None else way)
    if model.training:
        found = move(start, _field(_tempered(known)), stop=stop or HURRIED, adjoint=BACKWARD)
    else:
        found = move(start, _field(known), stop=stop or AT_REST)

    low, high = _corners(contours, (image.shape[-2], image.shape[-1]))

    def outside(x: Tensor) -> Tensor:
        """Contours of windows as those of the picture."""
        return windows.outside(x.reshape(contours.shape)).clamp(low, high).reshape(points.shape).to(points.dtype)

    if history is not None:
        history += map(outside, way)
    fields = (field.reshape(points.shape[:-2]) for field in found[1:])
    return Solution(outside(found.value), *fields), known, windows


def probabilities(image: Tensor, points: Tensor, model: CrowdModel) -> Float[Tensor, "b m h w"]:
    """`P` of each contour at the pixels of the picture; 0 outside of its window."""
    contours = full_precision(many(points))
    windows = Windows.about(contours)
    return _in_picture(_look(full_precision(image), contours, windows, model), windows, image)


def _in_picture(known: Tensor, windows: Windows, image: Tensor) -> Tensor:
    """What is known at the samples of windows, at the pixels of the picture."""
    b, m = windows.middle.shape[:2]
    y, x = (torch.arange(n, dtype=known.dtype, device=known.device) for n in image.shape[-2:])
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(1, 1, -1, 2)
    places = windows.inside(pixels).flatten(0, 1)
    return sample(F.pad(known, (1, 1, 1, 1)), places + 1).reshape(b, m, *image.shape[-2:])


def _look(image: Tensor, contours: Tensor, windows: Windows, model: CrowdModel) -> Tensor:
    """`P` in each window, `(b m, 1, s, s)`; 0 where nothing is seen, and outside of the picture."""
    b, m = contours.shape[:2]
    u = image.mean(1, keepdim=True).to(contours.dtype)
    line = torch.arange(SIDE, dtype=u.dtype, device=u.device)
    places = windows.outside(torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(1, 1, -1, 2))
    seen = sample(u, places.reshape(b, -1, 2)).reshape(b * m, 1, SIDE, SIDE)
    seen = seen - seen.mean((2, 3), keepdim=True)
    square, largest = seen.square().mean((2, 3), keepdim=True), u.detach().abs().amax((1, 2, 3)).repeat_interleave(m)
    flat = square.sqrt() <= FLAT * largest[:, None, None, None]
    seen = seen * torch.where(flat, torch.inf, square).rsqrt()

    low, high = _corners(u, (u.shape[-2], u.shape[-1]))
    within = ((places > low) & (places < high)).all(-1).reshape(seen.shape)
    start = fill(windows.inside(contours).flatten(0, 1), (SIDE, SIDE))
    known = model.probability(torch.cat((seen, within.to(u.dtype), start.to(u.dtype)), 1))
    return torch.where(flat | ~within, 0, known)


def _field(known: Tensor) -> Tensor:
    """The gradient vector flow of the edges of `P`."""
    edges = 2 * (central(known)[:, 0].square().sum(1, keepdim=True) + torch.finfo(known.dtype).tiny).sqrt()
    return gvf_force(edges, SMOOTHNESS, edges=lambda f: f).value


def _tempered(known: Tensor) -> Tensor:
    """`known`, with no gradient of a window above `STEEPEST` times the median: where snakes leap they have no bound."""

    def limited(g: Tensor) -> Tensor:
        size = g.flatten(1).norm(dim=1)
        share = STEEPEST * size.median() / size.clamp(min=torch.finfo(g.dtype).tiny)
        return g * share.clamp(max=1)[:, None, None, None]

    followed = known.view_as(known)
    if followed.requires_grad:
        followed.register_hook(limited)
    return followed


def _corners(like: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Of the area of the pixels of an image `(h, w)`: (x, y) each, in the precision of a tensor, where it is."""
    high = like.new_tensor(size[::-1]) - 0.5
    return torch.full_like(high, -0.5), high


def _check(image: Tensor, points: Tensor) -> None:
    """Raise unless there are contours for each picture."""
    check_image(image)
    check_points(points)
    check_device(points, image, "points")
    if len(image) != len(points):
        raise ValueError(f"points: expected contours of {len(image)} images, got {len(points)}.")
    check_inside(points, (image.shape[-2], image.shape[-1]))


def _twice(before: int, after: int) -> nn.Sequential:
    """Two convolutions."""
    first, second = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())


def _doubled(u: Tensor) -> Tensor:
    """At twice the resolution."""
    return F.interpolate(u, scale_factor=2.0, mode="bilinear")
