"""Sounds to listen to, under their sonograms."""

import io
from collections.abc import Sequence

import soundfile
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from tavtorch.audio.sonogram import sonogram
from tavtorch.data.batches import Batch
from tavtorch.panels import Panel, plot, url

_LISTEN = 15.0  # seconds of a song that a page plays


def stems_panels(output: Float[Tensor, "1 s c t"], batch: Batch, *, stems: Sequence[str]) -> list[Panel]:
    """Mixture, estimates and truths of the middle of a song, all drawn to one scale of decibels."""
    rate, wave = batch["inputs"]["sample_rate"], batch["inputs"]["wave"]
    middle, half = wave.shape[-1] // 2, round(_LISTEN / 2 * rate)
    heard = slice(max(0, middle - half), middle + half)
    waves = {"mixture": wave[0]}
    for stem, estimate, truth in zip(stems, output[0], batch["truth"][0], strict=True):
        waves |= {f"{stem}, estimated": estimate, f"{stem}, true": truth}
    top = float(sonogram(wave[0, :, heard]).max())
    return [sound_panel(caption, one[:, heard].float().cpu(), rate, top) for caption, one in waves.items()]


def sound_panel(caption: str, wave: Float[Tensor, "c t"], sample_rate: int, top: float) -> Panel:
    """A player under its sonogram, drawn from `top` dB down to 80 dB below it."""
    levels = sonogram(wave.mean(0))
    figure = Figure(figsize=(6, 2.2), layout="constrained")
    axes = figure.add_subplot(xlabel="time in s", ylabel="frequency in kHz")
    extent = (0.0, wave.shape[-1] / sample_rate, 0.0, sample_rate / 2000)
    axes.imshow(levels, origin="lower", aspect="auto", extent=extent, vmin=top - 80, vmax=top, cmap="magma")
    return Panel(caption, plot(figure), _mp3(wave, sample_rate))


def _mp3(wave: Tensor, sample_rate: int) -> str:
    """MP3 plays in every browser; its rates end at 48 kHz, so that faster waves are brought there."""
    from torchaudio.functional import resample

    rate = min(sample_rate, 48000)
    file = io.BytesIO()
    loud = wave.abs().max().clamp(min=1)  # MP3 would clip what an estimate overshoots
    soundfile.write(file, (resample(wave, sample_rate, rate) / loud).T.numpy(), rate, format="MP3")
    return url("audio/mpeg", file)
