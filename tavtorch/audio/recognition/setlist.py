"""Recognition in long recordings: the songs of a radio hour or a DJ set, with their times."""

from collections.abc import Callable, Iterator, Sequence
from math import log, sqrt
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.audio.recognition.landmarks import fingerprint
from tavtorch.audio.recognition.library import Library
from tavtorch.audio.recognition.match import Match

_WINDOWS = 16
"""Windows that are read and looked up at once."""

_AGREE = 0.5
"""Seconds within which windows of one track agree on where the song begins."""

_RARER = log(3)
"""A false score is about three times as rare for each 1 that it is higher: measured on two hours of unknown songs."""


class Track(NamedTuple):
    """A song in a long recording; `start` and `stop` are seconds of that recording."""

    name: str
    start: float
    stop: float
    offset: float
    """Seconds into the song at `start`."""
    score: float
    """Of its windows together, see `setlist`."""


class _Window(NamedTuple):
    number: int
    time: float
    """Seconds of the recording at which it starts."""
    match: Match
    start: float
    """Seconds of the recording from which on the song is heard, within the window."""
    stop: float

    def continues(self, other: "_Window") -> bool:
        """Whether it may be of the same track as an earlier window: at most one window lies between them."""
        shift = self.match.offset - other.match.offset - (self.time - other.time) * other.match.rate
        return self.match.name == other.match.name and self.number - other.number <= 2 and abs(shift) < _AGREE


def setlist(
    library: Library,
    read: Callable[[int, int], Float[Tensor, "c t"]],
    length: int,
    sample_rate: int,
    *,
    window: float = 10.0,
    hop: float = 5.0,
    threshold: float = 5.0,
    changed: bool = True,
) -> list[Track]:
    """The songs of a recording of any length; memory is that of 16 windows.

    The recording is cut into overlapping windows, each of which is recognised by itself. Windows with the same song
    that agree on where it begins make a track. With z of the windows, and r the share of a window that two of them have
    in common,

        score = Σ z / √(Σ r)  over all pairs of windows,     accepted if  score >= threshold + ln(windows) / ln 3

    so that a recording of any length has about as many false tracks as a clip has false answers. A track begins and
    ends with the part of its windows that speaks for the song; where one song fades into another, tracks may overlap.

    Args:
        library: the known songs.
        read: called with a start and a number of samples, returns these samples `(c, t)`, as from an open file.
        length: samples of the recording in each channel.
        sample_rate: in Hz.
        window: length of a window in seconds; longer ones are recognised more reliably.
        hop: seconds from one window to the next.
        threshold, changed: see `Library.recognise`.
    """
    if length < 1:
        raise ValueError(f"length: expected at least one sample, got {length}; skip empty recordings.")
    if not 0 < hop <= window:
        raise ValueError(f"hop: expected more than 0 and at most window = {window} s, got {hop}.")
    frames = min(round(window * sample_rate), length)
    starts = [*range(0, length - frames, round(hop * sample_rate)), length - frames]
    tracks: list[Track] = []
    for run in _runs(_windows(library, read, starts, frames, sample_rate, threshold, changed)):
        score = _score(run, window)
        if score >= threshold + log(len(starts)) / _RARER:
            first, stop = run[0], max(each.stop for each in run)
            offset = first.match.offset + (first.start - first.time) * first.match.rate
            tracks.append(Track(first.match.name, first.start, stop, offset, score))
    return tracks


def _windows(
    library: Library,
    read: Callable[[int, int], Tensor],
    starts: Sequence[int],
    frames: int,
    sample_rate: int,
    threshold: float,
    changed: bool,
) -> Iterator[_Window]:
    """Every window of `frames` samples that has a match, accepted or not."""
    for i in range(0, len(starts), _WINDOWS):
        some = starts[i : i + _WINDOWS]
        marks = fingerprint(torch.stack([read(start, frames) for start in some]), sample_rate, library.recipe)
        answers = library.recognise(marks, threshold=threshold, changed=changed)
        for k, (begin, stop) in library.spans(marks, answers).items():
            time = some[k] / sample_rate
            yield _Window(i + k, time, answers[k][0], time + begin, time + stop)


def _runs(windows: Iterator[_Window]) -> list[list[_Window]]:
    """Windows that continue one another, by the time of their first."""
    runs: list[list[_Window]] = []
    recent: list[list[_Window]] = []
    for each in windows:
        recent = [run for run in recent if each.number - run[-1].number <= 2]
        for run in recent:
            if each.continues(run[-1]):
                run.append(each)
                break
        else:
            runs.append([each])
            recent.append(runs[-1])
    return runs


def _score(run: Sequence[_Window], window: float) -> float:
    """The z-score of windows that overlap: the sum of theirs over its standard deviation."""
    times = torch.tensor([each.time for each in run])
    shared = (1 - (times[:, None] - times).abs() / window).clamp(min=0)
    return sum(each.match.score for each in run) / sqrt(float(shared.sum()))


def recognise(
    wave: Float[Tensor, "b c t"],
    sample_rate: int,
    *,
    library: Library,
    vote: Literal["offset", "count"] = "offset",
    top: int = 1,
    threshold: float = 5.0,
    neighbours: int = 10,
    tolerance: int = 1,
    changed: bool = True,
    window: float = 15.0,
) -> list[list[Match | Track]]:
    """The songs of clips; for recordings longer than `window` seconds, their `setlist`.

    Args:
        wave: `(b, c, t)`.
        sample_rate: in Hz.
        library: the known songs.
        vote, top, threshold, neighbours, tolerance: see `Library.recognise`; a setlist takes the threshold only.
        changed: also find clips whose speed, tempo or pitch is changed; tried where a clip is not accepted as it is.
        window: length of the longest clip in seconds.

    Returns:
        A list for each item: its best matches, or its tracks.
    """
    if wave.shape[-1] > window * sample_rate:
        parts = [lambda start, frames, one=one: one[:, start : start + frames] for one in wave]
        return [
            [*setlist(library, read, wave.shape[-1], sample_rate, threshold=threshold, changed=changed)]
            for read in parts
        ]
    marks = fingerprint(wave, sample_rate, library.recipe, verify=vote == "offset")
    found = library.recognise(
        marks, vote, top, threshold=threshold, neighbours=neighbours, tolerance=tolerance, changed=changed
    )
    return [[*matches] for matches in found]


def recognise_stream(
    read: Callable[[int, int], Float[Tensor, "c t"]],
    length: int,
    sample_rate: int,
    *,
    library: Library,
    vote: Literal["offset", "count"] = "offset",
    top: int = 1,
    threshold: float = 5.0,
    neighbours: int = 10,
    tolerance: int = 1,
    changed: bool = True,
    window: float = 15.0,
) -> list[list[Match | Track]]:
    """As `recognise`, for one recording that is read piece by piece, so that its length does not matter.

    Args:
        read, length, sample_rate: see `setlist`.
        library, vote, top, threshold, neighbours, tolerance, changed, window: see `recognise`.
    """
    if length > window * sample_rate:
        return [[*setlist(library, read, length, sample_rate, threshold=threshold, changed=changed)]]
    return recognise(
        read(0, length)[None],
        sample_rate,
        library=library,
        vote=vote,
        top=top,
        threshold=threshold,
        neighbours=neighbours,
        tolerance=tolerance,
        changed=changed,
        window=window,
    )
