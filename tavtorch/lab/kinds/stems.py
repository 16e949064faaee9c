"""Wave → stems: `(b, s, c, t)`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.audio.sonogram import spectrum, waveform
from tavtorch.lab.data.batches import Batch
from tavtorch.lab.data.sound_results import planned_form
from tavtorch.lab.data.stem_files import Stems, write_stem_files
from tavtorch.lab.kinds.waves import about_source, sdr, si_sdr
from tavtorch.lab.panels import Panel, sound_panels

RESIDUAL = "residual"  # the name of what an op leaves over, such as `hpss` with a margin above 1

# score


class Baseline(NamedTuple):
    """A simple separator to compare a separation with."""

    op: Callable[..., Tensor]
    """Called as `op(wave, sample_rate)`; returns stems `(b, s, c, t)`."""
    stems: Sequence[str]
    """Their names, in order."""


def separation(
    output: Float[Tensor, "b s c t"],
    batch: Batch,
    *,
    stems: Sequence[str],
    n_fft: int = 1024,
    hop: int = 256,
    baselines: Mapping[str, Baseline] | None = None,
) -> dict[str, Tensor]:
    """Scores of estimated stems, for each stem and song, in dB; more is better.

    - `si_sdr`: scale-invariant signal-to-distortion ratio (Le Roux et al. 2019, doi:10.1109/ICASSP.2019.8683855);
    - `sdr`: `10 log10 |s|² / |s - ŝ|²` over all channels and samples, as in the Music Demixing Challenge 2021;
    - `…_mixture`: of the mixture taken as the estimate; `…_gain`: the improvement over it;
    - `…_oracle`: of the ideal ratio mask on a spectrum of `n_fft` and `hop`, the upper bound of magnitude masks;
    - `…_<name>`: of each baseline that gives all of the stems.

    A stem that is silent in the truth has no ratio: NaN, which the medians leave out.
    """
    output = _without_residual(output, stems)
    truth, mixture = batch["truth"], batch["inputs"]["wave"].unsqueeze(1)
    oracle = ideal_ratio_mask(mixture, truth, n_fft=n_fft, hop=hop)
    others = _of_baselines(batch["inputs"], stems, baselines or {})
    columns: dict[str, Tensor] = {}
    for measure, ratio in {"si_sdr": si_sdr, "sdr": sdr}.items():
        reached = ratio(output, truth)
        unchanged = ratio(mixture.expand_as(truth), truth)
        columns |= {measure: reached, f"{measure}_mixture": unchanged, f"{measure}_gain": reached - unchanged}
        columns[f"{measure}_oracle"] = ratio(oracle, truth)
        columns |= {f"{measure}_{name}": ratio(estimates, truth) for name, estimates in others.items()}
    return {f"{stem}/{name}": values[:, i] for i, stem in enumerate(stems) for name, values in columns.items()}


def _of_baselines(inputs: dict[str, Any], stems: Sequence[str], baselines: Mapping[str, Baseline]) -> dict[str, Tensor]:
    """The estimates of the baselines that give all of the stems."""
    estimates = {}
    for name, (op, known) in baselines.items():
        if set(stems) <= set(known):
            found = op(inputs["wave"], inputs["sample_rate"])
            estimates[name] = found[:, [list(known).index(stem) for stem in stems]]
    return estimates


def bss_eval(
    output: Float[Tensor, "b s c t"], batch: Batch, *, stems: Sequence[str], sample_rate: int
) -> dict[str, Tensor]:
    """BSS-eval v4 (SiSEC 2018) by the package `museval`: medians over frames of one second, in dB. Minutes per song.

    Source: Stöter, Liutkus & Ito, "The 2018 signal separation evaluation campaign", doi:10.1007/978-3-319-93764-9_28.
    """
    try:
        from museval.metrics import bss_eval as evaluate
    except (ImportError, RuntimeError) as error:  # of a package that museval brings, without the program ffmpeg
        raise ValueError(
            "metrics=bss_eval needs the package museval, pip install 'tavtorch[museval]', and the program ffmpeg"
        ) from error
    scores: dict[str, list[float]] = {}
    output = _without_residual(output, stems)
    for estimate, truth in zip(output.cpu(), batch["truth"].cpu(), strict=True):
        ratios = evaluate(truth.mT.double().numpy(), estimate.mT.double().numpy(), sample_rate, sample_rate)[:4]
        for measure, table in zip(("sdr", "isr", "sir", "sar"), ratios, strict=True):
            for stem, frames in zip(stems, torch.from_numpy(table), strict=True):
                scores.setdefault(f"{stem}/{measure}_v4", []).append(float(frames.nanmedian()))
    return {name: torch.tensor(values) for name, values in scores.items()}


def ideal_ratio_mask(
    mixture: Float[Tensor, "b 1 c t"], truth: Float[Tensor, "b s c t"], *, n_fft: int = 1024, hop: int = 256
) -> Float[Tensor, "b s c t"]:
    """The stems by the mask `|S_i| / Σ|S_j|` of the true stems: the best estimate by a magnitude mask."""
    length, padding = truth.shape[-1], -truth.shape[-1] % hop  # a multiple of hop, so that every window is complete
    truth, mixture = (torch.nn.functional.pad(wave, (0, padding)) for wave in (truth, mixture))
    magnitude = spectrum(truth, n_fft=n_fft, hop=hop).abs()
    total = magnitude.sum(1, keepdim=True)
    mask = magnitude / torch.where(total > 0, total, 1)
    return waveform(mask * spectrum(mixture, n_fft=n_fft, hop=hop), length + padding, hop=hop)[..., :length]


def part_names(stems: Sequence[str], output: Tensor) -> list[str]:
    """A name for each part of an output: the stems, and `residual` if there is one part more than stems."""
    names, count = list(stems), output.shape[1]
    if count == len(names) + 1:
        names.append(RESIDUAL)
    if count != len(names):
        raise ValueError(f"form.stems: the op gives {count} stems and these are {len(names)}: {names}; name each stem.")
    return names


def _without_residual(output: Tensor, stems: Sequence[str]) -> Tensor:
    """The stems that have a truth."""
    return output[:, : len(part_names(stems, output)[: len(stems)])]


# panels


def stems_panels(output: Float[Tensor, "1 s c t"], batch: Batch, *, stems: Sequence[str]) -> list[Panel]:
    """Mixture, estimates and true stems of the middle of a song, all drawn with one range of decibels."""
    waves = {"mixture": batch["inputs"]["wave"][0]}
    true = dict(zip(stems, batch["truth"][0], strict=True))
    for name, estimate in zip(part_names(stems, output), output[0], strict=True):
        waves[f"{name}, estimated"] = estimate
        if name in true:
            waves[f"{name}, true"] = true[name]
    return sound_panels(waves, batch["inputs"]["sample_rate"])


# writer


def write_stems(
    path: Path,
    output: Float[Tensor, "1 s c t"] | Callable[[], Iterator[Float[Tensor, "1 s c _n"]]],
    batch: Batch,
    *,
    stems: Sequence[str],
    only: Sequence[str] | None = None,
    suffix: str | None = None,
    subtype: str | None = None,
) -> Path:
    """One file per stem in the folder `path`, which is returned: `vocals.wav`, …

    Rate, channels, tags, format and encoding are those of the song's file; see `planned_form`, and `write_stem_files`
    for what becomes of stems beyond [-1, 1].

    Args:
        output: the stems, or a function that begins them in blocks.
        stems: the names of the parts of the output.
        only: the stems that are written; None writes all.
        suffix: the format, such as `.flac`.
        subtype: the encoding, such as `PCM_16`.
    """
    inputs = batch["inputs"]
    if isinstance(output, Tensor):
        names, channels, frames, counted = part_names(stems, output), output.shape[2], output.shape[3], True
    else:
        source = inputs["blocks"]
        names, channels, frames, counted = list(stems), source.channels, source.frames, source.counted
    wanted = names if only is None else only
    if not wanted or not set(wanted) <= set(names):
        raise ValueError(f"task.save.only: expected some of {', '.join(names)}, got {list(wanted)}.")
    rate = inputs["sample_rate"]
    form = planned_form(path, channels, rate, about_source(batch), suffix=suffix, subtype=subtype)

    def blocks() -> Iterator[Tensor]:
        return (block[0] for block in ([output] if isinstance(output, Tensor) else output()))

    write_stem_files(path, blocks, Stems(names, wanted, rate, channels, frames, counted), form)
    return path
