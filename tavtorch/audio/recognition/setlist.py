"""What was played when: a radio hour or a DJ set as a list of songs with times."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.audio.recognition.landmarks import fingerprint
from tavtorch.audio.recognition.library import Library
from tavtorch.audio.recognition.match import Match

_WINDOWS = 16  # read and looked up at once


class Track(NamedTuple):
    """A song within a long recording; times in seconds of that recording."""

    name: str
    start: float
    stop: float
    offset: float
    """Seconds into the song at `start`."""
    score: float
    """The best of its windows."""


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
    """The songs of a recording of any length, in the memory of some windows of it.

    The recording is cut into windows; each is recognised by itself and speaks for the `hop` seconds about its middle.
    Neighbours that name the same song become one track; where nothing is accepted there is none.

    Args:
        library: the known songs.
        read: takes a start and a number of samples, gives those samples `(c, t)`, as from an open file.
        length: samples of the recording, each channel.
        sample_rate: in Hz.
        window: seconds that are recognised at once; more is surer.
        hop: seconds from one window to the next: how exact the times are.
        threshold: see `Library.recognise`.
    """
    if length < 1:
        raise ValueError(f"length: expected at least one sample, got {length}; skip empty recordings.")
    if not 0 < hop <= window:
        raise ValueError(f"hop: expected more than 0 and at most window = {window} s, got {hop}.")
    tracks: list[Track] = []
    total, margin = length / sample_rate, (window - hop) / 2
    for start, match in _matches(library, read, length, sample_rate, window, hop, threshold):
        begin = start + margin if start else 0.0
        stop = total if start + window >= total else start + window - margin
        last = tracks[-1] if tracks else None
        begin = max(begin, last.stop if last else 0.0)
        if last and last.name == match.name and begin - last.stop <= hop:
            tracks[-1] = last._replace(stop=stop, score=max(last.score, match.score))
        else:
            tracks.append(Track(match.name, begin, stop, match.offset + begin - start, match.score))
    return tracks


def _matches(
    library: Library,
    read: Callable[[int, int], Tensor],
    length: int,
    sample_rate: int,
    window: float,
    hop: float,
    threshold: float,
) -> Iterator[tuple[float, Match]]:
    """Start in seconds and best match of every window that has one."""
    frames = min(round(window * sample_rate), length)
    step = round(hop * sample_rate)
    starts = [*range(0, length - frames, step), length - frames]
    for i in range(0, len(starts), _WINDOWS):
        some = starts[i : i + _WINDOWS]
        wave = torch.stack([read(start, frames) for start in some])
        for start, found in zip(
            some, library.recognise(fingerprint(wave, sample_rate, library.recipe), threshold=threshold), strict=True
        ):
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
    """The songs of clips; of recordings longer than `window` seconds a `setlist`.

    Args:
        wave: `(b, c, t)`.
        sample_rate: in Hz.
        library: the known songs.
        vote, top, threshold, neighbours, tolerance: see `Library.recognise`; a setlist has its own.
        window: longest clip, in seconds.

    Returns:
        One list an item: its best matches, or its tracks.
    """
    if wave.shape[-1] > window * sample_rate:
        parts = [lambda start, frames, one=one: one[:, start : start + frames] for one in wave]
        return [[*setlist(library, read, wave.shape[-1], sample_rate, threshold=threshold)] for read in parts]
    marks = fingerprint(wave, sample_rate, library.recipe, verify=vote == "offset")
    found = library.recognise(marks, vote, top, threshold=threshold, neighbours=neighbours, tolerance=tolerance)
    return [[*matches] for matches in found]
