"""Separation of singing from its accompaniment by two harmonic-percussive separations."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.audio.separation.hpss import separate_hpss


def separate_voice(
    wave: Float[Tensor, "b c t"],
    sample_rate: int,
    *,
    windows: tuple[float, float] = (0.512, 0.032),
    seconds: tuple[float, float] = (3.0, 0.2),
    hertz: tuple[float, float] = (25.0, 200.0),
    power: float = 2.0,
) -> Float[Tensor, "b 2 c t"]:
    """Separate songs into singing and accompaniment without training: `separate_hpss` with a long, then a short window.

    The pitch of a voice varies within half a second: with windows that long it is separated as percussive, together
    with drums, while held notes are harmonic. With windows of 30 ms a voice is harmonic and drums are percussive.

        fluctuating = percussive_long(wave),    vocals = harmonic_short(fluctuating),    accompaniment = wave - vocals

    Args:
        wave: `(b, c, t)`.
        sample_rate: in Hz.
        windows: of the two stages, in seconds.
        seconds: of the medians along time in the two stages. Notes held for over half of the first are accompaniment.
        hertz: of the medians along frequency in the two stages.
        power: see `hpss`.

    Source: Tachibana, Ono & Sagayama, "Singing voice enhancement in monaural music signals based on two-stage
    harmonic/percussive sound separation on multiple resolution spectrograms", IEEE/ACM TASLP 22(1), 2014,
    doi:10.1109/TASLP.2013.2287052; here with medians.

    >>> separate_voice(torch.randn(1, 2, 22050), 22050).shape
    torch.Size([1, 2, 2, 22050])
    """
    long, short = (
        partial(separate_hpss, window=window, seconds=along_time, hertz=along_frequency, power=power)
        for window, along_time, along_frequency in zip(windows, seconds, hertz, strict=True)
    )
    fluctuating = long(wave, sample_rate)[:, 1]
    vocals = short(fluctuating, sample_rate)[:, 0]
    return torch.stack((vocals, wave - vocals), dim=1)
