"""Pictures and players for notebooks, and for the gallery of the documentation."""

from base64 import b64decode
from collections.abc import Mapping
from html import escape
from io import BytesIO

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from tavtorch.lab.panels import Panel, picture, plot, sound_panels


class Panels(list[Panel]):
    """Panels that a notebook shows side by side."""

    def _repr_html_(self) -> str:
        return f'<div class="panels" style="{_ROW}">{"".join(map(_figure, self))}</div>'


def show(things: Mapping[str, Tensor | Figure], sample_rate: int | None = None) -> Panels:
    """The first item of each batch with its caption.

    Args:
        things: pictures `(b, c, h, w)` in [0, 1], masks, or figures of matplotlib; with a rate, waves `(b, c, t)`,
            whose sonograms have one range of decibels.
        sample_rate: in Hz, of waves.
    """
    if sample_rate is not None:
        waves = {caption: wave[0] for caption, wave in things.items() if isinstance(wave, Tensor)}
        if len(waves) < len(things):
            raise ValueError("things: a sample_rate is for waves; show figures and pictures without it.")
        return Panels(sound_panels(waves, sample_rate))
    return Panels(
        Panel(caption, plot(thing) if isinstance(thing, Figure) else picture(thing[0].float()))
        for caption, thing in things.items()
    )


_ROW = "display: flex; flex-wrap: wrap; gap: 12px"


def _figure(panel: Panel) -> str:
    caption = escape(panel.caption)
    player = f'<audio controls preload="none" src="{panel.sound}" style="width: 100%"></audio>' if panel.sound else ""
    with Image.open(BytesIO(b64decode(panel.picture.partition(",")[2]))) as image:
        wide = "560px" if image.width > 1.6 * image.height else "280px"  # a sonogram or a plot
    return (
        f'<figure style="margin: 0; flex: 1 1 {wide}; max-width: {wide}; min-width: 0">'
        f'<img src="{panel.picture}" alt="{caption}" style="width: 100%; image-rendering: auto">{player}'
        f"<figcaption>{caption}</figcaption></figure>"
    )
