"""Short-time Fourier transform, its inverse, and its power in decibels."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from tavtorch.audio.check import check_samples


def spectrum(wave: Float[Tensor, "*b t"], *, n_fft: int = 1024, hop: int = 256) -> Complex[Tensor, "*b f frames"]:
    """Short-time Fourier transform with a periodic Hann window.

        X[f, k] = sum_n  w[n] x[n + k hop - n_fft / 2]  exp(-2 i pi f n / n_fft)

    Args:
        wave: samples `(..., t)` of any length; beyond its ends the signal is zero.
        n_fft: window length in samples; more gives finer frequencies and coarser times.
        hop: samples from one frame to the next. At most `n_fft // 2`, so that `waveform` can invert it; at most
            `n_fft // 4` if the spectrum will be changed, for else the last samples have nearly no window over them.

    Returns:
        `(..., n_fft // 2 + 1, 1 + t // hop)`, complex; frame `k` is centred on sample `k * hop`.

    Source: Allen, "Short term spectral analysis, synthesis, and modification by discrete Fourier transform", IEEE TASSP
    25(3), 1977, doi:10.1109/TASSP.1977.1162950.

    >>> spectrum(torch.zeros(2, 1, 16000)).shape
    torch.Size([2, 1, 513, 63])
    """
    if wave.numel() == 0:
        raise ValueError(f"wave: expected at least one sample, got shape {tuple(wave.shape)}; skip empty recordings.")
    check_samples(wave)
    if not 1 <= hop <= n_fft // 2:
        raise ValueError(f"hop: expected 1 to n_fft // 2 = {n_fft // 2} samples, got {hop}; n_fft // 4 is usual.")
    window = torch.hann_window(n_fft, dtype=wave.dtype, device=wave.device)
    frames = torch.stft(
        wave.reshape(-1, wave.shape[-1]), n_fft, hop, window=window, pad_mode="constant", return_complex=True
    )
    return frames.reshape(*wave.shape[:-1], *frames.shape[1:])


def waveform(spectrum: Complex[Tensor, "*b f frames"], length: int, *, hop: int = 256) -> Float[Tensor, "*b t"]:
    """Inverse of `spectrum` in the least-squares sense: weighted overlap-add of the frames.

    Exact for the spectrum of a wave; for any other, the wave whose spectrum is nearest.

    Args:
        spectrum: `(..., f, frames)` with `f = n_fft // 2 + 1`.
        length: samples to return.
        hop: the hop that `spectrum` was taken with.

    Source: Griffin & Lim, "Signal estimation from modified short-time Fourier transform", IEEE TASSP 32(2), 1984,
    doi:10.1109/TASSP.1984.1164317.
    """
    n_fft = 2 * (spectrum.shape[-2] - 1)
    window = torch.hann_window(n_fft, dtype=spectrum.real.dtype, device=spectrum.device)
    wave = torch.istft(spectrum.reshape(-1, *spectrum.shape[-2:]), n_fft, hop, window=window, length=length)
    return wave.reshape(*spectrum.shape[:-2], length)


def sonogram(
    wave: Float[Tensor, "*b t"], *, n_fft: int = 1024, hop: int = 256, floor: float = -100.0
) -> Float[Tensor, "*b f frames"]:
    """Power of the spectrum in decibels, `max(10 log10 |X|², floor)`; without the floor, silence would be -inf.

    A sine of amplitude 1 on a bin reaches `20 log10(n_fft / 4)` dB: 48.2 at `n_fft = 1024`.

    >>> sonogram(torch.zeros(1, 1, 4000)).unique()
    tensor([-100.])
    """
    power = spectrum(wave, n_fft=n_fft, hop=hop).abs().square()
    return 10 * power.clamp(min=10 ** (floor / 10)).log10()
