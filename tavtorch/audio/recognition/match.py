"""The answer to a clip, and the selection of the best answers."""

import itertools
from collections.abc import Iterable
from typing import NamedTuple


class Match(NamedTuple):
    """A song that a clip may be of."""

    name: str
    offset: float
    """Seconds into the song at which the clip starts; NaN for `vote="count"`, which ignores times."""
    votes: int
    """Hashes that speak for it."""
    score: float
    """A z-score, see `Library.recognise`."""
    accepted: bool
    """Whether the score reaches the threshold; if not, the clip is probably of no song of the library."""


def best_per_song(matches: Iterable[Match], top: int) -> list[Match]:
    """The match of highest score of each song, best first, `top` of them at most."""
    best: dict[str, Match] = {}
    for match in sorted(matches, key=lambda match: -match.score):
        best.setdefault(match.name, match)
    return list(best.values())[:top]


def gathered(matches: list[list[Match]], top: int = 1) -> list[list[Match]]:
    """The best matches of all processes of a torch.distributed group, each of which searched its shard of the songs.

    Every process looks up the same clips with `Library(url, shard=(rank, world_size)).recognise(landmarks, top=top)`,
    passes its matches here, and gets the same answers as the others.
    """
    from torch import distributed

    shards: list[list[list[Match]]] = [[]] * distributed.get_world_size()
    distributed.all_gather_object(shards, matches)
    return [best_per_song(itertools.chain(*clip), top) for clip in zip(*shards, strict=True)]
