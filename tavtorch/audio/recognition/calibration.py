"""How often a library is wrong: false tracks in a day of listening, by their score, measured on what it cannot know."""

import itertools
from collections.abc import Sequence
from math import ceil, log
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Generator, Tensor

from tavtorch.audio.check import check_wave
from tavtorch.audio.recognition.constellation import Peaks
from tavtorch.audio.recognition.landmarks import Recipe
from tavtorch.audio.recognition.tracks import RARER, WINDOWS, Tracker, looked_up
from tavtorch.audio.resampling import rate_ratio, resampled
from tavtorch.audio.sonogram import waveform

if TYPE_CHECKING:
    from tavtorch.audio.recognition.library import Library

_DAY = 86400.0

_TAIL = 0.2
"""Share of the highest scores to which the tail of the distribution is fitted."""

_SOFTER = 0.4
"""Decibels by which a peak is softer than the one before it in its block, where songs are made of their peaks."""

_FLOOR = -20.0
"""Level in dB of the noise under them, against their own."""


class Calibration(NamedTuple):
    """False tracks with a score of at least x in a day: `rate · exp(-(x - above) / scale)`, for x ≥ `above`."""

    above: float
    rate: float
    scale: float
    songs: int
    """Number of songs of the library when it was measured."""

    def threshold(self, alarms: float) -> float:
        """The score that `alarms` false tracks reach in a day."""
        return self.above + self.scale * max(0.0, log(self.rate / alarms))


def measured(
    library: "Library",
    songs: Sequence[tuple[Peaks, int]],
    unknown: Sequence[tuple[Tensor, int]],
    *,
    seconds: float,
    window: float,
    hop: float,
    generator: Generator | None,
) -> Calibration:
    """See `Library.calibrate`.

    Args:
        library: without the songs that are listened to.
        songs: peaks and number of frames of those; of each at most a minute is listened to at once.
    """
    recipe, minute, scores = library.recipe, ceil(60 / library.recipe.seconds), list[float]()
    listened = 0.0

    def listen(wave: Tensor) -> None:
        nonlocal listened
        listened += len(wave) / recipe.rate
        scores.extend(false_scores(library, wave, window=window, hop=hop))

    for peaks, frames in itertools.cycle(songs):
        length = max(min(frames, minute), ceil(window / recipe.seconds))
        first = int(torch.randint(max(1, frames - length + 1), (), generator=generator))
        inside = (peaks.time >= first) & (peaks.time < first + length)
        part = Peaks(*(field[inside] for field in peaks))
        if inside.any():
            listen(rendered(part._replace(time=part.time - first), length, recipe, generator=generator))
        if listened >= seconds:
            break
    listen(torch.randn(round(max(window, seconds / 10) * recipe.rate), generator=generator))
    for i, (wave, rate) in enumerate(unknown):
        check_wave(wave[None], rate)
        if wave.shape[1] < window * rate:
            raise ValueError(f"unknown: expected recordings of at least {window} s, got less in no. {i}; leave it out.")
        listen(resampled(wave.mean(0), rate_ratio(rate, recipe.rate)))
    return tail(torch.tensor(scores or [0.0]), listened, len(library))


def rendered(peaks: Peaks, frames: int, recipe: Recipe, *, generator: Generator | None = None) -> Tensor:
    """A song made of its stored peaks, `(t,)`, as the library has no samples.

    The peaks are set into an empty spectrum, the loudest of each block highest, with random phases; noise is added.
    """
    size = recipe.n_fft // 2 + 1, frames
    phase = 2 * torch.pi * torch.rand(len(peaks.time), generator=generator)
    spectrum = torch.zeros(size, dtype=torch.complex64)
    spectrum[peaks.frequency, peaks.time] = torch.polar(10 ** (-_SOFTER * peaks.rank / 20), phase)
    wave = waveform(spectrum, frames * recipe.hop, hop=recipe.hop)
    noise = torch.randn(wave.shape, generator=generator)
    return wave + noise * wave.square().mean().sqrt() * 10 ** (_FLOOR / 20)


def false_scores(library: "Library", wave: Tensor, *, window: float, hop: float) -> list[float]:
    """The score of every run of windows of a recording `(t,)` at the recipe's rate that the library does not know."""
    rate = library.recipe.rate
    size, step = round(window * rate), round(hop * rate)
    starts = range(0, max(1, len(wave) - size + 1), step)
    tracker, scores = Tracker(window, torch.inf), dict[tuple[int, str], float]()
    for i in range(0, len(starts), WINDOWS):
        some = starts[i : i + WINDOWS]
        waves, numbers = torch.stack([wave[start : start + size] for start in some])[:, None], range(i, i + len(some))
        times = [start / rate for start in some]
        found = looked_up(library, waves, times, numbers, rate)
        for number, time, heard in zip(numbers, times, found, strict=True):
            tracker.add(number, time, heard)
            for run in tracker.runs:
                key = run[0].number, run[0].match.name
                scores[key] = max(scores.get(key, -torch.inf), tracker.score(run))
    return list(scores.values())


def tail(scores: Tensor, seconds: float, songs: int) -> Calibration:
    """Exponential tail of the scores of false tracks in `seconds` of listening.

    Its scale is that of maximum likelihood, or that of recorded unknown music where this is longer: songs made of their
    peaks have no long notes, and their scores fall faster.
    """
    above = float(scores.quantile(1 - _TAIL))
    over = scores[scores >= above] - above
    return Calibration(above, len(over) * _DAY / seconds, max(float(over.mean()), 1 / RARER), songs)
