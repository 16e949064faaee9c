"""Wave → components: `Components`, the stems of a factorisation and its factors."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from tavtorch.audio.separation.components import Components, assign
from tavtorch.audio.separation.nmf import Factors
from tavtorch.audio.sonogram import spectrum
from tavtorch.lab.data.batches import Batch
from tavtorch.lab.kinds.solutions import convergence_scores
from tavtorch.lab.kinds.stems import write_stems
from tavtorch.lab.kinds.waves import sdr, si_sdr
from tavtorch.lab.panels import Panel, plot, sound_panels

_RANGE = 60.0  # dB below its maximum to which a template is drawn

# score


def components(output: Components, batch: Batch) -> dict[str, Tensor]:
    """How well the components of a song match its notes; `assign` assigns a component to each note.

    - `si_sdr`, `sdr`: see `stems.separation`, means over the notes;
    - `redundant`: fraction of the energy that is in components without a note;
    - `iterations`, `gap`, `converged`: of the factorisation.
    """
    stems, truth = output.stems, batch["truth"]

    # Ratios of every note to every component, (b, n, r).
    size = (len(truth), truth.shape[1], stems.shape[1])
    estimates = stems.unsqueeze(1).expand(*size, -1, -1).flatten(0, 1)
    notes = truth.unsqueeze(2).expand(*size, -1, -1).flatten(0, 1)
    ratios = {"sdr": sdr(estimates, notes).reshape(size), "si_sdr": si_sdr(estimates, notes).reshape(size)}

    # Each note by its component, and the energy of the components that no note has.
    assigned = assign(ratios["sdr"])
    energy = stems.square().sum((-2, -1))
    used = torch.zeros_like(energy).scatter(1, assigned, 1.0)
    columns = {
        f"notes/{measure}": ratios[measure].gather(2, assigned.unsqueeze(2)).mean((1, 2))
        for measure in ("si_sdr", "sdr")
    }
    columns["notes/redundant"] = 1 - (used * energy).sum(1) / energy.sum(1)
    return columns | convergence_scores(output, "notes")


# panels


def components_panels(output: Components, batch: Batch) -> list[Panel]:
    """The song, its templates and activations, and each component followed by the notes that are assigned to it."""
    rate, wave, truth = batch["inputs"]["sample_rate"], batch["inputs"]["wave"], batch["truth"]
    stems = output.stems[0]
    distance = (stems[None] - truth[0][:, None]).square().sum((-2, -1))
    assigned = assign(-distance[None])[0].tolist()
    notes_of = {k: [n for n, component in enumerate(assigned) if component == k] for k in range(len(stems))}

    waves = {"the song": wave[0]}
    for k, stem in enumerate(stems):
        waves |= {f"component {k + 1}": stem} | {f"note {n + 1}, true": truth[0, n] for n in notes_of[k]}
    true = torch.stack([truth[0, numbers].sum(0).mean(0) for numbers in notes_of.values()])
    song, *others = sound_panels(waves, rate)
    dictionary = Panel("dictionary and activations; grey: the true notes", _dictionary(output.factors, true, rate))
    return [song, dictionary, *others]


def _dictionary(factors: Factors, true: Float[Tensor, "r t"], rate: int) -> str:
    """A row for each component: its spectrum, and its activation beside that of the true notes `true`."""
    w, h = factors.templates[0].cpu(), factors.activations[0].cpu()
    n_fft = 2 * (len(w) - 1)
    kilohertz, time = torch.linspace(0, rate / 2000, len(w)), torch.arange(h.shape[-1]) * (n_fft / 4 / rate)
    expected = spectrum(true.cpu(), n_fft=n_fft, hop=n_fft // 4).abs().sum(1)
    levels = 20 * (w / w.amax()).clamp(min=1e-9).log10()
    figure = Figure(figsize=(9, 0.6 + 0.8 * len(h)), layout="constrained")
    rows = figure.subplots(len(h), 2, sharex="col", sharey="col", squeeze=False, width_ratios=(2, 3))
    for k, (left, right) in enumerate(rows):
        left.fill_between(kilohertz[1:], -_RANGE, levels[1:, k], color=f"C{k % 7}", linewidth=0)
        left.set(xscale="log", xlim=(0.05, rate / 2000), ylim=(-_RANGE, 3), ylabel=f"{k + 1}")
        left.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
        left.minorticks_off()
        right.fill_between(time, 0, h[k], color=f"C{k % 7}", linewidth=0)
        right.plot(time, expected[k], color="grey", linewidth=1)
        right.set(xlim=(0, float(time[-1])), ylim=(0, 1.05 * float(torch.maximum(h, expected).max())), yticks=[])
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
    rows[0][0].set_title("template, dB", fontsize="medium")
    rows[0][1].set_title("activation", fontsize="medium")
    rows[-1][0].set_xlabel("frequency in kHz")
    rows[-1][1].set_xlabel("time in s")
    return plot(figure)


# writer


def write_components(
    path: Path,
    output: Components,
    batch: Batch,
    *,
    only: Sequence[str] | None = None,
    suffix: str | None = None,
    subtype: str | None = None,
) -> Path:
    """As `write_stems`, from low to high: `component_1.wav`, …"""
    names = [f"component_{k + 1}" for k in range(output.stems.shape[1])]
    return write_stems(path, output.stems, batch, stems=names, only=only, suffix=suffix, subtype=subtype)
