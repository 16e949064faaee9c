"""Scores of separated and recognised songs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio

from tavtorch.audio.recognition.match import Match
from tavtorch.audio.separation.components import Components, own
from tavtorch.audio.sonogram import spectrum, waveform
from tavtorch.lab.metrics.runs import went


class Baseline(NamedTuple):
    """Something simple to compare a separation with."""

    op: Callable[..., Tensor]
    """Takes `(wave, sample_rate)`, gives stems `(b, s, c, t)`,"""
    stems: Sequence[str]
    """these."""


def separation(
    output: Float[Tensor, "b s c t"],
    batch: dict[str, Any],
    *,
    stems: Sequence[str],
    n_fft: int = 1024,
    hop: int = 256,
    baselines: Mapping[str, Baseline] | None = None,
) -> dict[str, Tensor]:
    """Scores of estimated stems, for each stem and song, in dB; more is better.

    - `si_sdr`: scale-invariant signal-to-distortion ratio (Le Roux et al. 2019, doi:10.1109/ICASSP.2019.8683855);
    - `sdr`: `10 log10 |s|² / |s - ŝ|²` over all channels and samples, as in the Music Demixing Challenge 2021;
    - `…_mixture`: what taking the mixture for the stem reaches, and `…_gain`, the improvement over it;
    - `…_oracle`: what the ideal ratio mask on a spectrum of `n_fft` and `hop` reaches, the ceiling of what masks there.

    - `…_<name>`: what each of the baselines reaches, where it knows all of the stems.

    A stem that is silent in the truth has no ratio: NaN, left out of the medians.
    """
    truth, mixture = batch["truth"], batch["inputs"]["wave"].unsqueeze(1)
    oracle = ideal_ratio_mask(mixture, truth, n_fft=n_fft, hop=hop)
    columns, simple = {}, _by_baselines(batch["inputs"], truth, stems, baselines or {})
    for measure, ratio in {"si_sdr": _si_sdr, "sdr": _sdr}.items():
        reached, nothing_done = ratio(output, truth), ratio(mixture.expand_as(truth), truth)
        columns[measure], columns[f"{measure}_mixture"] = reached, nothing_done
        columns[f"{measure}_gain"], columns[f"{measure}_oracle"] = reached - nothing_done, ratio(oracle, truth)
        columns |= {f"{measure}_{name}": ratio(estimates, truth) for name, estimates in simple.items()}
    return {f"{stem}/{name}": values[:, i] for i, stem in enumerate(stems) for name, values in columns.items()}


def _by_baselines(
    inputs: dict[str, Any], truth: Tensor, stems: Sequence[str], baselines: Mapping[str, Baseline]
) -> dict[str, Tensor]:
    """The estimates of those baselines that know all of the stems."""
    found = {}
    for name, (op, known) in baselines.items():
        if set(stems) <= set(known):
            estimates = op(inputs["wave"], inputs["sample_rate"])
            found[name] = estimates[:, [list(known).index(stem) for stem in stems]]
    return found


def components(output: Components, batch: dict[str, Any]) -> dict[str, Tensor]:
    """How well the components of a song are its notes, each note by the component that `own` gives it.

    - `si_sdr`, `sdr`: see `separation`, means over the notes;
    - `redundant`: share of the sound that is in components which no note was given;
    - `iterations`, `gap`, `converged`: of the factorisation.
    """
    stems, truth = output.stems, batch["truth"]
    size = (len(truth), truth.shape[1], stems.shape[1])
    pairs = (stems.unsqueeze(1).expand(*size, -1, -1), truth.unsqueeze(2).expand(*size, -1, -1))
    sdr, si_sdr = (ratio(*(wave.flatten(0, 1) for wave in pairs)).reshape(size) for ratio in (_sdr, _si_sdr))
    given = own(sdr)
    energy = stems.square().sum((-2, -1))
    heard = torch.zeros_like(energy).scatter(1, given, 1.0)
    columns = {
        "notes/si_sdr": si_sdr.gather(2, given.unsqueeze(2)).mean((1, 2)),
        "notes/sdr": sdr.gather(2, given.unsqueeze(2)).mean((1, 2)),
        "notes/redundant": 1 - (heard * energy).sum(1) / energy.sum(1),
    }
    return columns | went("notes", output.factors.solution)


def bss_eval(
    output: Float[Tensor, "b s c t"], batch: dict[str, Any], *, stems: Sequence[str], sample_rate: int
) -> dict[str, Tensor]:
    """BSS-eval v4 (SiSEC 2018) by the package `museval`: medians over frames of one second, in dB. Minutes a song.

    Source: Stöter, Liutkus & Ito, "The 2018 signal separation evaluation campaign", doi:10.1007/978-3-319-93764-9_28.
    """
    try:
        from museval.metrics import bss_eval as evaluate
    except ImportError as error:
        raise ValueError("metrics=bss_eval needs the package museval: pip install 'tavtorch[museval]'") from error
    scores: dict[str, list[float]] = {}
    for estimate, truth in zip(output.cpu(), batch["truth"].cpu(), strict=True):
        ratios = evaluate(truth.mT.double().numpy(), estimate.mT.double().numpy(), sample_rate, sample_rate)[:4]
        for measure, table in zip(("sdr", "isr", "sir", "sar"), ratios, strict=True):
            for stem, frames in zip(stems, torch.from_numpy(table), strict=True):
                scores.setdefault(f"{stem}/{measure}_v4", []).append(float(frames.nanmedian()))
    return {name: torch.tensor(values) for name, values in scores.items()}


def ideal_ratio_mask(
    mixture: Float[Tensor, "b 1 c t"], truth: Float[Tensor, "b s c t"], *, n_fft: int = 1024, hop: int = 256
) -> Float[Tensor, "b s c t"]:
    """The stems by the mask `|S_i| / Σ|S_j|` made from the truth: the best that a magnitude mask can hope for."""
    length, padding = truth.shape[-1], -truth.shape[-1] % hop  # whole hops: the last samples lie under full windows
    truth, mixture = (torch.nn.functional.pad(wave, (0, padding)) for wave in (truth, mixture))
    magnitude = spectrum(truth, n_fft=n_fft, hop=hop).abs()
    total = magnitude.sum(1, keepdim=True)
    mask = magnitude / torch.where(total > 0, total, 1)
    return waveform(mask * spectrum(mixture, n_fft=n_fft, hop=hop), length + padding, hop=hop)[..., :length]


def _si_sdr(estimate: Tensor, truth: Tensor) -> Tensor:
    return _known(scale_invariant_signal_distortion_ratio(estimate.flatten(2), truth.flatten(2)), truth)


def _sdr(estimate: Tensor, truth: Tensor) -> Tensor:
    return _known(signal_noise_ratio(estimate.flatten(2), truth.flatten(2)), truth)


def _known(ratio: Tensor, truth: Tensor) -> Tensor:
    """NaN where the true stem is silent."""
    return torch.where(truth.flatten(2).square().sum(-1) > 0, ratio, torch.nan)


def recognition(output: list[list[Match]], batch: dict[str, Any]) -> dict[str, Tensor]:
    """Was the song of a clip named? By the noise on it, as 0 or 1, whose mean is a share.

    - `recall@1`: the best answer is the right song, whatever its score;
    - `recall`: and it was accepted;
    - `unknown accepted`: an answer was accepted although the library has no such song.
    """
    (noise,) = set(batch["noise"])
    best = [answers[0] if answers else None for answers in output]
    right = torch.tensor([a is not None and a.name == song for a, song in zip(best, batch["song"], strict=True)])
    accepted = torch.tensor([a is not None and a.accepted for a in best])
    known = torch.tensor([song != "" for song in batch["song"]])
    return {
        f"{noise}/recall@1": torch.where(known, right.float(), torch.nan),
        f"{noise}/recall": torch.where(known, (right & accepted).float(), torch.nan),
        f"{noise}/unknown accepted": torch.where(known, torch.nan, accepted.float()),
    }
