"""Why a song was recognised: its peaks, their pairs, and the offsets that these vote for."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tavtorch.audio.recognition.constellation import Peaks, pairs, unpack
from tavtorch.audio.recognition.landmarks import Recipe, fingerprint
from tavtorch.audio.recognition.library import Library
from tavtorch.audio.recognition.match import Match
from tavtorch.audio.sonogram import sonogram
from tavtorch.lab.data.batches import Batch
from tavtorch.lab.panels import Panel, plot
from tavtorch.lab.panels.sounds import sound_panel


def recognised(output: list[list[Match]], batch: Batch, *, library: Library) -> list[Panel]:
    """The clip, its peaks and pairs over the sonogram, and how many pairs vote for each offset in the song."""
    wave, rate, recipe = batch["inputs"]["wave"], batch["inputs"]["sample_rate"], library.recipe
    marks = fingerprint(wave, rate, recipe)
    answer = output[0][0] if output and output[0] else None
    said = f"{answer.name}, score {answer.score:.1f}{'' if answer.accepted else ', refused'}" if answer else "nothing"
    clip = wave[0].float().cpu()
    panels = [
        sound_panel(f"the clip; recognised: {said}", clip, rate, float(sonogram(clip).max())),
        Panel("peaks of the sonogram", _constellation(clip, rate, marks.peaks, recipe, None)),
        Panel("each with its nearest neighbours", _constellation(clip, rate, marks.peaks, recipe, recipe.neighbours)),
    ]
    if answer:
        (offsets,) = library.offsets(marks, answer.name)
        panels.append(Panel(f"votes for the places in {answer.name}", _votes(offsets)))
    return panels


def _constellation(wave: torch.Tensor, rate: int, peaks: Peaks, recipe: Recipe, neighbours: int | None) -> str:
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.add_subplot(xlabel="time in s", ylabel="frequency in kHz")
    _ground(axes, wave, rate, recipe)
    one = Peaks(*(field.cpu() for field in peaks))
    seconds, kilohertz = recipe.seconds, recipe.rate / recipe.n_fft / 1000
    there = one.time[0] >= 0
    axes.scatter(one.time[0][there] * seconds, one.frequency[0][there] * kilohertz, s=6, color="tab:cyan")
    if neighbours:
        found = pairs(one.loudest(recipe.paired), neighbours)
        known = found.time[0] >= 0
        begin, (low, rise, step) = found.time[0][known], unpack(found.hash[0][known])
        times, tones = torch.stack((begin, begin + step)), torch.stack((low, low + rise))
        axes.plot((times * seconds).numpy(), (tones * kilohertz).numpy(), color="tab:cyan", linewidth=0.4)
    return plot(figure)


def _ground(axes: Axes, wave: torch.Tensor, rate: int, recipe: Recipe) -> None:
    from torchaudio.functional import resample

    levels = sonogram(resample(wave.mean(0), rate, recipe.rate), n_fft=recipe.n_fft, hop=recipe.hop).numpy()
    extent = (0.0, wave.shape[-1] / rate, 0.0, recipe.rate / 2000)
    axes.imshow(levels, origin="lower", aspect="auto", extent=extent, vmin=levels.max() - 80, cmap="magma")


def _votes(offsets: torch.Tensor) -> str:
    """A column for half a second: in the right song nearly all that agree stand in one."""
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.add_subplot(xlabel="place in the song in s", ylabel="votes")
    seconds = offsets.cpu().numpy()
    low, high = (seconds.min(), seconds.max()) if len(seconds) else (0.0, 1.0)
    axes.hist(seconds, bins=np.arange(low, high + 1.0, 0.5).tolist(), color="tab:orange")
    axes.spines[["top", "right"]].set_visible(False)
    return plot(figure)
