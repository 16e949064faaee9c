"""Landmarks of recordings: the hashes and peaks that a library stores, and the evidence that verifies a clip."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tavtorch.audio.check import check_rate, check_wave
from tavtorch.audio.recognition.constellation import Peaks, pairs, peaks
from tavtorch.audio.resampling import rate_ratio, resampled
from tavtorch.audio.sonogram import sonogram
from tavtorch.precision import exact

CANCELLED = 1e-6
"""Energy of the mean of the channels, relative to theirs, below which the loudest channel takes its place (-60 dB)."""


@dataclass(frozen=True)
class Recipe:
    """Settings with which landmarks are made; those of songs and clips must be equal.

    Args:
        rate: sample rate in Hz to which recordings are resampled.
        n_fft: window in samples. Longer windows separate notes better, which helps under noise: at 8 kHz, 2048 is best.
        hop: samples from frame to frame.
        radius: bins and frames to each side over which a peak must be the loudest.
        density: largest number of peaks in a second; the loudest are kept.
        paired: of these, number of loudest peaks in a second that are paired.
        neighbours: pairs for each peak.
    """

    rate: int = 8000
    n_fft: int = 2048
    hop: int = 256
    radius: Sequence[int] = (7, 3)
    density: int = 60
    paired: int = 30
    neighbours: int = 5

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", tuple(self.radius))  # configurations bring lists
        if not 64 <= self.n_fft <= 4094:
            raise ValueError(
                f"n_fft: expected 64 to 4094 samples (a peak is stored with 11 bits for its bin), got {self.n_fft}."
            )
        if not 1 <= self.hop <= min(self.n_fft // 2, self.rate):
            raise ValueError(f"hop: expected 1 to n_fft // 2 = {self.n_fft // 2} samples, got {self.hop}.")
        if min(self.density, self.paired, self.neighbours, *self.radius) < 1 or self.density > 255:
            raise ValueError(f"density, paired, neighbours, radius: expected 1 or more (density to 255), got {self}.")

    @property
    def block(self) -> int:
        """Frames of a block, about a second, in which the loudest peaks are kept."""
        return max(1, self.rate // self.hop)

    @property
    def seconds(self) -> float:
        """Seconds from frame to frame."""
        return self.hop / self.rate


COURSE = Recipe(n_fft=512, density=30)
"""The course's recipe: a short window, five pairs for each peak. Recognise with `vote="count"` and `tolerance=0`."""


class Landmarks(NamedTuple):
    """A batch of recordings, as `Library` takes them."""

    hash: Int[Tensor, "b n"]
    """See `Hashes`, as for `time`."""
    time: Int[Tensor, "b n"]
    peaks: Peaks
    evidence: Float[Tensor, "b f t"] | None
    """See `evidence`; needed for a clip to be verified, not for a song to be stored."""
    frames: int
    """Length of the recordings."""
    recipe: Recipe


@exact()
def evidence(sonogram: Float[Tensor, "*b f t"], *, width: int = 25) -> Float[Tensor, "*b f t"]:
    """How high each level is among all levels of its row of the sonogram, as a standard normal score.

        E[f, t] = Φ⁻¹((rank over t of (S[f, t] - mean S[f ± width, t]) + ½) / frames)

    The mean removes changes of the level over time, the rank differences between frequencies. So if a clip is not of a
    song, the sum of E at the song's n peaks has mean 0 and variance about n, at every level and spectrum of the clip.

    Args:
        sonogram: levels in dB `(..., f, t)`.
        width: bins to each side over which the mean is taken.
    """
    levels = sonogram.reshape(-1, *sonogram.shape[-2:])
    mean = F.avg_pool1d(levels.transpose(1, 2), 2 * width + 1, 1, width, count_include_pad=False)
    levels = levels - mean.transpose(1, 2)
    frames = levels.shape[-1]
    scores = torch.special.ndtri((torch.arange(frames, dtype=levels.dtype, device=levels.device) + 0.5) / frames)
    order = levels.argsort(dim=-1)
    return torch.empty_like(levels).scatter_(-1, order, scores.expand_as(levels)).reshape(sonogram.shape)


@exact()
def fingerprint(
    wave: Float[Tensor, "b c t"], sample_rate: int, recipe: Recipe | None = None, *, verify: bool = True
) -> Landmarks:
    """Landmarks of recordings, for `Library.add` and `Library.recognise`.

    Args:
        wave: `(b, c, t)`, any length from one sample up. The channels are averaged; where they cancel each other
            (left = −right), the loudest is taken. A wave that is silent or shorter than a window has few landmarks or
            none, and is not recognised.
        sample_rate: of `wave`, in Hz.
        recipe: see `Recipe`; `COURSE` is the course's.
        verify: also compute the `evidence` that verifies a clip, 128 kB for each second in the default recipe. A song
            that is only stored needs none.

    >>> marks = fingerprint(torch.randn(2, 1, 44100), 44100)
    >>> marks.frames, marks.peaks.time.shape
    (32, torch.Size([2, 120]))
    """
    recipe = recipe or Recipe()
    check_wave(wave, sample_rate)
    mono = resampled(_mono(wave), rate_ratio(sample_rate, recipe.rate))
    levels = sonogram(mono, n_fft=recipe.n_fft, hop=recipe.hop)
    found = peaks(levels, radius=recipe.radius, density=recipe.density, block=recipe.block)
    return _landmarks(found, evidence(levels) if verify else None, levels.shape[-1], recipe)


