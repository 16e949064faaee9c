"""Sorted landmarks of many songs on one device: where a batch of clips is looked up, and its candidates verified."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tavtorch.audio.recognition.constellation import REACH, Pairs, Peaks, pack, pairs, unpack
from tavtorch.audio.recognition.landmarks import Landmarks, Recipe

GAP = 4096
"""Frames between two songs on the common axis: a clip may begin so much before its song does, and last so long."""
_BUDGET = 2**18
"""Rows that one clip reads, at most. The rarest hashes come first: what every song holds says nothing."""


class Candidates(NamedTuple):
    """Places where a clip may be, `(b, n)` each; where there is none, `votes` is 0."""

    place: Tensor
    """Frame of the common axis at which the clip would begin."""
    votes: Tensor


class Index:
    """Songs on one axis of frames, end to end with gaps; rows (hash, frame) sorted by hash, peaks sorted by frame.

    What is added is a sorted run of its own; a run no more than twice as long as the next is merged with it, so that n
    songs stand in about log n runs and a row is copied about log n times in its life.
    """

    def __init__(self, recipe: Recipe, device: torch.device | str = "cpu"):
        self.recipe, self.device, self.end = recipe, torch.device(device), GAP
        self.ids: list[int] = []
        self.begin = torch.zeros(0, dtype=torch.int64, device=device)
        self._begins: list[int] = []
        self._runs: list[tuple[Tensor, Tensor]] = []
        self._peaks: list[Tensor] = []  # rows frame, bin, rank

    def __len__(self) -> int:
        """Rows."""
        return sum(len(hashes) for hashes, _ in self._runs)

    def extend(self, songs: Iterable[tuple[int, Peaks, int]]) -> None:
        """Append songs: id, peaks `(k,)` and number of frames of each; one sort for all of them."""
        rows: list[tuple[Tensor, Tensor]] = []
        for song, peaks, frames in songs:
            if self.end + frames >= 2**31:
                raise ValueError("the library is full: 2^31 frames; spread it over processes with `shard`.")
            found = pairs(peaks.loudest(self.recipe.paired), self.recipe.neighbours)
            filled, order = found.hash >= 0, peaks.time.sort(stable=True)[1]
            rows.append((found.hash[filled].int(), (found.time[filled] + self.end).int()))
            table = torch.stack((peaks.time + self.end, peaks.frequency, peaks.rank))[:, order]
            self._peaks.append(table[:, table[2] >= 0].int().to(self.device))
            self.ids.append(song)
            self._begins.append(self.end)
            self.end += frames + GAP
        if rows:
            self.begin = torch.tensor(self._begins, device=self.device)
            hashes, frame = (torch.cat(x).to(self.device) for x in zip(*rows, strict=True))
            hashes, order = hashes.sort()
            self._runs.append((hashes, frame[order]))
            while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
                self._runs.append(_merged(self._runs.pop(), self._runs.pop()))

    def discard(self, song: int) -> None:
        """Take a song out, and its rows and peaks."""
        i = self.ids.index(song)
        first, last = self._begins[i], self._begins[i + 1] if i + 1 < len(self.ids) else self.end

        def others(frame: Tensor) -> Tensor:
            return (frame < first) | (frame >= last)

        self._runs = [(hashes[keep := others(frame)], frame[keep]) for hashes, frame in self._runs]
        self._peaks = [table[:, others(table[0])] for table in self._peaks]
        del self.ids[i], self._begins[i]
        self.begin = torch.tensor(self._begins, dtype=torch.int64, device=self.device)

    def songs(self, place: Tensor) -> Tensor:
        """Position in `ids` of the song that a clip beginning at `place` lies in."""
        return (torch.searchsorted(self.begin - GAP, place, right=True) - 1).clamp(min=0)

    def vote(self, query: Pairs, count: int) -> Candidates:
        """Places that most pairs of each clip agree on, to within a frame: peaks of the histogram of offsets.

        votes[o] = #{ (query pair at t, row at s) of equal hash : |s - t - o| <= 1 }
        """
        clip, place = self.hits(query)
        clips, span = len(query.hash), self.end + GAP
        place, votes = torch.unique(clip * span + place + GAP, return_counts=True)
        before, after = _beside(place, votes)
        around = votes + before + after
        top = (around > 1) & (votes >= before) & (votes > after)
        place, votes = place[top], around[top]
        clip = place // span
        order = (clip * (votes.max() + 1 if len(votes) else 1) - votes).argsort(stable=True)
        place, votes, clip = place[order] - GAP - clip[order] * span, votes[order], clip[order]
        nth = torch.arange(len(clip), device=self.device) - torch.searchsorted(clip, clip)
        best = nth < count
        result = Candidates(*query.hash.new_zeros(2, clips, count))
        for into, values in zip(result, (place, votes), strict=True):
            into[clip[best], nth[best]] = values[best]
        return result

    def count(self, query: Pairs) -> Tensor:
        """Rows of each song whose hash a clip holds, `(b, songs)`: the course's first vote, blind to time."""
        clip, place = self.hits(query, aligned=False)
        n = max(1, len(self.ids))
        return torch.bincount(clip * n + self.songs(place), minlength=len(query.hash) * n).reshape(-1, n)

    def verify(self, place: Tensor, clip: Landmarks, *, pitch: float = 1.0, decay: float = 20.0) -> Tensor:
        """How well the stored peaks at each candidate place stand out from the clip: a standard normal score.

            z = Σ w_p E[f_p, t_p - o] / √(Σ w_p²),   over its peaks p within the clip,   w_p = exp(-rank_p / decay)

        Loud peaks weigh more: they are what is left under noise.

        Args:
            place: `(b, n)`, as from `vote`.
            clip: landmarks with `evidence`.
            pitch: how many times too high the clip's frequencies are.
            decay: ranks after which the weight of a peak has fallen to 1/e.
        """
        assert clip.evidence is not None
        self._peaks = [torch.cat(self._peaks, 1)] if len(self._peaks) > 1 else self._peaks
        frame, frequency, rank = self._peaks[0]
        first, last = (torch.searchsorted(frame, (place + x).int()) for x in (0, clip.frames))
        at = first[..., None] + torch.arange(max(1, int((last - first).max())), device=self.device)
        inside = at < last[..., None]
        at = torch.where(inside, at, 0)
        time = torch.where(inside, frame[at] - place[..., None], 0)
        row = (frequency[at] * pitch).round().long().clamp(max=clip.evidence.shape[-2] - 1)
        cell = row * clip.frames + time
        level = clip.evidence.flatten(1).gather(1, cell.flatten(1)).reshape(cell.shape)
        weight = torch.where(inside, torch.exp(-rank[at] / decay), 0.0)
        return (level * weight).sum(-1) / weight.square().sum(-1).sqrt().clamp(min=1)

    def hits(self, query: Pairs, *, aligned: bool = True) -> tuple[Tensor, Tensor]:
        """Clip and place of every row that holds a hash of the query's; unaligned: the row's own frame."""
        clips, places = [], []
        for hashes, frame in self._runs:
            key = query.hash.int()
            first = torch.searchsorted(hashes, key)
            rows = torch.where(key < 0, 0, torch.searchsorted(hashes, key, right=True) - first)
            rows, rare = rows.sort(dim=1, stable=True)
            rows = torch.where(rows.cumsum(1) <= _BUDGET, rows, 0)
            first, time = first.gather(1, rare), query.time.gather(1, rare)
            which = torch.repeat_interleave(rows.flatten())
            row = first.flatten()[which] + _within(rows.flatten())
            places.append(frame[row] - time.flatten()[which] if aligned else frame[row].long())
            clips.append(which // query.hash.shape[1])
        if not clips:
            return query.hash.new_zeros(0), query.hash.new_zeros(0)
        return torch.cat(clips), torch.cat(places)


def widened(query: Pairs, tolerance: int) -> Pairs:
    """The same pairs with every step in time up to `tolerance` frames longer and shorter."""
    frequency, rise, step = unpack(query.hash)
    found = []
    for more in range(-tolerance, tolerance + 1):
        good = (query.hash >= 0) & (step + more > 0) & (step + more <= REACH[1])
        found.append(torch.where(good, pack(frequency, rise, step + more), -1))
    return Pairs(torch.cat(found, 1), query.time.repeat(1, len(found)))


def _within(rows: Tensor) -> Tensor:
    """0, 1, ... of each of the given numbers, one after the other."""
    end = rows.cumsum(0)
    return torch.arange(int(end[-1]) if len(end) else 0, device=rows.device) - torch.repeat_interleave(end - rows, rows)


def _beside(place: Tensor, votes: Tensor) -> tuple[Tensor, Tensor]:
    """Votes one frame before and one after each place; places are sorted."""
    touching = torch.where(place.diff() == 1, 1, 0)
    return F.pad(votes[:-1] * touching, (1, 0)), F.pad(votes[1:] * touching, (0, 1))


def _merged(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Two sorted runs as one, in linear time."""
    at_a = torch.arange(len(a[0]), device=a[0].device) + torch.searchsorted(b[0], a[0])
    at_b = torch.arange(len(b[0]), device=a[0].device) + torch.searchsorted(a[0], b[0], right=True)
    merged = tuple(torch.empty(len(x) + len(y), dtype=x.dtype, device=x.device) for x, y in zip(a, b, strict=True))
    for into, x, y in zip(merged, a, b, strict=True):
        into[at_a], into[at_b] = x, y
    return merged[0], merged[1]
