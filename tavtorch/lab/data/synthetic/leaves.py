"""Dead leaves with textures, gradients, strokes and text: pictures with the edges and the scales of photographs.

Objects of all sizes hide each other, as in a photograph; what a denoiser learns from them holds for photographs too.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

Dice = np.random.Generator
_ROUGHNESS = (0.3, 0.8, 1.2, 1.6, 2.0)  # exponents of the spectra of textures, from grain to clouds
_LETTERS = "ABCDEFGHKLMNPRSTUVXYZabcdefghkmnopqrstuvwxyz0123456789&?%"


def leaves(generator: Generator, *, size: int = 256, count: int = 700) -> Float[Tensor, "1 1 size size"]:
    """A picture in [0, 1] of `count` opaque leaves, some of which are out of focus.

    Radii are distributed as `r ** -a`, with an `a` of each picture near the 3 of a scene that looks the same at all
    scales; grey levels, gradients, textures and stripes are drawn for each leaf.

    Args:
        generator: the same state gives the same picture.
        size: of the sides, in pixels.
        count: leaves, the later ones over the earlier.

    Source: Lee, Mumford & Huang, "Occlusion models for natural images", Int. J. Comput. Vis. 41, 2001,
    doi:10.1023/A:1011109015675.

    >>> leaves(torch.Generator().manual_seed(0), size=64, count=50).shape
    torch.Size([1, 1, 64, 64])
    """
    dice = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    textures = [_texture(dice, size, roughness) for roughness in _ROUGHNESS]
    smallest, largest, exponent = (
        size * 10 ** dice.uniform(-2.2, -1.5),
        size * dice.uniform(0.2, 0.6),
        dice.uniform(2.2, 3.4),
    )
    radii = _power_law(dice, count, smallest, largest, exponent)
    picture = np.full((size, size), dice.uniform(), np.float32) + 0.1 * dice.uniform() * textures[-1]
    brightness = dice.beta(dice.uniform(0.6, 2.0), dice.uniform(0.6, 2.0), count)
    blurred = dice.choice(count // 2) if dice.random() < 0.5 else -1  # what lies behind is out of focus
    contrast = dice.exponential(0.07)
    for i in range(count):
        if i == blurred:
            picture = _blur(picture, dice.uniform(0.7, 4.0))
        mark = dice.choice(_MARKS, p=(0.25, 0.15, 0.2, 0.25, 0.1, 0.05))
        _lay(picture, mark, radii[i], brightness[i], contrast, textures, dice)
    return torch.from_numpy(_blur(picture, dice.uniform(0.35, 0.8)).clip(0, 1))[None, None]


def _lay(
    picture: np.ndarray, mark: Callable[..., None], radius: float, grey: float, contrast: float,
    textures: list[np.ndarray], dice: Dice,
) -> None:  # fmt: skip
    """Draw one leaf over the picture, in place."""
    size = len(picture)
    x, y = dice.uniform(-radius / 2, size + radius / 2, 2)
    reach = int(1.5 * radius) + 2
    left, top = max(0, int(x) - reach), max(0, int(y) - reach)
    right, bottom = min(size, int(x) + reach), min(size, int(y) + reach)
    if right <= left or bottom <= top:
        return
    stencil = Image.new("L", (2 * (right - left), 2 * (bottom - top)))  # drawn twice as large: soft edges
    mark(ImageDraw.Draw(stencil), 2 * (x - left), 2 * (y - top), 2 * radius, dice)
    cover = np.asarray(stencil.reduce(2), np.float32) / 255
    across, down = np.meshgrid(np.arange(left, right) - x, np.arange(top, bottom) - y)
    turn = dice.uniform(0, 2 * np.pi)
    along = (np.cos(turn) * across + np.sin(turn) * down).astype(np.float32)
    paint = np.full(cover.shape, grey, np.float32)
    if dice.random() < 0.6:
        paint += dice.normal(0, 0.15) * along / radius
    if dice.random() < 0.7:
        paint += contrast * dice.exponential() * textures[dice.integers(len(textures))][top:bottom, left:right]
    if dice.random() < 0.12:
        paint += dice.uniform(0.02, 0.25) * np.sin(dice.uniform(0.2, 1.8) * along)
    where = np.s_[top:bottom, left:right]
    picture[where] += cover * (paint - picture[where])


def _disk(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, dice: Dice) -> None:
    wide, high = radius * dice.uniform(0.3, 1, 2)
    draw.ellipse((x - wide, y - high, x + wide, y + high), fill=255)


def _box(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, dice: Dice) -> None:
    turn, half = dice.uniform(0, np.pi), dice.uniform(0.1, 1) * np.pi / 4
    angles = turn + np.array((-half, half, np.pi - half, np.pi + half))
    draw.polygon(list(zip(x + radius * np.cos(angles), y + radius * np.sin(angles), strict=True)), fill=255)


def _blob(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, dice: Dice) -> None:
    """A star-shaped leaf with a few smooth arms."""
    angles, arms, depth, phase = (
        np.linspace(0, 2 * np.pi, 90),
        dice.integers(2, 8),
        dice.uniform(0, 0.7),
        dice.uniform(0, 7),
    )
    lengths = radius * (1 - depth * (0.5 + 0.5 * np.sin(arms * angles + phase)))
    draw.polygon(list(zip(x + lengths * np.cos(angles), y + lengths * np.sin(angles), strict=True)), fill=255)


def _polygon(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, dice: Dice) -> None:
    angles = np.sort(dice.uniform(0, 2 * np.pi, dice.integers(3, 8)))
    draw.polygon(list(zip(x + radius * np.cos(angles), y + radius * np.sin(angles), strict=True)), fill=255)


def _stroke(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, dice: Dice) -> None:
    """A bent line, such as a twig or a wire."""
    bends = np.cumsum(dice.normal(0, 0.5, 6)) + dice.uniform(0, 2 * np.pi)
    steps = radius * np.stack((np.cos(bends), np.sin(bends)), 1).cumsum(0) / 2
    points = [(x + dx, y + dy) for dx, dy in steps]
    draw.line(points, fill=255, width=int(dice.uniform(1, 8)), joint="curve")


def _text(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, dice: Dice) -> None:
    word = "".join(dice.choice(list(_LETTERS), dice.integers(1, 7)))
    draw.text((x, y), word, fill=255, anchor="mm", font=ImageFont.load_default(max(8.0, radius)))


_MARKS = np.array([_disk, _box, _blob, _polygon, _stroke, _text])


def _texture(dice: Dice, size: int, roughness: float) -> np.ndarray:
    """Noise of mean 0 and deviation 1 whose spectrum falls as `f ** -roughness`."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(dice.normal(size=(size, size))) * frequency**-roughness, s=(size, size))
    return (noise / noise.std()).astype(np.float32)


def _power_law(dice: Dice, count: int, low: float, high: float, exponent: float) -> np.ndarray:
    """Numbers between `low` and `high` whose density falls as `r ** -exponent`."""
    ends = low ** (1 - exponent), high ** (1 - exponent)
    return (ends[0] + (ends[1] - ends[0]) * dice.random(count)) ** (1 / (1 - exponent))


def _blur(picture: np.ndarray, radius: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(picture, radius)
