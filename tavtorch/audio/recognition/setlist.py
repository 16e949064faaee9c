"""Recognition in long recordings: the songs of a radio hour or a DJ set, with their times."""

from collections.abc import Callable
from math import log
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.audio.recognition.landmarks import fingerprint
from tavtorch.audio.recognition.library import Library
from tavtorch.audio.recognition.match import Match
from tavtorch.audio.recognition.tracks import RARER, WINDOWS, Heard, Track, Tracker, looked_up


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
    tracker = Tracker(window, threshold + log(len(starts)) / RARER)
    told: list[Heard] = []
    for i in range(0, len(starts), WINDOWS):
        some = starts[i : i + WINDOWS]
        waves, times = torch.stack([read(start, frames) for start in some]), [start / sample_rate for start in some]
        numbers = range(i, i + len(some))
        windows = looked_up(library, waves, times, numbers, sample_rate, threshold=threshold, changed=changed)
        for number, time, heard in zip(numbers, times, windows, strict=True):
            told += tracker.add(number, time, heard)
    told += tracker.finish()
    return sorted((one.track for one in told if one.kind == "end" and one.track), key=lambda track: track.start)


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
