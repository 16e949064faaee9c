"""What a page shows of an item: pictures, plots and sounds, each as a `Panel`."""

import base64
import io
from typing import NamedTuple

import numpy as np
import soundfile
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.spines import Spine
from matplotlib.text import Text
from PIL import Image
from torch import Tensor

from tavtorch.audio.sonogram import sonogram

_INK = "#7f7f7f"  # legible on white and on black: plots are transparent
_SMALL = 128**2  # pixels, up to which a picture is stored without loss
_SECONDS = 15.0  # of a recording that a page plays
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz


class Panel(NamedTuple):
    """A picture with its caption, and the sound that it shows if it is a sonogram; both as data URLs."""

    caption: str
    picture: str
    sound: str | None = None
    before: str | None = None
    """Caption of the panel that a slider compares this one with."""
    span: tuple[float, float] | None = None
    """Where the time axis of a sonogram begins and ends, as fractions of the picture's width."""


def picture(image: Float[Tensor, "c h w"]) -> str:
    """A picture, pixel by pixel, as a data URL; values are clipped to [0, 1]."""
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


def image_figure(image: Float[Tensor, "c h w"]) -> tuple[Figure, Axes]:
    """A figure that shows an image, with axes in its pixels to draw on."""
    h, w = image.shape[-2:]
    figure = Figure(figsize=(5.2, max(1.0, 5.2 * h / w)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    pixels = image.detach().float().cpu().clamp(0, 1).movedim(0, -1).squeeze(-1).numpy()
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1)
    return figure, axes


def sound_panels(waves: dict[str, Float[Tensor, "c t"]], sample_rate: int) -> list[Panel]:
    """The middle 15 s of each wave, all drawn with the range of decibels of the first."""
    first = next(iter(waves.values()))
    middle, half = first.shape[-1] // 2, round(_SECONDS / 2 * sample_rate)
    shown = slice(max(0, middle - half), middle + half)
    top = float(sonogram(first[:, shown].nan_to_num(0.0, 0.0, 0.0)).max())
    return [sound_panel(caption, wave[:, shown].float().cpu(), sample_rate, top) for caption, wave in waves.items()]


def sound_panel(caption: str, wave: Float[Tensor, "c t"], sample_rate: int, top: float) -> Panel:
    """A player under its sonogram, drawn from `top` dB down to 80 dB below it.

    Samples that are no numbers are silence there, and the caption says so.
    """
    if not bool(wave.isfinite().all()):
        caption, wave = f"{caption}: silence where samples are NaN or infinite", wave.nan_to_num(0.0, 0.0, 0.0)
    levels = sonogram(wave.mean(0))
    figure = Figure(figsize=(6, 2.2), layout="constrained")
    axes = figure.add_subplot(xlabel="time in s", ylabel="frequency in kHz")
    extent = (0.0, wave.shape[-1] / sample_rate, 0.0, sample_rate / 2000)
    axes.imshow(levels, origin="lower", aspect="auto", extent=extent, vmin=top - 80, vmax=top, cmap="magma")
    drawn = plot(figure)
    inside = axes.get_position()
    return Panel(caption, drawn, _mp3(wave, sample_rate), span=(inside.x0, inside.x1))


def _mp3(wave: Tensor, sample_rate: int) -> str:
    """MP3 plays in every browser. It has nine rates and two channels: waves are brought to the next one, or to mono."""
    rate = next((known for known in _MP3_RATES if known >= sample_rate), _MP3_RATES[-1])
    samples = (wave if wave.shape[0] <= 2 else wave.mean(0, keepdim=True)).numpy()
    if rate != sample_rate:
        from scipy.signal import resample  # of any ratio; the filters of torchaudio need gigabytes for some

        samples = resample(samples, max(1, round(samples.shape[-1] * rate / sample_rate)), axis=-1)
    file = io.BytesIO()
    peak = max(1.0, float(np.abs(samples).max()))  # MP3 would clip an estimate that is above full scale
    soundfile.write(file, samples.T / peak, rate, format="MP3")
    return url("audio/mpeg", file)


def webp(image: Image.Image, quality: int = 90) -> str:
    """A picture as a data URL, without loss if it is small, else with: a fifth of the size of a PNG."""
    file = io.BytesIO()
    image.save(file, format="webp", quality=quality, lossless=image.width * image.height <= _SMALL)
    return url("image/webp", file)


def url(kind: str, file: io.BytesIO) -> str:
    """The bytes of a file as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
