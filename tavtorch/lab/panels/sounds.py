"""Sounds to listen to, under their sonograms."""

import io
from collections.abc import Sequence

import soundfile
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from tavtorch.audio.separation.components import Components, own
from tavtorch.audio.separation.nmf import Factors
from tavtorch.audio.sonogram import sonogram, spectrum
from tavtorch.lab.data.batches import Batch
from tavtorch.lab.panels import Panel, plot, url

_LISTEN = 15.0  # seconds of a song that a page plays
_DEEP = 60.0  # dB under the loudest that a template is drawn to


def stems_panels(output: Float[Tensor, "1 s c t"], batch: Batch, *, stems: Sequence[str]) -> list[Panel]:
    """Mixture, estimates and truths of the middle of a song, all drawn to one scale of decibels."""
    rate, wave = batch["inputs"]["sample_rate"], batch["inputs"]["wave"]
    waves = {"mixture": wave[0]}
    for stem, estimate, truth in zip(stems, output[0], batch["truth"][0], strict=True):
        waves |= {f"{stem}, estimated": estimate, f"{stem}, true": truth}
    return _heard(waves, rate)


def components_panels(output: Components, batch: Batch) -> list[Panel]:
    """The song, the dictionary with its activations, and each component beside the notes that are told to be it."""
    rate, wave, truth = batch["inputs"]["sample_rate"], batch["inputs"]["wave"], batch["truth"]
    stems = output.stems[0]
    apart = stems[None] - truth[0][:, None]
    given = own(-apart.square().sum((-2, -1))[None])[0].tolist()
    true = {k: [n for n, component in enumerate(given) if component == k] for k in range(len(stems))}
    waves = {"the song": wave[0]}
    for k, stem in enumerate(stems):
        waves |= {f"component {k + 1}": stem} | {f"note {n + 1}, true": truth[0, n] for n in true[k]}
    notes = torch.stack([truth[0, numbers].sum(0).mean(0) for numbers in true.values()])
    song, *others = _heard(waves, rate)
    return [
        song,
        Panel("dictionary and activations; grey: the true notes", _dictionary(output.factors, notes, rate)),
        *others,
    ]


def _dictionary(factors: Factors, true: Float[Tensor, "r t"], rate: int) -> str:
    """A row for each component: its spectrum, and how loud it is when, beside how loud what it should be is."""
    w, h = factors.templates[0].cpu(), factors.activations[0].cpu()
    n_fft = 2 * (len(w) - 1)
    kilohertz, time = torch.linspace(0, rate / 2000, len(w)), torch.arange(h.shape[-1]) * (n_fft / 4 / rate)
    told = spectrum(true.cpu(), n_fft=n_fft, hop=n_fft // 4).abs().sum(1)
    levels = 20 * (w / w.amax()).clamp(min=1e-9).log10()
    figure = Figure(figsize=(9, 0.6 + 0.8 * len(h)), layout="constrained")
    rows = figure.subplots(len(h), 2, sharex="col", sharey="col", squeeze=False, width_ratios=(2, 3))
    for k, (left, right) in enumerate(rows):
        left.fill_between(kilohertz[1:], -_DEEP, levels[1:, k], color=f"C{k % 7}", linewidth=0)
        left.set(xscale="log", xlim=(0.05, rate / 2000), ylim=(-_DEEP, 3), ylabel=f"{k + 1}")
        left.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
        left.minorticks_off()
        right.fill_between(time, 0, h[k], color=f"C{k % 7}", linewidth=0)
        right.plot(time, told[k], color="grey", linewidth=1)
        right.set(xlim=(0, float(time[-1])), ylim=(0, 1.05 * float(torch.maximum(h, told).max())), yticks=[])
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
    rows[0][0].set_title("template, dB", fontsize="medium")
    rows[0][1].set_title("activation", fontsize="medium")
    rows[-1][0].set_xlabel("frequency in kHz")
    rows[-1][1].set_xlabel("time in s")
    return plot(figure)


def _heard(waves: dict[str, Float[Tensor, "c t"]], sample_rate: int) -> list[Panel]:
    """The middle of each, all drawn to the decibels of the first."""
    first = next(iter(waves.values()))
    middle, half = first.shape[-1] // 2, round(_LISTEN / 2 * sample_rate)
    heard = slice(max(0, middle - half), middle + half)
    top = float(sonogram(first[:, heard]).max())
    return [sound_panel(caption, one[:, heard].float().cpu(), sample_rate, top) for caption, one in waves.items()]


def sound_panel(caption: str, wave: Float[Tensor, "c t"], sample_rate: int, top: float) -> Panel:
    """A player under its sonogram, drawn from `top` dB down to 80 dB below it."""
    levels = sonogram(wave.mean(0))
    figure = Figure(figsize=(6, 2.2), layout="constrained")
    axes = figure.add_subplot(xlabel="time in s", ylabel="frequency in kHz")
    extent = (0.0, wave.shape[-1] / sample_rate, 0.0, sample_rate / 2000)
    axes.imshow(levels, origin="lower", aspect="auto", extent=extent, vmin=top - 80, vmax=top, cmap="magma")
    picture = plot(figure)
    inside = axes.get_position()
    return Panel(caption, picture, _mp3(wave, sample_rate), span=(inside.x0, inside.x1))


def _mp3(wave: Tensor, sample_rate: int) -> str:
    """MP3 plays in every browser; its rates end at 48 kHz, so that faster waves are brought there."""
    from torchaudio.functional import resample

    rate = min(sample_rate, 48000)
    file = io.BytesIO()
    loud = wave.abs().max().clamp(min=1)  # MP3 would clip what an estimate overshoots
    soundfile.write(file, (resample(wave, sample_rate, rate) / loud).T.numpy(), rate, format="MP3")
    return url("audio/mpeg", file)
