"""Windows of a recording, one after the other, put together to tracks: for `setlist` and `Listener` alike."""

from collections.abc import Sequence
from math import log, sqrt
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from tavtorch.audio.recognition.landmarks import fingerprint
from tavtorch.audio.recognition.library import Library
from tavtorch.audio.recognition.match import Match

WINDOWS = 16
"""Windows that are looked up at once."""

RARER = log(3)
"""A false score is about three times as rare for each 1 that it is higher: measured on two hours of unknown songs."""

_AGREE = 0.5
"""Seconds within which windows of one track agree on where the song begins."""


class Track(NamedTuple):
    """A song in a long recording; `start` and `stop` are seconds of that recording."""

    name: str
    start: float
    stop: float
    offset: float
    """Seconds into the song at `start`."""
    score: float
    """Of its windows together, see `setlist`."""
    rate: float = 1.0
    """Seconds of the song in a second of the recording, at `start`."""


class Heard(NamedTuple):
    """What a `Listener` tells: a track starts or ends, or nothing of the library is heard from now on."""

    kind: Literal["start", "end", "gap"]
    time: float
    """Seconds from the beginning of the stream at which it happened."""
    track: Track | None
    """As far as it is known; None for a gap."""


class Window(NamedTuple):
    """A window of a recording and its best match."""

    number: int
    time: float
    """Seconds of the recording at which it starts."""
    match: Match
    start: float
    """Seconds of the recording from which on the song is heard, within the window."""
    stop: float

    def continues(self, other: "Window") -> bool:
        """Whether it may be of the same track as an earlier window: at most one window lies between them."""
        rate = (self.match.rate + other.match.rate) / 2
        shift = self.match.offset - other.match.offset - rate * (self.time - other.time)
        return self.match.name == other.match.name and self.number - other.number <= 2 and abs(shift) < _AGREE


class Tracker:
    """Takes the windows of a recording in their order, and tells of its tracks as soon as they are sure.

    Windows with one song that agree on where it begins make a run, which is a track once its score (see `setlist`)
    reaches the threshold. A song that goes on within `patience` after its track was heard last, after speech, at
    another speed or from another place, is the same track.

    Args:
        window: seconds of a window.
        threshold: least score of a track.
        patience: seconds after which a track that is not heard has ended.
    """

    def __init__(self, window: float, threshold: float, patience: float = 0.0):
        self.window, self.threshold, self.patience = window, threshold, patience
        self.runs: list[list[Window]] = []
        self.playing: dict[str, Track] = {}
        self.in_gap = False

    def add(self, number: int, time: float, heard: Window | None) -> list[Heard]:
        """The next window, which starts at `time`, with its match if it has one."""
        self.runs = [run for run in self.runs if number - run[-1].number <= 2]
        told = self._ended(time)
        if heard is not None:
            run = next((run for run in self.runs if heard.continues(run[-1])), None)
            if run is None:
                run = []
                self.runs.append(run)
            run.append(heard)
            told += self._heard(run)
        if not self.playing and not self.in_gap:
            self.in_gap = True
            told.append(Heard("gap", told[-1].time if told else 0.0, None))
        return told

    def score(self, run: Sequence[Window]) -> float:
        """The z-score of windows that overlap: the sum of theirs over its standard deviation."""
        times = torch.tensor([each.time for each in run], dtype=torch.float64)
        shared = (1 - (times[:, None] - times).abs() / self.window).clamp(min=0)
        return sum(each.match.score for each in run) / sqrt(float(shared.sum()))

    def finish(self) -> list[Heard]:
        """The end of the recording: all tracks end."""
        return self._ended(torch.inf)

    def _heard(self, run: list[Window]) -> list[Heard]:
        """Start the track of a run, or let it go on, if the run is sure."""
        score = self.score(run)
        if score < self.threshold:
            return []
        first, stop = run[0], max(each.stop for each in run)
        playing = self.playing.get(first.match.name)
        if playing:
            longer = playing._replace(stop=max(stop, playing.stop), score=max(score, playing.score))
            self.playing[playing.name] = longer
            return []
        rate = first.match.rate
        offset = first.match.offset + (first.start - first.time) * rate
        track = Track(first.match.name, first.start, stop, offset, score, rate)
        self.playing[track.name], self.in_gap = track, False
        return [Heard("start", track.start, track)]

    def _ended(self, time: float) -> list[Heard]:
        """End the tracks that no later window can prolong: those whose run is over, and patience too."""
        alive = {run[0].match.name for run in self.runs} if time < torch.inf else set()
        over = [
            track for track in self.playing.values() if track.name not in alive and time > track.stop + self.patience
        ]
        for track in over:
            del self.playing[track.name]
        return [Heard("end", track.stop, track) for track in sorted(over, key=lambda track: track.stop)]


def looked_up(
    library: Library,
    waves: Tensor,
    times: Sequence[float],
    numbers: Sequence[int],
    sample_rate: int,
    *,
    threshold: float = 5.0,
    changed: bool = True,
) -> list[Window | None]:
    """Windows `(n, c, t)` of a recording, that start at `times`, and the best match of each, accepted or not.

    Args:
        library: the known songs.
        waves, times, numbers, sample_rate: the windows, their starts in seconds, their numbers, and Hz.
        threshold, changed: see `Library.recognise`.
    """
    marks = fingerprint(waves, sample_rate, library.recipe)
    answers = library.recognise(marks, threshold=threshold, changed=changed)
    found: list[Window | None] = [None] * len(times)
    for k, (begin, stop) in library.spans(marks, answers).items():
        found[k] = Window(numbers[k], times[k], answers[k][0], times[k] + begin, times[k] + stop)
    return found
