"""The search structure: hashes and peaks of many songs on one device, where clips are looked up and verified."""

from collections.abc import Iterable, Mapping
from copy import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tavtorch.audio.recognition.constellation import REACH, Hashes, Peaks, pairs, unpack
from tavtorch.audio.recognition.landmarks import Landmarks, Recipe

GAP = 4096
"""Empty frames between songs. A clip may start up to this many frames before its song and be at most this long."""

BUDGET = 2**18
"""Largest number of rows that are read for a clip and run, rarest hashes first: common ones tell songs apart least."""

_DECAY = 20.0
"""Ranks after which the weight of a peak has fallen to 1/e."""


class Candidates(NamedTuple):
    """Possible positions of clips, `(b, n)` each; `votes` is 0 where there is none."""

    start: Tensor
    """Frame of the timeline at which the clip would start."""
    votes: Tensor


class Index:
    """Songs end to end on one timeline of frames, `GAP` frames apart.

    Rows (hash, frame) are kept in runs that are sorted by hash, peaks sorted by frame. `extend` adds a run; a run is
    merged with the one before it while that is at most twice as long. So n songs are in about log n runs, and a row is
    copied about log n times.
    """

    def __init__(self, recipe: Recipe, device: torch.device | str = "cpu"):
        self.recipe, self.device = recipe, torch.device(device)
        self.end = GAP  # of the timeline
        self.ids: list[int] = []
        self.begin = torch.zeros(0, dtype=torch.int64, device=device)  # first frame of each song
        self._begins: list[int] = []
        self._runs: list[tuple[Tensor, Tensor]] = []
        none = torch.tensor([[-(2**31)], [0], [0]], dtype=torch.int32, device=device)  # before any clip
        self._peaks = [none]  # each with rows frame, bin and rank

    def __len__(self) -> int:
        """Number of rows."""
        return sum(len(hashes) for hashes, _ in self._runs)

    def extend(self, songs: Iterable[tuple[int, Peaks, int]]) -> None:
        """Append songs, each an id, its peaks `(k,)` and its number of frames; all are sorted at once."""
        rows: list[tuple[Tensor, Tensor]] = []
        for song, peaks, frames in songs:
            if self.end + frames >= 2**31:
                raise ValueError("the library is full: 2^31 frames; spread it over processes with `shard`.")
            found = pairs(peaks.loudest(self.recipe.paired), self.recipe.neighbours)
            filled = found.hash >= 0
            rows.append((found.hash[filled].int(), (found.time[filled] + self.end).int()))

            order = peaks.time.sort(stable=True)[1]
            table = torch.stack((peaks.time + self.end, peaks.frequency, peaks.rank))[:, order]
            self._peaks.append(table[:, table[2] >= 0].int().to(self.device))

            self.ids.append(song)
            self._begins.append(self.end)
            self.end += frames + GAP
        if not rows:
            return

        self.begin = torch.tensor(self._begins, device=self.device)
        hashes, frame = (torch.cat(x).to(self.device) for x in zip(*rows, strict=True))
        hashes, order = hashes.sort()
        self._runs.append((hashes, frame[order]))
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
            self._runs.append(_merged(self._runs.pop(), self._runs.pop()))

    def discard(self, song: int) -> None:
        """Remove a song with its rows and peaks; its part of the timeline stays empty."""
        i = self.ids.index(song)
        first, last = self._begins[i], self._begins[i + 1] if i + 1 < len(self.ids) else self.end

        def of_others(frame: Tensor) -> Tensor:
            return (frame < first) | (frame >= last)

        for j, (hashes, frame) in enumerate(self._runs):
            keep = of_others(frame)
            self._runs[j] = hashes[keep], frame[keep]
        self._peaks = [table[:, of_others(table[0])] for table in self._peaks]
        del self.ids[i], self._begins[i]
        self.begin = torch.tensor(self._begins, dtype=torch.int64, device=self.device)

    def tensors(self) -> dict[str, Tensor]:
        """All that it holds, by name; see `of`."""
        found = {"ids": torch.tensor(self.ids), "begins": torch.tensor(self._begins), "end": torch.tensor(self.end)}
        for i, (hashes, frame) in enumerate(self._runs):
            found |= {f"hash {i}": hashes, f"frame {i}": frame}
        return found | {"peaks": torch.cat(self._peaks, 1)}

    @classmethod
    def of(cls, recipe: Recipe, device: torch.device | str, tensors: Mapping[str, Tensor]) -> "Index":
        """The index that `tensors` were taken of; a KeyError if one is missing."""
        index = cls(recipe, device)
        index.ids, index._begins = tensors["ids"].tolist(), tensors["begins"].tolist()
        index.end, index._peaks = int(tensors["end"]), [tensors["peaks"].to(device)]
        for i in range((len(tensors) - 4) // 2):
            index._runs.append((tensors[f"hash {i}"].to(device), tensors[f"frame {i}"].to(device)))
        index.begin = torch.tensor(index._begins, dtype=torch.int64, device=device)
        return index

    def without(self, songs: Iterable[int]) -> "Index":
        """An index without some songs; this one stays as it is."""
        other = copy(self)
        other.ids, other._begins = [*self.ids], [*self._begins]
        other._runs, other._peaks = [*self._runs], [*self._peaks]
        for song in songs:
            other.discard(song)
        return other

    def begins(self) -> dict[int, int]:
        """First frame of each song, by its id."""
        return dict(zip(self.ids, self._begins, strict=True))

    def songs(self, start: Tensor) -> Tensor:
        """Position in `ids` of the song that a clip starting at frame `start` of the timeline belongs to."""
        return (torch.searchsorted(self.begin - GAP, start, right=True) - 1).clamp(min=0)

    def vote(self, query: Hashes, count: int, *, tolerance: int = 0, budget: int = BUDGET) -> Candidates:
        """The `count` start positions with most votes for each clip: the highest peaks of its histogram of offsets.

        votes[o] = #{ (query hash at t, row at s) that are equal : |s - t - o| <= 1 }

        Args:
            query: hashes of the clips.
            count: number of positions.
            tolerance, budget: see `lookup`.
        """
        # Histogram over (clip, start) as one sorted key; each clip has `span` starts, the first of which is -GAP.
        clip, frame, time = self.lookup(query, tolerance=tolerance, budget=budget)
        span = self.end + GAP
        key = clip * span + frame - time + GAP
        if len(query.hash) * span < 2**31:
            key = key.int()  # which sorts in two thirds of the time
        key, votes = torch.unique(key, return_counts=True)
        key = key.long()

        # Votes of three neighbouring frames together; of these the local maxima with at least two votes.
        before, after = _neighbour_votes(key, votes)
        around = votes + before + after
        highest = (around > 1) & (votes >= before) & (votes > after)
        key, votes = key[highest], around[highest]

        # For each clip the starts by descending votes; `nth` is their position in this order.
        clip = key // span
        order = (clip * (votes.max() + 1 if len(votes) else 1) - votes).argsort(stable=True)
        clip, votes, start = clip[order], votes[order], key[order] - GAP - clip[order] * span
        nth = torch.arange(len(clip), device=self.device) - torch.searchsorted(clip, clip)

        best = nth < count
        result = Candidates(*query.hash.new_zeros(2, len(query.hash), count))
        result.start[clip[best], nth[best]] = start[best]
        result.votes[clip[best], nth[best]] = votes[best]
        return result

    def count(self, query: Hashes, *, tolerance: int = 0) -> Tensor:
        """Number of rows of each song that equal a hash of the clip, at any time: `(b, songs)`, the course's vote."""
        clip, frame, _ = self.lookup(query, tolerance=tolerance)
        n = max(1, len(self.ids))
        return torch.bincount(clip * n + self.songs(frame), minlength=len(query.hash) * n).reshape(-1, n)

    def verify(
        self, start: Tensor, clip: Landmarks, *, tempo: float | Tensor = 1.0, pitch: float | Tensor = 1.0
    ) -> Tensor:
        """How far the clip's levels at the peaks of each candidate are above chance: a standard normal score `(b, n)`.

            z = Σ w_p E[f_p, t_p - o] / √(Σ w_p²)  over the stored peaks p within the clip,  w_p = exp(-rank_p / 20)

        At a changed tempo and pitch E is taken at `pitch f_p` and `(t_p - o) / tempo`.

        Loud peaks have the greater weights: noise masks them last.

        Args:
            start: `(b, n)`, as from `vote`; o in the equation.
            clip: landmarks with `evidence` E.
            tempo, pitch: the change of the clip, a number or as `start`; see `Change`.
        """
        _, level, weight = self._at_peaks(start, clip, tempo, pitch)
        above, variance = ((x * weight).sum(-1, dtype=torch.float64) for x in (level, weight))  # exact in any order
        return (above / variance.sqrt().clamp(min=1)).float()

    def span(
        self, start: Tensor, clip: Landmarks, *, tempo: float | Tensor = 1.0, pitch: float | Tensor = 1.0
    ) -> tuple[Tensor, Tensor]:
        """The part of each clip with the highest score of `verify`: its first frame and its end, `(b,)`.

        There the song is heard, and not before or after: what does not belong to it lowers the score.

        Args:
            start: `(b,)`, of the clip's song.
            clip: see `verify`.
            tempo, pitch: a number or `(b,)`.
        """
        return best_part(self.by_frame(start, clip, tempo=tempo, pitch=pitch))

    def by_frame(
        self, start: Tensor, clip: Landmarks, *, tempo: float | Tensor = 1.0, pitch: float | Tensor = 1.0
    ) -> Tensor:
        """The sums of `verify`, of `w E` and of `w²`, over the peaks at each frame: `(2, b, frames)`.

        `best_part` and `least_rest` are made of them; arguments as of `span`.
        """
        tempo, pitch = (torch.as_tensor(x, device=self.device).reshape(-1, 1) for x in (tempo, pitch))
        time, level, weight = (x[:, 0] for x in self._at_peaks(start[:, None], clip, tempo, pitch))
        sums = torch.zeros(2, len(start), clip.frames, device=self.device)
        for total, value in zip(sums, (level, weight), strict=True):
            total.scatter_add_(1, time, value * weight)
        return sums

    def _at_peaks(
        self, start: Tensor, clip: Landmarks, tempo: float | Tensor, pitch: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of the stored peaks within each clip, `(b, n, most)`: frame of the clip, evidence, and weight or 0."""
        assert clip.evidence is not None
        self._peaks = [torch.cat(self._peaks, 1)] if len(self._peaks) > 1 else self._peaks
        frame, frequency, rank = self._peaks[0]

        # Columns of the peaks from each start to the end of the clip; `inside` masks the padding.
        tempo, pitch = (  # in double precision, as the timeline has up to 2^31 frames
            torch.as_tensor(x, dtype=torch.float64, device=self.device).expand(start.shape) for x in (tempo, pitch)
        )
        ends = start - tempo / 2, start + tempo * (clip.frames - 0.5)  # that round to frames 0 and `clip.frames`
        first, last = (torch.searchsorted(frame, x.ceil().int()) for x in ends)
        column = first[..., None] + torch.arange(max(1, int((last - first).max())), device=self.device)
        inside = column < last[..., None]
        column = torch.where(inside, column, 0)

        time = ((frame[column] - start[..., None]).float() / tempo[..., None].float()).round().long()
        row = (frequency[column] * pitch[..., None].float()).round().long()
        inside &= row < clip.evidence.shape[-2]  # what was above the clip's band is not known
        time, row = torch.where(inside, time.clamp(0, clip.frames - 1), 0), torch.where(inside, row, 0)
        cell = row * clip.frames + time
        level = clip.evidence.flatten(1).gather(1, cell.flatten(1)).reshape(cell.shape)
        return time, level, torch.where(inside, torch.exp(-rank[column] / _DECAY), 0.0)

    def total(self, mine: Tensor) -> Tensor:
        """Sums over rows of the index, from those over the rows of this process: the same, as it has them all."""
        return mine

    def lookup(self, query: Hashes, *, tolerance: int = 0, budget: int = BUDGET) -> tuple[Tensor, Tensor, Tensor]:
        """Every row that equals a hash of the query, as three tensors: its clip, its frame, and the hash's time.

        A clip that has the hash at this time would start at frame - time of the timeline.

        Args:
            query: hashes of the clips.
            tolerance: frames by which the time between the two peaks of a row may differ.
            budget: of each clip and run at most so many rows are read, those of the rarest hashes.
        """
        found = [(query.hash.new_zeros(0),) * 3]
        key, step = query.hash.int(), unpack(query.hash)[2]
        least = key - torch.clamp(step - 1, max=tolerance).int()  # the step is lowest in a hash, so that neighbours in
        most = key + torch.clamp(REACH[1] - step, max=tolerance).int()  # time are neighbours in the order of rows
        for hashes, frame in self._runs:
            # First row and number of rows for each hash, rarest first, as far as the budget goes.
            first = torch.searchsorted(hashes, least)
            rows = torch.where(key < 0, 0, torch.searchsorted(hashes, most, right=True) - first)
            rows, rarest = rows.sort(dim=1, stable=True)
            rows = torch.where(rows.cumsum(1) <= budget, rows, 0)
            first, time = first.gather(1, rarest), query.time.gather(1, rarest)

            # One entry for each row: the hash that it equals, and the row.
            entry = torch.repeat_interleave(rows.flatten())
            row = first.flatten()[entry] + _counted_up(rows.flatten())
            found.append((entry // query.hash.shape[1], frame[row].long(), time.flatten()[entry]))
        clip, frame, time = (torch.cat(x) for x in zip(*found, strict=True))
        return clip, frame, time


def best_part(sums: Tensor) -> tuple[Tensor, Tensor]:
    """First frame and end of the part with the highest score, from `Index.by_frame`; see `Index.span`."""
    frames = sums.shape[-1]
    value, variance = (x[:, None, :] - x[:, :, None] for x in F.pad(sums, (1, 0)).cumsum(-1))

    # Of the parts [i, j), of equal ones the shortest, which comes first where i falls and j rises.
    parts = (value / variance.clamp(min=1).sqrt()).triu(1)
    best = parts.flip(1).flatten(1).argmax(1)
    return frames - best // (frames + 1), best % (frames + 1)


def least_rest(sums: Tensor, share: int) -> Tensor:
    """The score of `Index.verify` without one part of the clip, the least over all parts of length frames / share.

    It is low where one moment of the clip speaks for a song alone.

    Args:
        sums: from `Index.by_frame`.
        share: the part is so small a part of the clip.
    """
    length = -(-sums.shape[-1] // share)
    total = F.pad(sums, (1, 0)).cumsum(-1)
    value, variance = total[..., -1:] - (total[..., length:] - total[..., :-length])
    return (value / variance.clamp(min=1).sqrt()).amin(-1)


def _counted_up(counts: Tensor) -> Tensor:
    """`0, 1, ..., counts[0] - 1, 0, 1, ..., counts[1] - 1, ...`."""
    end = counts.cumsum(0)
    total = int(end[-1]) if len(end) else 0
    return torch.arange(total, device=counts.device) - torch.repeat_interleave(end - counts, counts)


def _neighbour_votes(key: Tensor, votes: Tensor) -> tuple[Tensor, Tensor]:
    """Votes one frame before and one frame after each key; keys are sorted and different."""
    adjacent = torch.where(key.diff() == 1, 1, 0)
    return F.pad(votes[:-1] * adjacent, (1, 0)), F.pad(votes[1:] * adjacent, (0, 1))


def _merged(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Two sorted runs as one, in linear time."""
    device = a[0].device
    position_a = torch.arange(len(a[0]), device=device) + torch.searchsorted(b[0], a[0])
    position_b = torch.arange(len(b[0]), device=device) + torch.searchsorted(a[0], b[0], right=True)
    merged = tuple(torch.empty(len(x) + len(y), dtype=x.dtype, device=device) for x, y in zip(a, b, strict=True))
    for into, x, y in zip(merged, a, b, strict=True):
        into[position_a], into[position_b] = x, y
    return merged[0], merged[1]
