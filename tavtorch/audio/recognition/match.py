"""Answers to clips, and the best of many."""

import itertools
from collections.abc import Iterable
from typing import NamedTuple


class Match(NamedTuple):
    """An answer to a clip."""

    name: str
    offset: float
    """Seconds into the song at which the clip begins; NaN of a vote by count, which knows no times."""
    votes: int
    score: float
    """Significance, see `Library.recognise`."""
    accepted: bool
    """Is the score at or over the threshold? If not, the clip is of no song of the library, as far as one can tell."""


def best(matches: Iterable[Match], top: int) -> list[Match]:
    """The best place of each song, best first."""
    best: dict[str, Match] = {}
    for match in sorted(matches, key=lambda match: -match.score):
        best.setdefault(match.name, match)
    return list(best.values())[:top]


def gathered(matches: list[list[Match]], top: int = 1) -> list[list[Match]]:
    """The best of what all processes of a torch.distributed group found, each in its shard of the songs.

    Every process asks about the same clips, `Library(url, shard=(rank, world_size)).recognise(landmarks, top=top)`,
    and every process gets the same answers.
    """
    from torch import distributed

    shards: list[list[list[Match]]] = [[]] * distributed.get_world_size()
    distributed.all_gather_object(shards, matches)
    return [best(itertools.chain(*clip), top) for clip in zip(*shards, strict=True)]
