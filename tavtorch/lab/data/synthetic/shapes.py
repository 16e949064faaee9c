"""Drawings of shapes with their masks, and contours to start from, for testing and scoring snakes."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


class Scene(NamedTuple):
    """Pictures, the masks of their objects, and contours to start from."""

    image: Float[Tensor, "b 1 h w"]
    """From about 0 to 1, before the noise."""
    truth: Bool[Tensor, "b m h w"]
    """One mask per object; they do not overlap."""
    points: Float[Tensor, "b m n 2"]
    """One circle per object, see `tavtorch.circle`."""


def disks(
    count: int, size: int, *, noise: float = 0.0, n: int = 200, generator: torch.Generator | None = None
) -> Scene:
    """White disks on black, of random radius (0.1 to 0.3 sizes) and position; circles start as large as the picture.

    Args:
        count: pictures.
        size: of their sides, in pixels.
        noise: standard deviation of the Gaussian noise on them.
        n: points of the circles.
        generator: the source of randomness, whose device the pictures are on.

    >>> scene = disks(2, 64, generator=torch.Generator().manual_seed(0))
    >>> scene.image.shape, scene.truth.shape, scene.points.shape
    (torch.Size([2, 1, 64, 64]), torch.Size([2, 1, 64, 64]), torch.Size([2, 1, 200, 2]))
    """
    dice = _Dice(generator)
    radius, (x, y) = size * dice(0.1, 0.3, count, 1, 1, 1), _place(dice, count, size)
    return _scene(x.hypot(y) < radius, noise, n, dice)


def stars(
    count: int, size: int, *, noise: float = 0.0, n: int = 200, generator: torch.Generator | None = None
) -> Scene:
    """Stars of five smooth arms, `r(θ) = 0.24 size (1 + 0.35 cos(5 θ))`, turned and shifted; arguments as `disks`."""
    dice = _Dice(generator)
    turn, (x, y) = dice(0, 2 * math.pi, count, 1, 1, 1), _place(dice, count, size)
    radius = 0.24 * size * (1 + 0.35 * torch.cos(5 * torch.atan2(y, x) + turn))
    return _scene(x.hypot(y) < radius, noise, n, dice)


def bays(count: int, size: int, *, noise: float = 0.0, n: int = 200, generator: torch.Generator | None = None) -> Scene:
    """Squares with a deep bay, the U of Xu & Prince, turned by quarters and shifted; arguments as `disks`."""
    dice = _Dice(generator)
    x, y = (coordinate / size for coordinate in _place(dice, count, size))
    turned = dice(0, 1, count, 1, 1, 1) < 0.5
    x, y = torch.where(turned, y, x), torch.where(turned, -x, y)
    square, bay = (x.abs() < 0.25) & (y.abs() < 0.25), (x.abs() < 0.1) & (y < 0.1)
    return _scene(square & ~bay, noise, n, dice)


def crowds(
    count: int,
    size: int,
    *,
    objects: int = 100,
    noise: float = 0.02,
    start: float = 1.2,
    shift: float = 0.0,
    places: int | None = None,
    n: int = 64,
    generator: torch.Generator | None = None,
) -> Scene:
    """Cells that touch each other, each of random brightness, under light from one side.

    Args:
        count: pictures.
        size: of their sides, in pixels; 256 for 100 objects gives them a radius of about 12.
        objects: cells a picture, on a shaken grid.
        noise: standard deviation of the Gaussian noise.
        start: radius of the circles over the mean radius of their cells; they are clamped to the picture.
        shift: pixels by which a crowd may lie off the middle, so that the frame cuts the cells of a side.
        places: of the grid, of which the cells take some at random, so that some of them touch no other; by default as
            many as there are cells.
        n: points of the circles.
        generator: the source of randomness, whose device the pictures are on.
    """
    dice = _Dice(generator)
    places = objects if places is None else places
    if places < objects:
        raise ValueError(f"places: {objects} cells do not fit into {places}; take as many places, or fewer objects.")
    side = math.ceil(places**0.5)
    pitch = size / side
    cell = torch.arange(objects, device=dice.device)
    place = dice(0, 1, count, places).argsort(1)[:, :objects] if places > objects else cell
    center = pitch * (torch.stack((place % side, place // side), -1) + 0.5) - 0.5
    center = center + pitch * dice(-0.1, 0.1, count, objects, 2)
    center = center + (dice(-shift, shift, count, 1, 2) if shift else 0.0)
    radius = pitch * dice(0.42, 0.54, count, objects)
    x, y = (_grid(size, dice.device)[k] - center[..., k, None, None] for k in (0, 1))
    angle, bumps = torch.atan2(y, x), torch.zeros_like(x)
    for k in (2, 3, 5):
        bumps = bumps + dice(0, 0.16 / k, count, objects, 1, 1) * torch.cos(
            k * angle + dice(0, 2 * math.pi, count, objects, 1, 1)
        )
    inwards = x.hypot(y) / (radius[..., None, None] * (1 + bumps))  # 0 in the middle, 1 at the border of a cell
    nearest, owner = inwards.min(1, keepdim=True)
    truth = (inwards < 1) & (owner == cell[:, None, None])
    own = (truth * dice(0.45, 1.0, count, objects, 1, 1)).sum(1, keepdim=True)
    lamp = 0.7 + 0.3 * (_grid(size, dice.device) * dice(-1, 1, count, 1, 2, 1, 1)).sum(2) / size
    lit = 0.08 + lamp * own * (1 - 0.35 * nearest.clamp(max=1) ** 4)
    image = F.avg_pool2d(F.pad(lit, (1, 1, 1, 1), mode="replicate"), 3, 1)
    ring = 2 * math.pi * torch.arange(n, device=dice.device) / n
    circles = center[..., None, :] + start * radius[..., None, None] * torch.stack((ring.cos(), ring.sin()), -1)
    return Scene(image + noise * dice.normal(image.shape), truth, circles.clamp(0, size - 1))


def apples(
    count: int, size: int, *, noise: float = 0.15, n: int = 120, generator: torch.Generator | None = None
) -> Scene:
    """Spotted fruit on spotted leaves: soft borders, weaker than the spots on both sides; only the brightness tells.

    Args:
        count: pictures, with one fruit each.
        size: of their sides, in pixels.
        noise: standard deviation of the spots, smooth noise of about three pixels; the fruit is 0.35 brighter.
        n: points of the circles, which start as large as the picture.
        generator: the source of randomness, whose device the pictures are on.
    """
    dice = _Dice(generator)
    (x, y), (radius, flat, turn) = _place(dice, count, size), dice(0, 1, 3, count, 1, 1, 1)
    angle = torch.atan2(y, x) + 2 * math.pi * turn
    rim = size * (0.2 + 0.08 * radius) * (1 + 0.1 * flat * torch.cos(2 * angle) + 0.05 * torch.cos(3 * angle))
    inwards = (rim - x.hypot(y)) * 64 / size
    spots = F.avg_pool2d(dice.normal(torch.Size((count, 1, size + 4, size + 4))), 5, 1)
    scene = _scene(inwards > 0, 0.0, n, dice)
    return scene._replace(image=0.35 + 0.35 * torch.sigmoid(inwards / 1.5) + 5 * noise * spots)


def runners(
    count: int,
    size: int,
    *,
    frames: int = 24,
    noise: float = 0.05,
    n: int = 60,
    generator: torch.Generator | None = None,
) -> Scene:
    """Films of a round cell that moves by its own radius, a twelfth of the size, from frame to frame.

    Args:
        count: films.
        size: of their sides, in pixels.
        frames: of each.
        noise: standard deviation of the Gaussian noise.
        n: points of the circles around the cell of the first frame.
        generator: the source of randomness, whose device the films are on.

    Returns:
        A `Scene` whose image is films `(b, 1, t, h, w)` and whose truth has a mask for each frame, `(b, t, h, w)`.
    """
    dice = _Dice(generator)
    radius, way = size / 12, 0.3 * size
    time = torch.arange(frames, device=dice.device) * (radius / way) + dice(0, 2 * math.pi, count, 1)
    middle = (size - 1) / 2 + way * torch.stack((time.cos(), time.sin()), -1)
    x, y = (_grid(size, dice.device)[k] - middle[..., k, None, None] for k in (0, 1))
    inwards = radius - x.hypot(y)
    film = torch.sigmoid(inwards / 0.7) * (1 + 0.3 * torch.sin(x))
    ring = 2 * math.pi * torch.arange(n, device=dice.device) / n
    points = middle[:, :1, None] + 1.4 * radius * torch.stack((ring.cos(), ring.sin()), -1)
    return Scene((film + noise * dice.normal(film.shape))[:, None], inwards > 0, points[:, 0].clamp(0, size - 1))


class _Dice:
    """Random numbers of one generator, on its device."""

    def __init__(self, generator: torch.Generator | None) -> None:
        self.generator = generator
        self.device = generator.device if generator else torch.device("cpu")

    def __call__(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def normal(self, shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)


def _grid(size: int, device: torch.device) -> Tensor:
    """The coordinates (x, y) of the pixels, `(2, h, w)`."""
    line = torch.arange(size, dtype=torch.get_default_dtype(), device=device)
    return torch.stack(torch.meshgrid(line, line, indexing="xy"))


def _place(dice: _Dice, count: int, size: int) -> Tensor:
    """The coordinates from a centre that is up to a twentieth of the size off the middle, `(2, b, 1, h, w)`."""
    center = (size - 1) / 2 + size * dice(-0.05, 0.05, 2, count, 1, 1, 1)
    return _grid(size, dice.device)[:, None, None] - center


def _scene(truth: Tensor, noise: float, n: int, dice: _Dice) -> Scene:
    """The masks as pictures, white on black, with noise, and circles that nearly touch the borders."""
    count, size = len(truth), truth.shape[-1]
    ring = 2 * math.pi * torch.arange(n, device=dice.device) / n
    circle = (size - 1) / 2 + 0.46 * size * torch.stack((ring.cos(), ring.sin()), -1)
    image = truth.to(circle.dtype)
    return Scene(image + noise * dice.normal(image.shape), truth, circle.expand(count, 1, n, 2).clone())
