"""Conversion between sample rates, whose memory stays bounded at every pair of rates."""

from fractions import Fraction
from math import ceil

from torch import Tensor
from torch.nn.functional import pad

from tavtorch.precision import exact


def rate_ratio(sample_rate: int, rate: int) -> Fraction:
    """`rate / sample_rate` as a fraction whose denominator is at most 1000.

    The memory of a resampler grows with the square of the denominator: from 44,101 to 16,000 Hz it would take 9 GB.
    Where the fraction is not exact, the pitch is off by at most 0.051 % (sample rates from 8 to 192 kHz).

    >>> rate_ratio(44100, 16000), rate_ratio(44101, 16000)
    (Fraction(160, 441), Fraction(119, 328))
    """
    ratio = Fraction(rate, sample_rate).limit_denominator(1000)
    if ratio == 0:
        raise ValueError(f"sample_rate: expected less than {1000 * rate} Hz, got {sample_rate}.")
    return ratio


@exact()
def resampled(wave: Tensor, ratio: Fraction) -> Tensor:
    """`wave (..., t)` at `ratio` times its rate, `(..., ceil(ratio * t))`, under autocast too."""
    from torchaudio.functional import resample  # here, so that importing tavtorch does not load torchaudio

    length = ceil(ratio * wave.shape[-1])
    result = resample(wave, ratio.denominator, ratio.numerator)
    if result.shape[-1] < length:  # torchaudio rounds the length in float32, and long waves may lack their last sample
        result = resample(pad(wave, (0, ratio.denominator)), ratio.denominator, ratio.numerator)
    return result[..., :length]
