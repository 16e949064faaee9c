"""What the operations on recordings ask of their arguments, said in one place."""

import math

from torch import Tensor


def check_wave(wave: Tensor, sample_rate: int) -> None:
    """Raise unless `wave` is a finite batch `(b, c, t)` that is not empty, at a rate in Hz."""
    if wave.dim() != 3 or wave.numel() == 0:
        raise ValueError(f"wave: expected a batch (b, c, t) with samples in it, got shape {tuple(wave.shape)}.")
    if not bool(wave.isfinite().all()):
        raise ValueError("wave: some samples are NaN or infinite; clean the recording first.")
    if sample_rate < 1:
        raise ValueError(f"sample_rate: expected Hz, a whole number >= 1, got {sample_rate}.")


def check_window(window: float, sample_rate: int) -> int:
    """Samples of a window of so many seconds: the power of two next to it."""
    if not 8 <= window * sample_rate < math.inf:
        raise ValueError(f"window: expected seconds, at least 8 samples of them, got {window}.")
    return 2 ** round(math.log2(window * sample_rate))
