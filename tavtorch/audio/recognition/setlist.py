"""Recognition in long recordings: the songs of a radio hour or a DJ set, with their times."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.audio.recognition.landmarks import fingerprint
from tavtorch.audio.recognition.library import Library
from tavtorch.audio.recognition.match import Match

_WINDOWS = 16
"""Windows that are read and looked up at once."""


class Track(NamedTuple):
    """A song in a long recording; `start` and `stop` are seconds of that recording."""

    name: str
    start: float
    stop: float
    offset: float
    """Seconds into the song at `start`."""
    score: float
    """Highest score of its windows, see `Library.recognise`."""


def setlist(
    library: Library,
    read: Callable[[int, int], Float[Tensor, "c t"]],
    length: int,
    sample_rate: int,
    *,
    window: float = 10.0,
    hop: float = 5.0,
    threshold: float = 5.0,
) -> list[Track]:
    """The songs of a recording of any length; memory is that of 16 windows.

    The recording is cut into overlapping windows. Each is recognised by itself and stands for the `hop` seconds around
    its middle. Adjacent windows with the same song are joined to one track; windows without an accepted match are left
    out.

    Args:
        library: the known songs.
        read: called with a start and a number of samples, returns these samples `(c, t)`, as from an open file.
        length: samples of the recording in each channel.
        sample_rate: in Hz.
        window: length of a window in seconds; longer ones are recognised more reliably.
        hop: seconds from one window to the next; the times of a track are exact to about this.
        threshold: see `Library.recognise`.
    """
    if length < 1:
        raise ValueError(f"length: expected at least one sample, got {length}; skip empty recordings.")
    if not 0 < hop <= window:
        raise ValueError(f"hop: expected more than 0 and at most window = {window} s, got {hop}.")
    tracks: list[Track] = []
    total = length / sample_rate
    margin = (window - hop) / 2  # of a window on each side, which its neighbours stand for
    for start, match in _window_matches(library, read, length, sample_rate, window, hop, threshold):
        # What the window stands for: the first and the last reach to the ends, and none reaches into the last track.
        begin = start + margin if start else 0.0
        stop = total if start + window >= total else start + window - margin
        last = tracks[-1] if tracks else None
        begin = max(begin, last.stop if last else 0.0)

        if last and last.name == match.name and begin - last.stop <= hop:
            tracks[-1] = last._replace(stop=stop, score=max(last.score, match.score))
        else:
            tracks.append(Track(match.name, begin, stop, match.offset + begin - start, match.score))
    return tracks


def _window_matches(
    library: Library,
    read: Callable[[int, int], Tensor],
    length: int,
    sample_rate: int,
    window: float,
    hop: float,
    threshold: float,
) -> Iterator[tuple[float, Match]]:
    """Start in seconds and best match of every window with an accepted match."""
    frames = min(round(window * sample_rate), length)
    step = round(hop * sample_rate)
    starts = [*range(0, length - frames, step), length - frames]
    for i in range(0, len(starts), _WINDOWS):
        some = starts[i : i + _WINDOWS]
        wave = torch.stack([read(start, frames) for start in some])
        answers = library.recognise(fingerprint(wave, sample_rate, library.recipe), threshold=threshold)
        for start, found in zip(some, answers, strict=True):
            if found and found[0].accepted:
                yield start / sample_rate, found[0]


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
    window: float = 15.0,
) -> list[list[Match | Track]]:
    """The songs of clips; for recordings longer than `window` seconds, their `setlist`.

    Args:
        wave: `(b, c, t)`.
        sample_rate: in Hz.
        library: the known songs.
        vote, top, threshold, neighbours, tolerance: see `Library.recognise`; a setlist takes the threshold only.
        window: length of the longest clip in seconds.

    Returns:
        A list for each item: its best matches, or its tracks.
    """
    if wave.shape[-1] > window * sample_rate:
        parts = [lambda start, frames, one=one: one[:, start : start + frames] for one in wave]
        return [[*setlist(library, read, wave.shape[-1], sample_rate, threshold=threshold)] for read in parts]
    marks = fingerprint(wave, sample_rate, library.recipe, verify=vote == "offset")
    found = library.recognise(marks, vote, top, threshold=threshold, neighbours=neighbours, tolerance=tolerance)
    return [[*matches] for matches in found]
