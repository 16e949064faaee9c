"""Harmonic and percussive sounds apart: lines along time and lines along frequency, by medians."""

import math
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.audio.check import check_wave, check_window
from tavtorch.audio.separation.median import running_median
from tavtorch.audio.sonogram import spectrum as transform
from tavtorch.audio.sonogram import waveform
from tavtorch.solve import compiled

AT_ONCE = 2**22  # elements that a CPU separates together: more would be memory fresh from the system each time
PIECE = 2048  # frames of a long song that are separated at once
SECONDS, HERTZ = 1.4, 330.0  # lengths of the medians that part drums from the rest in recordings


class Pair(NamedTuple):
    """What sounds on and what is struck, each of the shape of the spectrum."""

    harmonic: Tensor
    percussive: Tensor


def hpss(
    spectrum: Tensor,
    *,
    kernel: int | tuple[int, int] = (17, 17),
    power: float = 2.0,
    margin: float | tuple[float, float] = 1.0,
) -> Pair:
    """Harmonic-percussive separation: a median along time keeps what sounds on, one along frequency what is struck.

        H = median_time |X|,    P = median_frequency |X|,
        harmonic = X H^p / (H^p + (m_h P)^p),    percussive = X P^p / (P^p + (m_p H)^p).

    With margins of 1 the two add up to `X`; with larger ones `X - harmonic - percussive` is a third sound, neither.
    The gradient runs through the masks: to a value that is a median, it goes whole.

    Args:
        spectrum: `(..., f, t)`, complex or real; of a real one the medians are taken of its absolute value too.
        kernel: `(harmonic, percussive)`: odd lengths of the median along time, in frames, and of that along frequency,
            in bins; one number for both. Longer asks more of a sound to be called a line. A kernel may be longer than
            the spectrum, which is mirrored at its borders.
        power: p; more is harder, `math.inf` gives masks of 0 and 1 (and 0 in both where H = m P).
        margin: `(m_h, m_p)`, at least 1: by how much one must exceed the other; one number for both.

    Source: FitzGerald, "Harmonic/percussive separation using median filtering", DAFx 2010; margins: Driedger, Müller &
    Disch, "Extending harmonic-percussive separation of audio signals", ISMIR 2014.

    >>> tone = torch.zeros(1, 1, 64, 64); tone[..., 20, :] = 1.0          # a line along time
    >>> [part.sum().item() for part in hpss(tone)]
    [64.0, 0.0]
    """
    if spectrum.dim() > 2 and spectrum.is_cpu and spectrum.numel() > AT_ONCE:
        items = spectrum.flatten(0, -3)
        parts = Pair(torch.empty_like(items), torch.empty_like(items))
        for i, item in enumerate(items):
            parts.harmonic[i], parts.percussive[i] = hpss(item, kernel=kernel, power=power, margin=margin)
        return Pair(*(part.reshape(spectrum.shape) for part in parts))
    masks = hpss_masks(spectrum.abs(), kernel=kernel, power=power, margin=margin)
    return Pair(_masked(spectrum, masks.harmonic), _masked(spectrum, masks.percussive))


def hpss_masks(
    magnitude: Tensor,
    *,
    kernel: int | tuple[int, int] = (17, 17),
    power: float = 2.0,
    margin: float | tuple[float, float] = 1.0,
) -> Pair:
    """The masks of `hpss`, for spectra that are to be multiplied by them: in [0, 1], of the shape of `magnitude` >= 0.

    >>> [mask.tolist() for mask in hpss_masks(torch.ones(1, 2))]
    [[[0.5, 0.5]], [[0.5, 0.5]]]
    """
    along_time, along_frequency = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    margins = margin if isinstance(margin, tuple) else (margin, margin)
    _check(magnitude, (along_time, along_frequency), power, margins)
    harmonic = running_median(magnitude, along_time, dim=-1)
    percussive = running_median(magnitude, along_frequency, dim=-2)
    silence = 0.5 if margins == (1, 1) else 0.0
    return Pair(
        _mask(harmonic, margins[0] * percussive, power, silence),
        _mask(percussive, margins[1] * harmonic, power, silence),
    )


