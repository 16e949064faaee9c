"""The library of known music: songs come, go, and are recognised by a few noisy seconds."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from tavtorch.audio.recognition.constellation import Pairs, Peaks, pairs
from tavtorch.audio.recognition.index import GAP, Index, widened
from tavtorch.audio.recognition.landmarks import Landmarks, Recipe
from tavtorch.audio.recognition.match import Match, best

if TYPE_CHECKING:
    from tavtorch.audio.recognition.store import Song

_CLIPS = 32  # looked up at once
_CANDIDATES = 30


class Library:
    """The songs that can be recognised, in a database, and the search structure that follows from it.

    The database is all that lasts: an SQLite file, or whatever SQLAlchemy reaches by URL, such as
    `postgresql+psycopg://user@host/music`. A song is in it or it is not: each is one transaction. Many processes may
    add to one database at once, each sees the songs of the others. About 0.9 MB an hour of music there; in memory 4 MB
    of rows and 3 MB of peaks.

    Args:
        url: a file's name, made where it does not exist, or a database's URL.
        recipe: what landmarks are made with, for a new library; one that exists knows its own.
        device: where the search structure lies and clips are looked up.
        shard: `(i, n)`: hold only every n-th song, the i-th, in memory; see `gathered`.

    Raises:
        ValueError: the file is cut short or of another program (it is left as it is), or its recipe is another.

    >>> library = Library("sqlite://")                                         # in memory, for a try
    >>> song = torch.randn(1, 1, 20 * 8000)
    >>> library.add("noise", fingerprint(song, 8000))
    True
    >>> (match,), = library.recognise(fingerprint(song[..., 5 * 8000 : 10 * 8000], 8000))
    >>> match.name, round(match.offset, 1), match.accepted
    ('noise', 5.0, True)
    """

    def __init__(
        self,
        url: str | Path,
        *,
        recipe: Recipe | None = None,
        device: torch.device | str = "cpu",
        shard: Sequence[int] = (0, 1),
    ):
        from tavtorch.audio.recognition.store import Store  # here, so that importing tavtorch does not load SQLAlchemy

        if not 0 <= shard[0] < shard[1]:
            raise ValueError(f"shard: expected (i, n) with 0 <= i < n, got {shard}.")
        self._store, self._shard, self._seen = Store(str(url), recipe), shard, (0, 0)
        self.recipe, self._names = self._store.recipe, dict[int, str]()
        self._index = Index(self.recipe, device)
        self.refresh()

    def __len__(self) -> int:
        return self._store.version()[0]

    def __iter__(self) -> Iterator["Song"]:
        return self._store.songs()

    def __contains__(self, name: str) -> bool:
        return self._store.has(name)

    def add(
        self,
        name: str,
        landmarks: Landmarks,
        *,
        title: str | None = None,
        artist: str | None = None,
        path: str | None = None,
    ) -> bool:
        """Add a song, in one transaction.

        Args:
            name: what `Match` will call it; any text.
            landmarks: of one recording, with the recipe of the library.
            title, artist, path: kept beside it.

        Returns:
            False where this very song is there already: an indexing that was interrupted is just run again.

        Raises:
            ValueError: another recording has the name, or this one is there under another name; or it has no peaks.
        """
        from tavtorch.audio.recognition.store import Song, digest, packed

        _check_name(name)
        self._check(landmarks)
        if len(landmarks.hash) != 1:
            raise ValueError(f"landmarks: expected one recording, got {len(landmarks.hash)}; add them one by one.")
        stored = packed(Peaks(*(field[0] for field in landmarks.peaks)))
        if not stored:
            raise ValueError(f"landmarks: {name!r} has no peaks; is the recording silent?")
        duration = landmarks.frames * self.recipe.seconds
        return self._store.add(Song(name, title, artist, path, duration, digest(stored)), stored, landmarks.frames)

    def remove(self, name: str) -> None:
        """Take a song out; `KeyError` where there is none of that name."""
        if not self._store.remove(name):
            raise KeyError(f"name: no song is called {name!r}.")

    def refresh(self) -> None:
        """Take in what has changed in the database, by whichever process; `recognise` does so by itself."""
        version = self._store.version()
        if version == self._seen:
            return
        i, n = self._shard
        self._names = {song: name for song, name in self._store.names().items() if song % n == i}
        known = set(self._index.ids)
        for song in known - self._names.keys():
            self._index.discard(song)
        self._index.extend(self._store.peaks(self._names.keys() - known))
        self._seen = version

    def recognise(
        self,
        landmarks: Landmarks,
        vote: Literal["offset", "count"] = "offset",
        top: int = 1,
        *,
        threshold: float = 5.0,
        neighbours: int = 10,
        tolerance: int = 1,
        pitches: Sequence[float] = (0.985, 1.015),
    ) -> list[list[Match]]:
        """The songs that clips are likely to be of, best first.

        The pairs of a clip vote for songs and offsets, and the best places are verified by what the clip says at the
        stored peaks. Both are z-scores, and so is

            score = (z + 2 (√v - √v̄)) / √2,

        z that of `Index.verify` (0 without evidence), v the votes of a place and √v̄ the mean over the best places of
        other songs: the root of a count has variance ¼. A clip of an unknown song has no place that stands out.

        Args:
            landmarks: of clips, with the recipe of the library.
            vote: "offset" counts pairs that agree on where the clip lies in the song; "count" all that a song and the
                clip share, as the course first did, without verification.
            top: answers a clip, at most; a clip without landmarks has none.
            threshold: score from which on a match is accepted; higher refuses more clips of unknown songs.
            neighbours: pairs a peak of the clip. It may have more than the songs, at no cost in size.
            tolerance: frames by which the time between two peaks of the clip may be off.
            pitches: what else a clip may be played at, tried where it is not accepted as it is. Each reaches 0.8 % up
                and down; none with `()`.

        Returns:
            One list a clip.

        Source: Wang, "An industrial-strength audio search algorithm", ISMIR 2003; square roots: Anscombe, "The
        transformation of Poisson, binomial and negative-binomial data", 1948, doi:10.1093/biomet/35.3-4.246.
        """
        if vote not in ("offset", "count"):
            raise ValueError(f'vote: expected "offset" or "count", got {vote!r}.')
        if top < 1:
            raise ValueError(f"top: expected 1 or more, got {top}.")
        self._check(landmarks)
        if landmarks.frames > GAP:
            raise ValueError(
                f"landmarks: expected clips of at most {GAP * self.recipe.seconds:.0f} s, got "
                f"{landmarks.frames * self.recipe.seconds:.0f} s; cut a long recording with `setlist`."
            )
        self.refresh()
        if not self._index.ids:
            return [[] for _ in landmarks.hash]
        answers: list[list[Match]] = []
        for start in range(0, len(landmarks.hash), _CLIPS):
            clips = _taken(landmarks, slice(start, start + _CLIPS), self._index.device)
            found = self._ask(clips, vote, neighbours, tolerance, threshold)
            for pitch in pitches if vote == "offset" else ():
                rest = [i for i, matches in enumerate(found) if not (matches and matches[0].accepted)]
                if not rest:
                    break
                others = _taken(clips, torch.tensor(rest, dtype=torch.int64), self._index.device)
                for i, more in zip(rest, self._ask(others, vote, neighbours, tolerance, threshold, pitch), strict=True):
                    found[i] = best(found[i] + more, _CANDIDATES)
            answers += (best(matches, top) for matches in found)
        return answers

    def offsets(self, landmarks: Landmarks, name: str, *, neighbours: int = 10, tolerance: int = 1) -> list[Tensor]:
        """Offset in seconds of every vote that each clip gives a song: in the right one most of them agree."""
        self._check(landmarks)
        self.refresh()
        ids = [song for song, known in self._names.items() if known == name]
        if not ids:
            raise KeyError(f"name: no song is called {name!r}.")
        clips = _taken(landmarks, slice(None), self._index.device)
        clip, place = self._index.hits(widened(pairs(clips.peaks, neighbours), tolerance))
        song = self._index.ids.index(ids[0])
        clip, place = (x[self._index.songs(place) == song] for x in (clip, place))
        seconds = (place - self._index.begin[song]) * self.recipe.seconds
        return [seconds[clip == i] for i in range(len(landmarks.hash))]

    def _ask(
        self, clips: Landmarks, vote: str, neighbours: int, tolerance: int, threshold: float, pitch: float = 1.0
    ) -> list[list[Match]]:
        """Every candidate of every clip, best first, the clips' frequencies being `pitch` times what they should be."""
        frequency = (clips.peaks.frequency / pitch).round().long()
        query = widened(pairs(clips.peaks._replace(frequency=frequency), neighbours), tolerance)
        found = self._counted(query) if vote == "count" else self._placed(query, clips, pitch)
        columns = (x.tolist() for x in found)
        return [self._matches(threshold, *clip) for clip in zip(*columns, strict=True)]

    def _placed(self, query: Pairs, clips: Landmarks, pitch: float) -> tuple[Tensor, ...]:
        """Song, offset in frames, votes and score of each candidate place, `(b, n)` each."""
        place, votes = self._index.vote(query, _CANDIDATES)
        song = self._index.songs(place)
        score = _stands_out(votes, song)
        if clips.evidence is not None:
            score = score + self._index.verify(place, clips, pitch=pitch)
        return song, place - self._index.begin[song], votes, score / 2**0.5

    def _counted(self, query: Pairs) -> tuple[Tensor, ...]:
        votes, song = self._index.count(query).sort(dim=1, descending=True)
        votes, song = votes[:, :_CANDIDATES], song[:, :_CANDIDATES]
        return song, torch.full_like(votes, torch.nan, dtype=torch.float32), votes, _stands_out(votes, song) / 2**0.5

    def _matches(
        self, threshold: float, song: list[int], offset: list[float], votes: list[int], score: list[float]
    ) -> list[Match]:
        names = [self._names[self._index.ids[i]] for i in song]
        seconds = [frames * self.recipe.seconds for frames in offset]
        found = map(Match, names, seconds, votes, score, (x >= threshold for x in score))
        return sorted((match for match in found if match.votes), key=lambda match: -match.score)

    def _check(self, landmarks: Landmarks) -> None:
        if landmarks.recipe != self.recipe:
            raise ValueError(
                f"landmarks: made with {landmarks.recipe}, the library with {self.recipe}; "
                "call fingerprint(..., recipe=library.recipe)."
            )


