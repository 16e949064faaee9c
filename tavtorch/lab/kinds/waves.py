"""Wave → wave: `(b, c, t)` to the same, a recording that was cleaned."""

from pathlib import Path

import torch
from torch import Tensor
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio

from tavtorch.lab.data.batches import Batch
from tavtorch.lab.data.files import SoundAbout, write_audio
from tavtorch.lab.data.sound_results import form_of_result
from tavtorch.lab.kinds.solutions import convergence_scores, value_of
from tavtorch.lab.panels import Panel, sound_panels
from tavtorch.solve import Solution

# score


def cleaning(output: Tensor | Solution, batch: Batch) -> dict[str, Tensor]:
    """Similarity of the result, and of the op's input, to the truth, in dB; more is better.

    - `si_sdr`: scale-invariant signal-to-distortion ratio (Le Roux et al. 2019, doi:10.1109/ICASSP.2019.8683855);
    - `sdr`: `10 log10 |s|² / |s - ŝ|²` over all channels and samples;
    - `…_gain`: the improvement of the result over the input;
    - `iterations`, `gap`, `converged`: of a `Solution`.
    """
    columns: dict[str, Tensor] = {}
    waves = {"input": batch["inputs"]["wave"], "result": value_of(output)}
    for measure, ratio in {"si_sdr": si_sdr, "sdr": sdr}.items():
        columns |= {f"{part}/{measure}": ratio(wave, batch["truth"], 1) for part, wave in waves.items()}
        columns[f"result/{measure}_gain"] = columns[f"result/{measure}"] - columns[f"input/{measure}"]
    return columns | convergence_scores(output, "result")


def si_sdr(estimate: Tensor, truth: Tensor, dim: int = 2) -> Tensor:
    """Over the dimensions from `dim` on; NaN if the truth is silent."""
    return _unless_silent(
        scale_invariant_signal_distortion_ratio(estimate.flatten(dim), truth.flatten(dim)), truth.flatten(dim)
    )


def sdr(estimate: Tensor, truth: Tensor, dim: int = 2) -> Tensor:
    """Over the dimensions from `dim` on; NaN if the truth is silent."""
    return _unless_silent(signal_noise_ratio(estimate.flatten(dim), truth.flatten(dim)), truth.flatten(dim))


def _unless_silent(ratio: Tensor, truth: Tensor) -> Tensor:
    return torch.where(truth.square().sum(-1) > 0, ratio, torch.nan)


# panels


def cleaned(output: Tensor | Solution, batch: Batch) -> list[Panel]:
    """Input, result, truth, and what was removed, drawn with one range of decibels, with players."""
    before, after = batch["inputs"]["wave"][0], value_of(output)[0]
    waves = {"input": before, "result": after, "truth": batch["truth"][0], "input - result": before - after}
    return sound_panels(waves, batch["inputs"]["sample_rate"])


# writer


def write_wave(
    path: Path,
    output: Tensor | Solution,
    batch: Batch,
    *,
    suffix: str | None = None,
    subtype: str | None = None,
) -> Path:
    """A recording beside `path`, which is returned: `<path>.flac`, …; tags, format and encoding as in `write_stems`.

    Args:
        suffix: the format, such as `.flac`; None is that of the recording's file.
        subtype: the encoding, such as `PCM_16`; None is that of the recording's file.
    """
    wave, rate = value_of(output)[0], batch["inputs"]["sample_rate"]
    form = form_of_result(path, wave, rate, about_source(batch), suffix=suffix, subtype=subtype)
    place = path if path.suffix.lower() == form.suffix else path.with_name(path.name + form.suffix)
    write_audio(place, wave, rate, subtype=form.subtype, tags=form.tags)
    return place


def about_source(batch: Batch) -> SoundAbout | None:
    """How the file of the one item is stored; None if it is of no file."""
    return batch["file"][0]["about"] if "file" in batch else None
