"""The songs of a library spread over the processes of a run, which look up the same clips together."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from tavtorch.audio.recognition.constellation import Hashes
from tavtorch.audio.recognition.index import BUDGET, GAP, Candidates, Index, best_part
from tavtorch.audio.recognition.landmarks import Landmarks
from tavtorch.processes import from_all_processes, gathered

_Value = TypeVar("_Value")

_NOWHERE = -4 * GAP
"""Frame of a process's own timeline at which no clip is near a song."""


class Shards:
    """What `Index` is to one process: every process holds the rows and peaks of its own songs, and knows of all others
    where they lie on the timeline of all.

    Each method is called by all processes, with the same arguments, and gives the same result in each: that of one
    index of all songs. The places with most votes are chosen from those of all processes, and a place is verified by
    the process that has its song. Only the `budget` of `vote` holds for each process.

    Args:
        own: the songs of this process.
        frames: of every song of the library, by its id.
    """

    def __init__(self, own: Index, frames: Mapping[int, int]):
        self.own, self.recipe, self.device = own, own.recipe, own.device
        self.ids = sorted(frames)
        lengths = torch.tensor([GAP + frames[song] for song in self.ids], dtype=torch.int64, device=own.device)
        self.begin = GAP + lengths.cumsum(0) - lengths
        position = {song: i for i, song in enumerate(self.ids)}
        self._mine = torch.tensor([position[song] for song in own.ids], dtype=torch.int64, device=own.device)
        self._shift = self.begin[self._mine] - own.begin  # from the own timeline to that of all
        self._to_own = torch.zeros_like(self.begin)
        self._to_own[self._mine] = -self._shift
        self._is_own = torch.zeros_like(self.begin, dtype=torch.bool)
        self._is_own[self._mine] = True

    def begins(self) -> dict[int, int]:
        """See `Index.begins`, as for the methods below."""
        return dict(zip(self.ids, self.begin.tolist(), strict=True))

    def songs(self, start: Tensor) -> Tensor:
        return (torch.searchsorted(self.begin - GAP, start.long().contiguous(), right=True) - 1).clamp(min=0)

    def vote(self, query: Hashes, count: int, *, tolerance: int = 0, budget: int = BUDGET) -> Candidates:
        start, votes = self.own.vote(query, count, tolerance=tolerance, budget=budget)
        start, votes = gathered(torch.stack((self._on_all(start), votes))).permute(1, 2, 0, 3).flatten(2)

        # The most votes first, of equal ones the earliest, as one index has them.
        start, order = torch.where(votes > 0, start, 0).sort(stable=True)
        votes, order = votes.gather(1, order).sort(stable=True, descending=True)
        return Candidates(start.gather(1, order)[:, :count], votes[:, :count])

    def count(self, query: Hashes, *, tolerance: int = 0) -> Tensor:
        votes = query.hash.new_zeros(len(query.hash), len(self.ids))
        if self.own.ids:
            votes[:, self._mine] = self.own.count(query, tolerance=tolerance)
        return self.total(votes)

    def verify(
        self, start: Tensor, clip: Landmarks, *, tempo: float | Tensor = 1.0, pitch: float | Tensor = 1.0
    ) -> Tensor:
        return self.total(self.own.verify(self._on_own(start), clip, tempo=tempo, pitch=pitch))

    def span(
        self, start: Tensor, clip: Landmarks, *, tempo: float | Tensor = 1.0, pitch: float | Tensor = 1.0
    ) -> tuple[Tensor, Tensor]:
        return best_part(self.by_frame(start, clip, tempo=tempo, pitch=pitch))

    def by_frame(
        self, start: Tensor, clip: Landmarks, *, tempo: float | Tensor = 1.0, pitch: float | Tensor = 1.0
    ) -> Tensor:
        return self.total(self.own.by_frame(self._on_own(start), clip, tempo=tempo, pitch=pitch))

    def lookup(self, query: Hashes, *, tolerance: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """The rows of this process, with frames of the timeline of all."""
        clip, frame, time = self.own.lookup(query, tolerance=tolerance)
        return clip, self._on_all(frame), time

    def total(self, mine: Tensor) -> Tensor:
        """The sum over all processes."""
        return gathered(mine).sum(0)

    def _on_all(self, frame: Tensor) -> Tensor:
        """Frames of the own timeline on that of all."""
        return frame + self._shift[self.own.songs(frame)] if self.own.ids else frame

    def _on_own(self, start: Tensor) -> Tensor:
        """Starts on the timeline of all on the own one; `_NOWHERE` in songs of others."""
        song = self.songs(start)
        return torch.where(self._is_own[song], start + self._to_own[song], _NOWHERE)


def agreed(act: Callable[[], _Value]) -> _Value:
    """What the first process gets from `act`, which all call; a ValueError of one of them is raised by all."""
    value, error = None, ""
    try:
        value = act()
    except ValueError as fault:
        error = str(fault)
    values, errors = zip(*from_all_processes((value if dist.get_rank() == 0 else None, error)), strict=True)
    for message in filter(None, errors):
        raise ValueError(message)
    first: _Value = values[0]
    return first


def check_group(processes: int) -> None:
    """Raise a ValueError unless this is one of so many processes that torch.distributed joins."""
    joined = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if joined != processes:
        raise ValueError(
            f"shard: its songs are spread over {processes} processes, but torch.distributed joins {joined}; begin "
            f"{processes} with torch.distributed.init_process_group, or leave shard out."
        )
