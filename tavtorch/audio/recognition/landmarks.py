"""Landmarks of a recording: the pairs of its peaks, the peaks, and how its levels stand out in time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, gcd
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tavtorch.audio.check import check_wave
from tavtorch.audio.recognition.constellation import Peaks, pairs, peaks
from tavtorch.audio.sonogram import sonogram


@dataclass(frozen=True)
class Recipe:
    """What landmarks are made with; songs and clips must be made with the same.

    Args:
        rate: Hz at which recordings are analysed; they are resampled to it.
        n_fft: window in samples. Long windows tell notes apart and so survive noise: at 8 kHz, 2048 is best.
        hop: samples from frame to frame.
        radius: bins and frames over which a peak is the loudest, to each side.
        density: peaks kept a second, the loudest.
        paired: how many of them a second, the loudest, are put into pairs.
        neighbours: pairs a peak.
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
            raise ValueError(f"n_fft: expected 64 to 4094 samples (a hash holds 11 bits of bins), got {self.n_fft}.")
        if not 1 <= self.hop <= min(self.n_fft // 2, self.rate):
            raise ValueError(f"hop: expected 1 to n_fft // 2 = {self.n_fft // 2} samples, got {self.hop}.")
        if min(self.density, self.paired, self.neighbours, *self.radius) < 1 or self.density > 255:
            raise ValueError(f"density, paired, neighbours, radius: expected 1 or more (density to 255), got {self}.")

    @property
    def block(self) -> int:
        """Frames of about a second: among these the loudest peaks are chosen."""
        return max(1, self.rate // self.hop)

    @property
    def seconds(self) -> float:
        """Seconds a frame."""
        return self.hop / self.rate


COURSE = Recipe(n_fft=512, density=30)
"""The course's recipe: a short window, every peak with its five neighbours. Ask with `vote="count"`, `tolerance=0`."""


class Landmarks(NamedTuple):
    """A batch of recordings as the library knows them."""

    hash: Int[Tensor, "b n"]
    time: Int[Tensor, "b n"]
    peaks: Peaks
    evidence: Float[Tensor, "b f t"] | None
    """See `evidence`; a clip needs it to be verified, a song that is only stored does not."""
    frames: int
    recipe: Recipe


def evidence(sonogram: Float[Tensor, "*b f t"], *, width: int = 25) -> Float[Tensor, "*b f t"]:
    """How much each level stands out from its own row of the sonogram, as a standard normal score.

        E[f, t] = Φ⁻¹((rank over t of (S[f, t] - mean S[f ± width, t]) + ½) / frames)

    The mean takes away what is loud as a whole, the rank what is loud all the time: of a clip that has nothing to do
    with a song, the sum of E over the song's n peaks has mean 0 and variance about n, whatever its level and colour.
    """
    levels = sonogram.reshape(-1, *sonogram.shape[-2:])
    mean = F.avg_pool1d(levels.transpose(1, 2), 2 * width + 1, 1, width, count_include_pad=False)
    levels = levels - mean.transpose(1, 2)
    frames = levels.shape[-1]
    scores = torch.special.ndtri((torch.arange(frames, dtype=levels.dtype, device=levels.device) + 0.5) / frames)
    order = levels.argsort(dim=-1)
    return torch.empty_like(levels).scatter_(-1, order, scores.expand_as(levels)).reshape(sonogram.shape)


def fingerprint(
    wave: Float[Tensor, "b c t"], sample_rate: int, recipe: Recipe | None = None, *, verify: bool = True
) -> Landmarks:
    """Landmarks of recordings, for `Library.add` and `Library.recognise`.

    Args:
        wave: `(b, c, t)`, any length from one sample up; channels are averaged. One that is shorter than a window or
            silent has few landmarks or none, and will not be recognised.
        sample_rate: of `wave`, in Hz.
        recipe: see `Recipe`; `COURSE` is the course's.
        verify: also give the `evidence` that a clip is verified by, 128 kB a second in the default recipe. A song that
            is only stored needs none.

    >>> marks = fingerprint(torch.randn(2, 1, 44100), 44100)
    >>> marks.frames, marks.peaks.time.shape
    (32, torch.Size([2, 120]))
    """
    recipe = recipe or Recipe()
    check_wave(wave, sample_rate)
    levels = sonogram(_resampled(wave, sample_rate, recipe.rate), n_fft=recipe.n_fft, hop=recipe.hop)
    found = peaks(levels, radius=recipe.radius, density=recipe.density, block=recipe.block)
    return _landmarks(found, evidence(levels) if verify else None, levels.shape[-1], recipe)


def fingerprint_stream(
    read: Callable[[int, int], Float[Tensor, "c t"]], length: int, sample_rate: int, recipe: Recipe | None = None
) -> Landmarks:
    """Landmarks of one recording of any length, in the memory of about two minutes of it: the same as of the whole.

    Args:
        read: takes a start and a number of samples, gives those samples `(c, t)`, as from an open file.
        length: samples of the recording, each channel.
        sample_rate: in Hz.
        recipe: see `Recipe`.
    """
    recipe = recipe or Recipe()
    second, block = recipe.block * recipe.hop, recipe.block
    blocks = recipe.rate // gcd(second, recipe.rate)  # so many are a whole number of seconds, at any sample rate
    blocks *= -(-60 * recipe.rate // (blocks * second))
    seconds, halo = blocks * second // recipe.rate, -(-(second + recipe.n_fft) // recipe.rate) + 1
    if length < 1:
        raise ValueError(f"length: expected at least one sample, got {length}; skip empty recordings.")
    parts, frames = [], 1 + ceil(length * _ratio(sample_rate, recipe.rate)) // recipe.hop
    for start in range(0, -(-length // sample_rate), seconds):
        before = min(start, halo)
        first = (start - before) * sample_rate
        wave = read(first, min((start + seconds + halo) * sample_rate, length) - first)[None]
        check_wave(wave, sample_rate)
        heard = _resampled(wave, sample_rate, recipe.rate)
        lead = second if before else 0  # one block before and one after, so that every neighbourhood is whole
        heard = heard[..., before * recipe.rate - lead :][..., : lead + seconds * recipe.rate + second]
        levels = sonogram(heard, n_fft=recipe.n_fft, hop=recipe.hop)
        found = peaks(levels, radius=recipe.radius, density=recipe.density, block=block)
        last = (start + seconds) * sample_rate >= length
        inside = slice(recipe.density if lead else 0, None if last else (blocks + bool(lead)) * recipe.density)
        offset = start * recipe.rate // recipe.hop - (block if lead else 0)
        time = torch.where(found.rank < 0, -1, found.time + offset)
        parts.append(Peaks(*(field[..., inside] for field in found._replace(time=time))))
    slots = -(-frames // block) * recipe.density
    whole = Peaks(*(torch.cat(fields, -1)[..., :slots] for fields in zip(*parts, strict=True)))
    return _landmarks(whole, None, frames, recipe)


def _landmarks(found: Peaks, evidence: Tensor | None, frames: int, recipe: Recipe) -> Landmarks:
    return Landmarks(*pairs(found.loudest(recipe.paired), recipe.neighbours), found, evidence, frames, recipe)


def _resampled(wave: Tensor, sample_rate: int, rate: int) -> Tensor:
    """Mono at `rate`, `(b, t)`."""
    from torchaudio.functional import resample  # here, so that importing tavtorch does not load torchaudio

    ratio = _ratio(sample_rate, rate)
    return resample(wave.mean(1), ratio.denominator, ratio.numerator)


def _ratio(sample_rate: int, rate: int) -> Fraction:
    """`rate / sample_rate`, closely: the resampler needs memory as the square of the denominator."""
    return Fraction(rate, sample_rate).limit_denominator(1000)
