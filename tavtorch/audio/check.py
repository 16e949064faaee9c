"""The checks that all operations on recordings share: of a wave, its sample rate and a window's length."""

import math
from numbers import Integral

import torch
from torch import Tensor

from tavtorch.derivative import holds


def check_wave(wave: Tensor, sample_rate: int | float) -> None:
    """Raise a ValueError unless `wave` is a finite, non-empty batch `(b, c, t)` of floats at a whole rate in Hz."""
    if wave.dim() != 3 or wave.numel() == 0:
        raise ValueError(f"wave: expected a batch (b, c, t) with samples in it, got shape {tuple(wave.shape)}.")
    check_samples(wave)
    if not finite(wave):
        raise ValueError("wave: some samples are NaN or infinite; clean the recording first.")
    check_rate(sample_rate)


def check_samples(wave: Tensor) -> None:
    """Raise a ValueError unless samples are float32 or float64."""
    if wave.dtype not in (torch.float32, torch.float64):
        remedy = "call wave.float()"
        if not wave.is_floating_point():
            remedy += " and divide by the full scale, 32768 for 16-bit integers"
        raise ValueError(f"wave: expected float32 or float64 samples in [-1, 1], got {wave.dtype}; {remedy}.")


def finite(wave: Tensor) -> bool:
    """Whether no sample is NaN or infinite, in no memory: the extremes of a wave tell it."""
    return wave.numel() == 0 or holds(torch.stack(wave.detach().aminmax()).isfinite())


def check_rate(sample_rate: int | float) -> None:
    """Raise a ValueError unless `sample_rate` is a whole number of Hz, 1 or more."""
    if not isinstance(sample_rate, Integral):
        raise ValueError(f"sample_rate: expected a whole number of Hz, got {sample_rate!r}; call round(sample_rate).")
    if sample_rate < 1:
        raise ValueError(f"sample_rate: expected Hz, a whole number >= 1, got {sample_rate}.")


def check_window(window: float, sample_rate: int) -> int:
    """Length in samples of a window of `window` seconds, rounded to a power of two; a ValueError below 8 samples."""
    if not 8 <= window * sample_rate < math.inf:
        raise ValueError(f"window: expected seconds, at least 8 samples of them, got {window}.")
    return 2 ** round(math.log2(window * sample_rate))
