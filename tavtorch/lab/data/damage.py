"""What is done to pictures and recordings whose truth is known: each function gives the inputs of an op.

The generator belongs to the item, see `batches.item_generator`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from tavtorch.image.contours.polygons import circle, fill
from tavtorch.image.restoration.inpaint_tv import hole_from_color

Damage = Callable[[Tensor, Generator], dict[str, Tensor]]
"""From a picture `(1, c, h, w)` or a wave `(1, c, t)` and the item's generator to the inputs of an op."""

# pictures


def untouched(image: Float[Tensor, "1 c h w"], generator: Generator) -> dict[str, Tensor]:
    """The picture unchanged, for ops whose result has no truth."""
    return {"image": image}


def noisy(image: Float[Tensor, "1 c *d h w"], generator: Generator, *, sigma: float) -> dict[str, Tensor]:
    """White Gaussian noise of standard deviation `sigma`."""
    return {"image": image + sigma * torch.randn(image.shape, generator=generator)}


def seen(
    image: Float[Tensor, "1 c h w"],
    generator: Generator,
    *,
    operator: Callable[[Tensor], Tensor],
    sigma: float = 0.0,
) -> dict[str, Tensor]:
    """What a camera makes of the picture, `operator`, and then noise of deviation `sigma`."""
    return noisy(operator(image), generator, sigma=sigma)


def missing(
    image: Float[Tensor, "1 c h w"], generator: Generator, *, share: float, sigma: float = 0.0
) -> dict[str, Tensor]:
    """A fraction `share` of the pixels, drawn at random, is missing; the others have noise of deviation `sigma`."""
    hole = torch.rand(len(image), 1, *image.shape[-2:], generator=generator) < share
    return _without(noisy(image, generator, sigma=sigma)["image"], hole)


def written(
    image: Float[Tensor, "1 c h w"],
    generator: Generator,
    *,
    text: str = "total variation ",
    height: int = 24,
) -> dict[str, Tensor]:
    """Pixels under a text that covers the picture, in letters of `height` pixels, are missing."""
    from PIL import Image, ImageDraw, ImageFont

    h, w = image.shape[-2:]
    page = Image.new("1", (w, h))
    font, draw = ImageFont.load_default(height), ImageDraw.Draw(page)
    line = text * (1 + 2 * w // round(draw.textlength(text, font)))
    for row in range(h // (2 * height) + 1):
        draw.text((-row * 3 * height % -w, row * 2 * height), line, fill=1, font=font)
    return _without(image, torch.from_numpy(np.array(page))[None, None])


def cut_out(
    image: Float[Tensor, "1 c h w"], generator: Generator, *, outline: Sequence[Sequence[float]]
) -> dict[str, Tensor]:
    """The pixels inside a polygon, given by its corners (x, y) in pixels, are missing."""
    corners = image.new_tensor(outline)[None]
    return _without(image, fill(corners, (image.shape[-2], image.shape[-1])))


def painted(
    image: Float[Tensor, "1 3 h w"],
    generator: Generator,
    *,
    outline: Sequence[Sequence[float]],
    color: Sequence[float] = (1.0, 1.0, 0.0),
) -> dict[str, Tensor]:
    """A polygon is painted in one colour, and the hole is found by that colour."""
    corners = image.new_tensor(outline)[None]
    paint = image.new_tensor(color)[:, None, None]
    covered = torch.where(fill(corners, (image.shape[-2], image.shape[-1])), paint, image)
    return {"image": covered, "hole": hole_from_color(covered, color, 0.05)}


def surrounded(
    image: Float[Tensor, "1 c h w"],
    generator: Generator,
    *,
    center: Sequence[float],
    axes: Sequence[float],
    n: int = 200,
) -> dict[str, Tensor]:
    """The picture unchanged, and an ellipse of `n` points for a contour to start from: centre and half axes (x, y)."""
    points = image.new_tensor(center) + image.new_tensor(axes) * circle((0.0, 0.0), 1.0, n).to(image)
    return {"image": image, "points": points}


def _without(image: Tensor, hole: Bool[Tensor, "b 1 h w"]) -> dict[str, Tensor]:
    """Missing pixels are set to 0, so that the op cannot see them."""
    return {"image": image.masked_fill(hole, 0), "hole": hole}


# recordings


def hissing(wave: Float[Tensor, "1 c t"], generator: Generator, *, snr: float) -> dict[str, Tensor]:
    """White noise at a signal-to-noise ratio in dB."""
    noise = torch.randn(wave.shape, generator=generator)
    return {"wave": wave + noise * (wave.norm() / noise.norm() * 10 ** (-snr / 20))}
