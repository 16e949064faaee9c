"""Candidates for clips: the votes of an index, turned into scores."""

import torch
from torch import Tensor

from tavtorch.audio.recognition.constellation import Change, Peaks, pairs
from tavtorch.audio.recognition.index import Index
from tavtorch.audio.recognition.landmarks import Landmarks
from tavtorch.audio.recognition.shards import Shards

CANDIDATES = 30
"""Candidates that are scored for each clip; a clip has no more answers than this."""


def by_offset(
    index: Index | Shards, clips: Landmarks, change: Change, *, neighbours: int, tolerance: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Song (position in `index.ids`), offset in frames, votes and score of each candidate, `(b, n)` each.

    Hashes that agree on where a clip lies in a song vote for it; candidates are verified if the clips have `evidence`.

    Args:
        index: the known songs.
        clips: see `Library.recognise`, also for the score.
        change: of each clip `(b,)`.
        neighbours: pairs for each peak of a clip.
        tolerance: frames by which the time between two peaks of a clip may be off.
    """
    query = pairs(change.undone(clips.peaks), neighbours)
    start, votes = index.vote(query, CANDIDATES, tolerance=tolerance)
    song = index.songs(start)
    score = vote_score(votes, song)
    if clips.evidence is not None:
        score = score + index.verify(start, clips, tempo=change.tempo[:, None], pitch=change.pitch[:, None])
    return song, start - index.begin[song], votes, score / 2**0.5


def by_count(
    index: Index | Shards, clips: Landmarks, *, neighbours: int, tolerance: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `by_offset`, with the number of hashes that a song and the clip share as votes; offsets are NaN."""
    votes, song = index.count(pairs(clips.peaks, neighbours), tolerance=tolerance).sort(dim=1, descending=True)
    votes, song = votes[:, :CANDIDATES], song[:, :CANDIDATES]
    offset = torch.full_like(votes, torch.nan, dtype=torch.float32)
    return song, offset, votes, vote_score(votes, song) / 2**0.5


def select(landmarks: Landmarks, clips: slice | Tensor, device: torch.device) -> Landmarks:
    """Some of the clips, on `device`."""

    def take(x: Tensor) -> Tensor:
        return x[clips].to(device)

    evidence = None if landmarks.evidence is None else take(landmarks.evidence)
    peaks = Peaks(*map(take, landmarks.peaks))
    return landmarks._replace(hash=take(landmarks.hash), time=take(landmarks.time), peaks=peaks, evidence=evidence)


def vote_score(votes: Tensor, song: Tensor) -> Tensor:
    """`2 (√v - mean √v)`; the mean is over the candidates of songs other than the first's, else over all but the first.

    The square root of a count has variance ¼, so that this is about a z-score.
    """
    root = votes.sqrt()
    others = (song != song[:, :1]) & (votes > 0)
    all_but_first = (votes > 0).index_fill(1, torch.tensor([0], device=votes.device), False)
    others = torch.where(others.any(1, keepdim=True), others, all_but_first)
    mean = (root * others).sum(1, keepdim=True) / others.sum(1, keepdim=True).clamp(min=1)
    return 2 * (root - mean.clamp(min=1))
