"""Harmonic-percussive separation by running medians along time and along frequency."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.audio.check import check_wave, check_window
from tavtorch.audio.separation.median import running_median
from tavtorch.audio.sonogram import spectrum as transform
from tavtorch.audio.sonogram import waveform
from tavtorch.derivative import holds
from tavtorch.solve import compiled

AT_ONCE = 2**22
"""Elements of a batch that a CPU separates together; larger batches go item by item, in memory that is reused."""

PIECE = 2048
"""Frames of a long song that `separate_hpss` works through at once."""

MEDIAN_SECONDS = 1.4
MEDIAN_HERTZ = 330.0
"""Default lengths of the medians of `separate_hpss`; chosen for drums against the rest of recorded songs."""


class Pair(NamedTuple):
    """The two parts of a spectrum, or their masks; each has the shape of the spectrum."""

    harmonic: Tensor
    percussive: Tensor


def hpss(
    spectrum: Tensor,
    *,
    kernel: int | Sequence[int] = (17, 17),
    power: float = 2.0,
    margin: float | Sequence[float] = 1.0,
) -> Pair:
    """Harmonic-percussive separation: sustained tones are lines along time, drum hits are lines along frequency.

    A running median along time keeps the first and removes the second, a median along frequency the opposite; soft
    masks compare the two in each bin.

        H = median_time |X|,    P = median_frequency |X|,
        harmonic = X H^p / (H^p + (m_h P)^p),    percussive = X P^p / (P^p + (m_p H)^p).

    With margins of 1 the two add up to `X`; with larger ones `X - harmonic - percussive` is a residual part.
    Differentiable; the gradient of a median goes to the value that is the median. For p < 1 the masks have an infinite
    slope in a median that is 0; their gradient there is taken as 0.

    Args:
        spectrum: `(..., f, t)`, complex or real; of a real one the medians are taken of its absolute value too.
        kernel: `(harmonic, percussive)`: odd lengths of the median along time, in frames, and of the median along
            frequency, in bins; one number for both. With a longer one, a sound must last longer (cover more bins) to be
            kept. A kernel may be longer than the spectrum, which is mirrored at its borders.
        power: p; more brings the masks closer to 0 and 1, `math.inf` gives only these (0 in both where H = m P).
        margin: `(m_h, m_p)`, at least 1: factor by which H must exceed P, and P must exceed H, for a mask over ½; one
            number for both.

    Source: FitzGerald, "Harmonic/percussive separation using median filtering", DAFx 2010; margins: Driedger, Müller &
    Disch, "Extending harmonic-percussive separation of audio signals", ISMIR 2014.

    >>> tone = torch.zeros(1, 1, 64, 64); tone[..., 20, :] = 1.0          # a line along time
    >>> [part.sum().item() for part in hpss(tone)]
    [64.0, 0.0]
    """
    # A large batch on a CPU: item by item, into results that are allocated once.
    if spectrum.dim() > 2 and spectrum.is_cpu and spectrum.numel() > AT_ONCE:
        items = spectrum.flatten(0, -3)
        parts = Pair(torch.empty_like(items), torch.empty_like(items))
        for i, item in enumerate(items):
            parts.harmonic[i], parts.percussive[i] = hpss(item, kernel=kernel, power=power, margin=margin)
        return Pair(*(part.reshape(spectrum.shape) for part in parts))

    magnitude = spectrum if spectrum.dtype == torch.bool else spectrum.abs()  # which is refused with its reason
    masks = hpss_masks(magnitude, kernel=kernel, power=power, margin=margin)
    return Pair(_masked(spectrum, masks.harmonic), _masked(spectrum, masks.percussive))


def hpss_masks(
    magnitude: Tensor,
    *,
    kernel: int | Sequence[int] = (17, 17),
    power: float = 2.0,
    margin: float | Sequence[float] = 1.0,
) -> Pair:
    """The masks of `hpss` for a magnitude `(..., f, t)`, >= 0: in [0, 1], of its shape; arguments as of `hpss`.

    >>> [mask.tolist() for mask in hpss_masks(torch.ones(1, 2))]
    [[[0.5, 0.5]], [[0.5, 0.5]]]
    """
    along_time, along_frequency = _two("kernel", kernel)
    margins = _two("margin", margin)
    _check_hpss(magnitude, (along_time, along_frequency), power, margins)
    harmonic = running_median(magnitude, along_time, dim=-1)
    percussive = running_median(magnitude, along_frequency, dim=-2)
    silence = 0.5 if margins == (1, 1) else 0.0  # the masks add up to 1 in silence too, where no margin is asked
    return Pair(
        _mask(harmonic, margins[0] * percussive, power, silence),
        _mask(percussive, margins[1] * harmonic, power, silence),
    )


def separate_hpss(
    wave: Float[Tensor, "b c t"],
    sample_rate: int,
    *,
    seconds: float = MEDIAN_SECONDS,
    hertz: float = MEDIAN_HERTZ,
    window: float = 0.093,
    power: float = 2.0,
    margin: float | Sequence[float] = 1.0,
) -> Float[Tensor, "b s c t"]:
    """Separate songs of any length and sample rate into a harmonic and a percussive wave with `hpss`.

    The song is separated in pieces that overlap far enough for the result to equal that of the whole song; beside the
    song and its stems, memory is that of one piece.

    Args:
        wave: `(b, c, t)`.
        sample_rate: in Hz.
        seconds: length of the median along time; notes shorter than half of it are not harmonic.
        hertz: length of the median along frequency; bands narrower than half of it are not percussive.
        window: of the spectrum, in seconds, rounded to a power of two in samples; the hop is a quarter of it.
        power: see `hpss`.
        margin: see `hpss`.

    Returns:
        `(b, 2, c, t)`: harmonic, percussive; with margins other than 1 `(b, 3, c, t)`, the third is the residual part.
        They add up to `wave`.

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

    # Each piece is separated with the samples on both sides that its medians and windows reach.
    advance, length = PIECE * hop, wave.shape[-1]
    reach = (kernel[0] // 2 + n_fft // hop) * hop
    residual = _two("margin", margin) != (1, 1)
    stems = wave.new_empty(len(wave), 2 + residual, *wave.shape[1:])
    for start in range(0, length, advance):
        first, stop = max(0, start - reach), min(start + advance, length)
        pair = parts(wave[..., first : stop + reach])[..., start - first : stop - first]
        rest = wave[..., start:stop] - pair.sum(1)
        whole = (
            (pair, rest[:, None]) if residual else (pair[:, :1] + rest[:, None], pair[:, 1:])
        )  # rest: rounding error
        stems[..., start:stop] = torch.cat(whole, dim=1)
    return stems


def _masked(spectrum: Tensor, mask: Tensor) -> Tensor:
    """`spectrum * mask`; over real numbers, since a complex product would convert the mask and take 3 times as long."""
    if not spectrum.is_complex():
        return spectrum * mask
    return torch.view_as_complex(torch.view_as_real(spectrum) * mask[..., None])


@compiled
def _mask(one: Tensor, other: Tensor, power: float, silence: float) -> Tensor:
    """`one^p / (one^p + other^p)`, and `silence` where both are 0."""
    if math.isinf(power):
        return (one > other).to(one.dtype)

    # Divide by the larger, so that powers do not underflow. The mask does not depend on the scale: no gradient for it.
    scale = torch.maximum(one, other).detach()
    silent = scale < torch.finfo(scale.dtype).tiny
    scale = torch.where(silent, 1, scale)
    a, b = one / scale, other / scale

    # The slope of x^p at 0 is infinite for p < 1, and times the zero gradient of a silent bin it would be NaN.
    if power < 1:
        a, b = (torch.where(x > 0, torch.where(x > 0, x, 1) ** power, 0) for x in (a, b))
    else:
        a, b = a**power, b**power
    return torch.where(silent, silence, a / torch.where(silent, 1, a + b))


def kernel_of(seconds: float, hertz: float, sample_rate: int, n_fft: int) -> tuple[int, int]:
    """The `kernel` of `hpss` nearest to medians of `seconds` and `hertz`, for a hop of a quarter of the window.

    >>> kernel_of(0.4, 183.0, 22050, 2048)
    (17, 17)
    """
    frames, bins = 4 * seconds * sample_rate / n_fft, hertz * n_fft / sample_rate
    along_time, along_frequency = (2 * max(0, round((length - 1) / 2)) + 1 for length in (frames, bins))
    return along_time, along_frequency


def _two(name: str, value: Any) -> tuple[Any, Any]:
    """One number for both, or two numbers (a configuration brings a list), as a pair."""
    if not isinstance(value, Sequence):
        return value, value
    if len(value) != 2:
        raise ValueError(f"{name}: expected a number or two, got {value!r}.")
    return value[0], value[1]


def _check_hpss(magnitude: Tensor, kernel: tuple[int, int], power: float, margin: tuple[float, float]) -> None:
    if magnitude.dim() < 2 or magnitude.numel() == 0 or magnitude.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            "spectrum: expected (..., f, t) with frames in it, float32 or float64 or complex of these, got "
            f"{magnitude.dtype} of shape {tuple(magnitude.shape)}; leave out empty batches, and call .float()."
        )
    if not holds(magnitude.isfinite()):
        raise ValueError("spectrum: some values are NaN or infinite; clean the recording first.")
    for length, axis in zip(kernel, ("time", "frequency"), strict=True):
        if length < 1 or length % 2 == 0:
            raise ValueError(f"kernel: expected odd lengths >= 1, got {length} along {axis}; take {length + 1}.")
    if not power > 0:
        raise ValueError(f"power: expected a number > 0, got {power}; 2 is a Wiener filter, math.inf a hard mask.")
    if not all(1 <= m < math.inf for m in margin):
        raise ValueError(f"margin: expected numbers >= 1, got {margin}; 1 leaves no residual part.")