def fingerprint_stream(
    read: Callable[[int, int], Float[Tensor, "c t"]],
    length: int,
    sample_rate: int,
    recipe: Recipe | None = None,
    *,
    device: torch.device | str | None = None,
) -> Landmarks:
    """Landmarks of one recording of any length, in the memory of about a minute of it.

    They equal those of `fingerprint`, but that the choice of a channel where channels cancel is made for each minute.

    Args:
        read: called with a start and a number of samples, returns these samples `(c, t)`, as from an open file.
        length: samples of the recording in each channel.
        sample_rate: in Hz.
        recipe: see `Recipe`.
        device: where they are found; by default where `read` puts the samples.
    """
    recipe = recipe or Recipe()
    if length < 1:
        raise ValueError(f"length: expected at least one sample, got {length}; skip empty recordings.")
    check_rate(sample_rate)
    ratio = rate_ratio(sample_rate, recipe.rate)
    block = recipe.block * recipe.hop  # samples at the recipe's rate, as all numbers below unless noted
    total = ceil(length * ratio)
    frames = 1 + total // recipe.hop

    # Whole blocks, about a minute, and on each side enough blocks for windows and neighbourhoods of peaks to be whole.
    blocks = ceil(60 * recipe.rate / block)
    margin = block * ceil((recipe.n_fft / 2 + (recipe.radius[1] + 1) * recipe.hop) / block)

    parts = []
    for start in range(0, total, blocks * block):
        first, stop = max(0, start - margin), min(start + blocks * block + margin, total)
        wave = _read_resampled(lambda *part: read(*part).to(device), length, first, stop, sample_rate, ratio)
        found = peaks(
            sonogram(wave, n_fft=recipe.n_fft, hop=recipe.hop),
            radius=recipe.radius,
            density=recipe.density,
            block=recipe.block,
        )

        # Of these blocks the ones that are not margin, with frames counted from the start of the recording.
        time = torch.where(found.rank < 0, -1, found.time + first // recipe.hop)
        before, is_last = (start - first) // block, start + blocks * block >= total
        inside = slice(before * recipe.density, None if is_last else (before + blocks) * recipe.density)
        parts.append(Peaks(*(field[..., inside] for field in found._replace(time=time))))

    entries = -(-frames // recipe.block) * recipe.density
    joined = (torch.cat(fields, -1)[..., :entries] for fields in zip(*parts, strict=True))
    return _landmarks(Peaks(*joined), None, frames, recipe)


def _read_resampled(
    read: Callable[[int, int], Tensor], length: int, first: int, stop: int, sample_rate: int, ratio: Fraction
) -> Tensor:
    """Samples `first ... stop - 1` of the resampled mono recording, `(1, stop - first)`.

    The samples read start at a multiple of the denominator, where both rates have a sample at the same time, and
    include the filter of the resampler on both sides: 6 zero crossings of the lower rate.
    """
    period, resampled_period = ratio.denominator, ratio.numerator
    reach = 1 + ceil(7 / min(period, resampled_period))  # in periods
    begin = max(0, first // resampled_period - reach)
    end = min(length, (-(-stop // resampled_period) + reach) * period)
    wave = read(begin * period, end - begin * period)[None]
    check_wave(wave, sample_rate)
    return resampled(_mono(wave), ratio)[..., first - begin * resampled_period :][..., : stop - first]


def _landmarks(found: Peaks, evidence: Tensor | None, frames: int, recipe: Recipe) -> Landmarks:
    """Landmarks of peaks, with the hashes of the loudest of them."""
    return Landmarks(*pairs(found.loudest(recipe.paired), recipe.neighbours), found, evidence, frames, recipe)


def _mono(wave: Tensor) -> Tensor:
    """The mean of the channels, `(b, t)`; where it is `CANCELLED`, the loudest channel."""
    mean = wave.mean(1)
    if wave.shape[1] == 1:
        return mean
    energy = wave.square().sum(2)
    loudest = torch.take_along_dim(wave, energy.argmax(1)[:, None, None], 1)[:, 0]
    cancelled = mean.square().sum(1) < CANCELLED * energy.mean(1)
    return torch.where(cancelled[:, None], loudest, mean)
