"""Losses for the training of networks: distances between estimated and true stems `(b, s, c, t)`, one number an item.

`magnitude_mae`, `magnitude_mse` and `mask_cross_entropy` are the course's and compare spectra; the rest compare waves.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.audio.sonogram import spectrum

Stems = Float[Tensor, "b s c t"]
PerItem = Float[Tensor, " b"]


def magnitude_mae(estimate: Stems, truth: Stems) -> PerItem:
    """Mean of `| |Ŝ| - |S| |` over stems, channels, frequencies and frames, Ŝ and S their spectra."""
    return _mean((_magnitude(estimate) - _magnitude(truth)).abs())


def magnitude_mse(estimate: Stems, truth: Stems) -> PerItem:
    """Mean of `(|Ŝ| - |S|)²` as in `magnitude_mae`; the course had better scores with it."""
    return _mean((_magnitude(estimate) - _magnitude(truth)).square())


def mask_cross_entropy(estimate: Stems, truth: Stems) -> PerItem:
    """Cross-entropy between ideal and estimated ratio masks `|S_i| / Σ|S_j|`; the course could not train with it."""
    estimate, truth = _magnitude(estimate), _magnitude(truth)
    tiny = torch.finfo(truth.dtype).tiny ** 0.5
    ideal = truth / truth.sum(1, keepdim=True).clamp(min=tiny)
    log_mask = (estimate / estimate.sum(1, keepdim=True).clamp(min=tiny)).clamp(min=1e-6).log()
    return _mean(-ideal * log_mask)


def waveform_mae(estimate: Stems, truth: Stems) -> PerItem:
    """Mean of `|ŝ - s|` over samples and stems, divided by the mean of `|mixture|`: invariant to the gain.

    The divisor is at least 1e-4 (-80 dB), so that excerpts below count less.
    """
    loudness = _mean(truth.sum(1, keepdim=True).abs())
    return _mean((estimate - truth).abs()) / loudness.clamp(min=1e-4)


def negative_si_sdr(estimate: Stems, truth: Stems, *, floor: float = 1e-3) -> PerItem:
    """Minus the scale-invariant signal-to-distortion ratio in dB, mean over stems.

        SI-SDR = 10 log10( |a s|² / |ŝ - a s|² ),        a = <ŝ, s> / <s, s>

    `floor` times the energy of the mixture is added to numerator and denominator: a silent stem gives a finite number,
    and no stem gains anything above `10 log10(1 / floor)` dB.

    Source: Le Roux, Wisdom, Erdogan & Hershey, "SDR – half-baked or well done?", ICASSP 2019,
    doi:10.1109/ICASSP.2019.8683855.
    """
    estimate, truth = estimate.flatten(2).float(), truth.flatten(2).float()
    margin = floor * truth.sum(1).square().sum(-1, keepdim=True) + 1e-8
    energy = truth.square().sum(-1)
    target = ((estimate * truth).sum(-1) / (energy + 1e-8)).unsqueeze(-1) * truth
    noise = (estimate - target).square().sum(-1)
    return -10 * ((target.square().sum(-1) + margin) / (noise + margin)).log10().mean(1)


def _magnitude(stems: Tensor) -> Tensor:
    return spectrum(stems.float()).abs()


def _mean(error: Tensor) -> Tensor:
    return error.flatten(1).mean(1)