def _stands_out(votes: Tensor, song: Tensor) -> Tensor:
    """`2 (√v - √v̄)`, v̄ from the candidates of other songs than the first's or, where there are none, of its own."""
    root = votes.sqrt()
    other = (song != song[:, :1]) & (votes > 0)
    rest = (votes > 0).index_fill(1, torch.tensor([0], device=votes.device), False)
    other = torch.where(other.any(1, keepdim=True), other, rest)
    mean = (root * other).sum(1, keepdim=True) / other.sum(1, keepdim=True).clamp(min=1)
    return 2 * (root - mean.clamp(min=1))


def _taken(landmarks: Landmarks, clips: slice | Tensor, device: torch.device) -> Landmarks:
    """Some of the clips, on the device."""

    def take(x: Tensor) -> Tensor:
        return x[clips].to(device)

    evidence = None if landmarks.evidence is None else take(landmarks.evidence)
    peaks = Peaks(*map(take, landmarks.peaks))
    return landmarks._replace(hash=take(landmarks.hash), time=take(landmarks.time), peaks=peaks, evidence=evidence)


def _check_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"name: {name!r} is no valid Unicode ({error.reason}); rename the song.") from error
    if not name or "\0" in name:
        raise ValueError(f"name: expected some text without NUL characters, got {name!r}.")
