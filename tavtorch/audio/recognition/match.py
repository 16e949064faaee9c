"""The answer to a clip, and the selection of the best answers."""

from collections.abc import Iterable
from typing import NamedTuple


class Match(NamedTuple):
    """A song that a clip may be of."""

    name: str
    offset: float
    """Seconds of the song, as it was added, at which the clip starts; NaN for `vote="count"`, which ignores times."""
    votes: int
    """Hashes that speak for it."""
    score: float
    """A z-score, see `Library.recognise`."""
    accepted: bool
    """Whether the score reaches the threshold, and more than one moment of the clip speaks for the song; if not, the
    clip is probably of no song of the library."""
    speed: float = 1.0
    """How many times as fast the clip is played, its pitch with it, as by a turntable."""
    tempo: float = 1.0
    """How many times as fast it is at the same pitch: stretched in time."""
    pitch: float = 1.0
    """How many times as high it is at the same tempo: transposed, by `12 log2(pitch)` semitones."""

    @property
    def rate(self) -> float:
        """Seconds of the song in a second of the clip."""
        return self.speed * self.tempo

    def changed(self, tempo: float, pitch: float) -> "Match":
        """The match with factors of tempo and pitch, as a change of speed where they are equal."""
        if tempo == pitch:
            return self._replace(speed=tempo, tempo=1.0, pitch=1.0)
        return self._replace(speed=1.0, tempo=tempo, pitch=pitch)


def best_per_song(matches: Iterable[Match], top: int) -> list[Match]:
    """The match of highest score of each song, best first, `top` of them at most."""
    best: dict[str, Match] = {}
    for match in sorted(matches, key=lambda match: -match.score):
        best.setdefault(match.name, match)
    return list(best.values())[:top]
