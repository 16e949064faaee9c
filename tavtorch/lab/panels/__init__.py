"""What a page shows of an item: pictures, plots, and sounds to listen to, each as a `Panel`."""

import base64
import io
from typing import NamedTuple

from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.spines import Spine
from matplotlib.text import Text
from PIL import Image
from torch import Tensor

_INK = "#7f7f7f"  # can be read on white and on black, and plots have no ground of their own
_SMALL = 128**2  # pixels


class Panel(NamedTuple):
    """A picture with its caption, and a sound under it where it is one; both as data URLs."""

    caption: str
    picture: str
    sound: str | None = None
    before: str | None = None
    """Caption of the panel that a slider compares this one with."""
    span: tuple[float, float] | None = None
    """Where the time axis of a sound begins and ends, as shares of the picture's width."""


def picture(image: Float[Tensor, "c h w"]) -> str:
    """A picture, pixel by pixel, as a data URL; what lies outside of [0, 1] is cut off."""
    pixels = (image.detach().float().cpu().clamp(0, 1) * 255).round().byte().movedim(0, -1).squeeze(-1).numpy()
    return webp(Image.fromarray(pixels))


def plot(figure: Figure) -> str:
    """A figure of matplotlib as a data URL, for a light or a dark page."""
    for axes in figure.axes:
        axes.tick_params(colors=_INK)
    for part in figure.findobj(lambda artist: isinstance(artist, Text | Spine) and artist.get_figure() is figure):
        part.set(color=_INK)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130, transparent=True)
    return webp(Image.open(file))


def webp(image: Image.Image, quality: int = 90) -> str:
    """A picture as a data URL: to the bit where it is small, else by what the eye sees, a fifth of its size as PNG."""
    file = io.BytesIO()
    image.save(file, format="webp", quality=quality, lossless=image.width * image.height <= _SMALL)
    return url("image/webp", file)


def url(kind: str, file: io.BytesIO) -> str:
    """The bytes of a file as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
