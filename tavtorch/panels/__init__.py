"""What a report shows of an item: pictures, plots, and sounds to listen to, each as a `Panel`."""

import base64
import io
from typing import NamedTuple

from matplotlib.figure import Figure


class Panel(NamedTuple):
    """A picture with its caption, and a sound under it where it is one; both as data URLs."""

    caption: str
    picture: str
    sound: str | None = None


def plot(figure: Figure) -> str:
    """A figure of matplotlib as a data URL."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return url("image/png", file)


def url(kind: str, file: io.BytesIO) -> str:
    """The bytes of a file as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