def separate_hpss(
    wave: Float[Tensor, "b c t"],
    sample_rate: int,
    *,
    seconds: float = SECONDS,
    hertz: float = HERTZ,
    window: float = 0.093,
    power: float = 2.0,
    margin: float | tuple[float, float] = 1.0,
) -> Float[Tensor, "b s c t"]:
    """Songs of any length and rate into what sounds on and what is struck: `hpss` there and back.

    The song is worked through in pieces that know enough of their neighbours for the result to be that of the whole;
    beside the song and its stems, memory is that of one piece.

    Args:
        wave: `(b, c, t)`.
        sample_rate: in Hz.
        seconds: length of the median along time; notes shorter than half of it are not harmonic.
        hertz: length of the median along frequency; bands narrower than half of it are not percussive.
        window: of the spectrum, in seconds, rounded to a power of two in samples; frames are a quarter of it apart.
        power: see `hpss`.
        margin: see `hpss`.

    Returns:
        `(b, 2, c, t)`: harmonic, percussive; with margins other than 1 `(b, 3, c, t)`, the third what is neither. They
        add up to `wave`.

    >>> separate_hpss(torch.randn(1, 2, 22050), 22050).shape
    torch.Size([1, 2, 2, 22050])
    """
    check_wave(wave, sample_rate)
    n_fft = check_window(window, sample_rate)
    hop = n_fft // 4
    kernel = kernel_of(seconds, hertz, sample_rate, n_fft)

    def parts(piece: Tensor) -> Tensor:
        pair = hpss(transform(piece, n_fft=n_fft, hop=hop), kernel=kernel, power=power, margin=margin)
        return torch.stack([waveform(part, piece.shape[-1], hop=hop) for part in pair], dim=1)

    advance, known, length = PIECE * hop, (kernel[0] // 2 + n_fft // hop) * hop, wave.shape[-1]
    stems = wave.new_empty(len(wave), 2, *wave.shape[1:])
    for start in range(0, length, advance):
        first, stop = max(0, start - known), min(start + advance, length)
        stems[..., start:stop] = parts(wave[..., first : stop + known])[..., start - first : stop - first]
    rest = wave - stems.sum(1)
    if margin in (1, (1, 1)):
        stems[:, 0] += rest  # rounding
        return stems
    return torch.cat((stems, rest[:, None]), dim=1)


def separate_voice(
    wave: Float[Tensor, "b c t"],
    sample_rate: int,
    *,
    windows: tuple[float, float] = (0.512, 0.032),
    seconds: tuple[float, float] = (3.0, 0.2),
    hertz: tuple[float, float] = (25.0, 200.0),
    power: float = 2.0,
) -> Float[Tensor, "b 2 c t"]:
    """Songs into singing and accompaniment, without any training: `separate_hpss` with a long, then a short window.

    A voice glides and trembles: to windows of half a second it is percussive, as drums are, while held notes are
    harmonic; to windows of a few hundredths it is harmonic, and drums are percussive.

        fluctuating = percussive_long(wave),    vocals = harmonic_short(fluctuating),    accompaniment = wave - vocals

    Args:
        wave: `(b, c, t)`.
        sample_rate: in Hz.
        windows: of the two stages, in seconds.
        seconds: of the medians along time in the two stages; the first: what is held for half as long is no voice.
        hertz: of the medians along frequency in the two stages.
        power: see `hpss`.

    Source: Tachibana, Ono & Sagayama, "Singing voice enhancement in monaural music signals based on two-stage
    harmonic/percussive sound separation on multiple resolution spectrograms", IEEE/ACM TASLP 22(1), 2014,
    doi:10.1109/TASLP.2013.2287052; here with medians.

    >>> separate_voice(torch.randn(1, 2, 22050), 22050).shape
    torch.Size([1, 2, 2, 22050])
    """
    long, short = (
        partial(separate_hpss, window=window, seconds=length, hertz=height, power=power)
        for window, length, height in zip(windows, seconds, hertz, strict=True)
    )
    vocals = short(long(wave, sample_rate)[:, 1], sample_rate)[:, 0]
    return torch.stack((vocals, wave - vocals), dim=1)


def _masked(spectrum: Tensor, mask: Tensor) -> Tensor:
    """Their product, as real numbers: thrice as fast as a product of complex ones."""
    if not spectrum.is_complex():
        return spectrum * mask
    return torch.view_as_complex(torch.view_as_real(spectrum) * mask[..., None])


@compiled
def _mask(one: Tensor, other: Tensor, power: float, silence: float) -> Tensor:
    """`one^p / (one^p + other^p)`, `silence` where both are 0; scaled first, for a power of a small number is zero."""
    if math.isinf(power):
        return (one > other).to(one.dtype)
    scale = torch.maximum(one, other).detach()  # the mask does not change with the scale: its gradient need not know
    silent = scale < torch.finfo(scale.dtype).tiny
    scale = torch.where(silent, 1, scale)
    a, b = (one / scale) ** power, (other / scale) ** power
    return torch.where(silent, silence, a / torch.where(silent, 1, a + b))


def kernel_of(seconds: float, hertz: float, sample_rate: int, n_fft: int) -> tuple[int, int]:
    """The odd numbers of frames, a quarter of a window apart, and of bins that are next to lengths of medians.

    >>> kernel_of(0.4, 183.0, 22050, 2048)
    (17, 17)
    """
    frames, bins = 4 * seconds * sample_rate / n_fft, hertz * n_fft / sample_rate
    along_time, along_frequency = (2 * max(0, round((length - 1) / 2)) + 1 for length in (frames, bins))
    return along_time, along_frequency


def _check(magnitude: Tensor, kernel: tuple[int, int], power: float, margin: tuple[float, float]) -> None:
    if magnitude.dim() < 2 or magnitude.numel() == 0 or not magnitude.is_floating_point():
        raise ValueError(
            f"spectrum: expected (..., f, t) with frames in it, float or complex, got {magnitude.dtype} of shape "
            f"{tuple(magnitude.shape)}; leave out empty batches."
        )
    if not bool(magnitude.isfinite().all()):
        raise ValueError("spectrum: some values are NaN or infinite; clean the recording first.")
    for length, axis in zip(kernel, ("time", "frequency"), strict=True):
        if length < 1 or length % 2 == 0:
            raise ValueError(f"kernel: expected odd lengths >= 1, got {length} along {axis}; take {length + 1}.")
    if not power > 0:
        raise ValueError(f"power: expected a number > 0, got {power}; 2 is a Wiener filter, math.inf a hard mask.")
    if not all(1 <= m < math.inf for m in margin):
        raise ValueError(f"margin: expected numbers >= 1, got {margin}; 1 leaves nothing over.")
