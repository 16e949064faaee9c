"""The library of known songs: a database, and the search structure that recognises clips of them."""

import json
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from tavtorch.audio.recognition.answers import Answers, starts_of
from tavtorch.audio.recognition.cache import read_index, write_index
from tavtorch.audio.recognition.constellation import Peaks, pairs
from tavtorch.audio.recognition.index import GAP, Index
from tavtorch.audio.recognition.landmarks import Landmarks, Recipe
from tavtorch.audio.recognition.match import Match, best_per_song
from tavtorch.audio.recognition.packing import digest, pack_peaks
from tavtorch.audio.recognition.search import CANDIDATES, select
from tavtorch.audio.recognition.shards import Shards, agreed, check_group

if TYPE_CHECKING:
    from tavtorch.audio.recognition.calibration import Calibration
    from tavtorch.audio.recognition.tables import Song

_CLIPS = 32
"""Clips that are looked up at once; more would need more memory."""

_CACHED = 100
"""Songs from which on the search structure is kept in a file; it is written again when a tenth is new."""


class Library:
    """Known songs in a database, and in memory the search structure that is built from it.

    The database is an SQLite file, or one that SQLAlchemy reaches by URL, such as
    `postgresql+psycopg://user@host/music`. Adding or removing a song is one transaction. Several processes may use one
    database at the same time; each sees what the others add and remove. An hour of music takes about 0.9 MB in the
    database, and in memory, from the first clip that is looked up, 4 MB of hashes and 3 MB of peaks. What is in memory
    of 100 songs or more is also kept in a file beside an SQLite file, `<name>.index`, so that it is read in seconds; it
    may be deleted at any time.

    Args:
        url: the name of a file, taken literally, or a database's URL `scheme://...`; `"sqlite://"` is in memory.
        recipe: how landmarks are made, for a new library; an existing one has its own.
        device: where the search structure is and clips are looked up.
        shard: `(i, n)`: this is process i of n of torch.distributed, each of which holds every n-th song in memory. All
            call `recognise` at the same time, with the same clips, and get the answers of a library of all songs.
        create: make the library if there is none; False raises a ValueError instead, for names that may be mistyped.

    Raises:
        ValueError: the file is damaged, of another program (it is not changed) or of a newer version, it is a folder,
            or the library has another recipe. A library of an older version is brought to today's format.

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
        create: bool = True,
    ):
        from tavtorch.audio.recognition.store import Store  # here, so that importing tavtorch does not load SQLAlchemy

        _check_shard(shard)  # before a database is made
        self._store = Store(str(url), recipe, create=create)
        self.recipe, self._device = self._store.recipe, device
        self.shard = shard

    @property
    def shard(self) -> Sequence[int]:
        """See the argument; another one takes effect when a clip is recognised next."""
        return self._shard

    @shard.setter
    def shard(self, shard: Sequence[int]) -> None:
        _check_shard(shard)
        self._shard = shard
        self._index: Index | Shards = Index(self.recipe, self._device)
        self._own, self._names = self._index, dict[int, str]()
        self._version = (0, 0)  # of the database that index and names are of

    def __len__(self) -> int:
        return self._store.version()[0]

    @property
    def place(self) -> str:
        """The absolute path of its file, or its address without the password."""
        return self._store.place

    def __iter__(self) -> Iterator["Song"]:
        """The songs, in the order in which they were added or got their name."""
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
        file: tuple[int, int, str] | None = None,
        overwrite: bool = False,
    ) -> bool:
        """Add a song, in one transaction.

        Args:
            name: the name that a `Match` gives; any text.
            landmarks: of one recording, with the recipe of the library.
            title, artist, path: stored with the song.
            file: of the file at `path` its bytes, the time of its last change in nanoseconds, and a digest of its
                content, stored too: by these a changed file is noticed without decoding it.
            overwrite: replace another recording of this name.

        Returns:
            False if this recording is in the library under this name already: interrupted indexing can be run again.
            Title, artist, path and file are then brought up to date.

        Raises:
            ValueError: the name is another recording's, the recording is in the library under another name, or it has
                no peaks.
        """
        from tavtorch.audio.recognition.store import check_name, check_text
        from tavtorch.audio.recognition.tables import Song

        check_name(name)
        for argument, value in {"title": title, "artist": artist, "path": path}.items():
            check_text(argument, value)
        self._check_recipe(landmarks)
        if len(landmarks.hash) != 1:
            raise ValueError(f"landmarks: expected one recording, got {len(landmarks.hash)}; add them one by one.")
        stored = pack_peaks(Peaks(*(field[0] for field in landmarks.peaks)))
        if not stored:
            raise ValueError(f"landmarks: {name!r} has no peaks; is the recording silent?")
        duration = landmarks.frames * self.recipe.seconds
        song = Song(name, title, artist, path, duration, digest(stored), *(file or ()))
        return self._store.add(song, stored, landmarks.frames, overwrite=overwrite)

    def remove(self, name: str) -> None:
        """Remove a song; `KeyError` if there is none of that name."""
        self._store.remove(name)

    def rename(self, old: str, new: str) -> None:
        """Give a song another name, in one transaction.

        Raises:
            KeyError: no song is called `old`.
            ValueError: a song is called `new` already.
        """
        from tavtorch.audio.recognition.store import check_name

        check_name(new, "new")
        self._store.rename(old, new)

    def refresh(self) -> None:
        """Update the search structure to changes of the database by any process; `recognise` calls this itself.

        Processes that share the songs call it at the same time.
        """
        i, n = self._shard
        if n == 1:
            version = self._store.version()
            if version != self._version:
                self._names = self._store.names()
                self._load(version, self._names)
                self._index, self._version = self._own, version
            return

        # What the first process sees of the database holds for all.
        check_group(n)
        version = agreed(self._store.version)
        if version != self._version:
            songs = agreed(self._store.lengths)
            agreed(lambda: self._load(version, {song for song in songs if song % n == i}))
            self._names = {song: name for song, (name, _) in songs.items()}
            self._index = Shards(self._own, {song: frames for song, (_, frames) in songs.items()})
            self._version = version

    def _load(self, version: tuple[int, int], songs: Collection[int]) -> None:
        """Bring the index of this process to these songs of the database."""
        file = self._store.file if self._shard[1] == 1 else None
        cache = file.with_name(f"{file.name}.index") if file else None
        if cache and self._version == (0, 0) and version[0] >= _CACHED:
            self._own = read_index(cache, self.recipe, self._own.device) or self._own
        known = set(self._own.ids)
        for song in known - set(songs):
            self._own.discard(song)
        new = set(songs) - known
        self._own.extend(self._store.peaks(new))
        if cache and len(new) >= max(_CACHED, len(songs) // 10):
            write_index(cache, self._own)

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
        changed: bool = True,
    ) -> list[list[Match]]:
        """The songs that clips are most likely of, best first.

        The hashes of a clip vote for songs and offsets; the best candidates are verified by the levels of the clip at
        their stored peaks. Both measures are z-scores, and so is

            score = (z + 2 (√v - mean √v)) / √2,

        z of `Index.verify` (0 without evidence), v the votes of the candidate, and the mean over the candidates of
        other songs. The square root of a count has variance ¼. If the song is unknown, no candidate has a high score.

        Songs may share one sound, which then has a high score alone. So a match is accepted if its score reaches the
        threshold, and z without any fifth of the clip at least 0.3 times the threshold.

        A clip that is not accepted as it is, or hardly, may be changed. Votes for its loudest peaks, moved as about 170
        changes would move them, choose some places; the levels there measure the change; at the likeliest two the clip
        is recognised once more. A clip of an unknown song finds its best among all changes too, for which 4 is taken
        off the score.

        Args:
            landmarks: of clips, with the recipe of the library.
            vote: "offset" counts hashes that agree on where the clip lies in the song; "count" all hashes that song and
                clip share, as the course did at first, without verification.
            top: largest number of answers for each clip, 1 to 30; a clip without landmarks has none.
            threshold: score from which on a match is accepted; a higher one rejects more clips of unknown songs.
            neighbours: pairs for each peak of the clip; may exceed those of the songs, which take the memory.
            tolerance: frames by which the time between two peaks of the clip may be off.
            pitches: factors of speed that are tried for clips that are not accepted as they are. Each covers 0.8 % up
                and down; `()` takes clips as they are, also if `changed`.
            changed: also find clips whose speed, tempo or pitch is changed by -20 to +25 %, and say by how much. A clip
                that is clearly accepted as it is costs hardly more for it, any other some times as much. Needs
                `evidence`.

        Returns:
            A list of matches for each clip.

        Source: Wang, "An industrial-strength audio search algorithm", ISMIR 2003; square roots: Anscombe, "The
        transformation of Poisson, binomial and negative-binomial data", 1948, doi:10.1093/biomet/35.3-4.246.
        """
        if vote not in ("offset", "count"):
            raise ValueError(f'vote: expected "offset" or "count", got {vote!r}.')
        if not 1 <= top <= CANDIDATES:
            raise ValueError(f"top: expected 1 or more, up to the {CANDIDATES} candidates of a clip, got {top}.")
        self._check_recipe(landmarks)
        if landmarks.frames > GAP:
            raise ValueError(
                f"landmarks: expected clips of at most {GAP * self.recipe.seconds:.0f} s, got "
                f"{landmarks.frames * self.recipe.seconds:.0f} s; cut a long recording with `setlist`."
            )
        self.refresh()
        if not self._index.ids:
            return [[] for _ in landmarks.hash]
        asked = Answers(self._index, self._names, threshold, neighbours, tolerance)
        answers: list[list[Match]] = []
        for first in range(0, len(landmarks.hash), _CLIPS):
            clips = select(landmarks, slice(first, first + _CLIPS), self._index.device)
            if vote == "count":
                found = asked.by_count(clips)
            else:
                found = asked.by_offset(clips, (1.0, *pitches), changed=changed and bool(pitches))
            answers += (best_per_song(matches, top) for matches in found)
        return answers

    @property
    def calibration(self) -> "Calibration | None":
        """What `calibrate` measured, by this or another process; None if it was not called."""
        from tavtorch.audio.recognition.calibration import Calibration

        kept = self._store.note("calibration")
        return Calibration(**json.loads(kept)) if kept else None

    def calibrate(
        self,
        unknown: Sequence[tuple[Tensor, int]] = (),
        *,
        seconds: float = 600.0,
        window: float = 6.0,
        hop: float = 2.0,
        generator: torch.Generator | None = None,
    ) -> "Calibration":
        """Measure how often a `Listener` hears songs that are not there, and keep it with the library.

        It listens to songs of the library, made of their stored peaks, without these in it, and to noise. Call it again
        when the library has grown a lot.

        Args:
            unknown: recordings `(c, t)` that hold no song of the library, each with its rate in Hz, such as speech or
                other music; they are listened to as well.
            seconds: how long it listens to left-out songs; more measures the rare alarms better.
            window, hop: of the `Listener`.
            generator: for the choice of songs, and noise.
        """
        from tavtorch.audio.recognition.calibration import measured

        if self._shard[1] > 1:
            raise ValueError("shard: only a whole library can be calibrated; leave shard out.")
        self.refresh()
        if len(self._names) < 4:
            raise ValueError(
                f"library: expected 4 songs or more to leave some out, {self.place} has {len(self._names)}."
            )
        if not 0 < hop <= window <= seconds:
            raise ValueError(f"seconds: expected 0 < hop <= window <= seconds, got {hop}, {window} and {seconds}.")
        order = torch.randperm(len(self._names), generator=generator).tolist()
        drawn = [list(self._names)[i] for i in order[: min(len(order) // 4, ceil(seconds / 30))]]
        songs = [(peaks, frames) for _, peaks, frames in self._store.peaks(drawn)]
        other = copy(self)
        other._index = self._own.without(drawn)
        found = measured(other, songs, unknown, seconds=seconds, window=window, hop=hop, generator=generator)
        self._store.keep("calibration", json.dumps(found._asdict()))
        return found

    def offsets(self, landmarks: Landmarks, name: str, *, neighbours: int = 10, tolerance: int = 1) -> list[Tensor]:
        """The offset in seconds of every vote of each clip for one song; for the right song most of them agree."""
        self._check_recipe(landmarks)
        ids = [song for song, known in self._store.names().items() if known == name]
        if not ids:
            raise self._store.unknown(name)

        alone = Index(self.recipe, self._own.device)  # whichever process holds the song
        alone.extend(self._store.peaks(ids))
        clips = select(landmarks, slice(None), alone.device)
        clip, frame, time = alone.lookup(pairs(clips.peaks, neighbours), tolerance=tolerance)
        seconds = (frame - time - alone.begin) * self.recipe.seconds
        return [seconds[clip == i] for i in range(len(landmarks.hash))]

    def spans(self, landmarks: Landmarks, answers: Sequence[Sequence[Match]]) -> dict[int, tuple[float, float]]:
        """Where in each clip its best match is heard: begin and end in seconds, by the number of the clip.

        Args:
            landmarks: of clips, with `evidence`.
            answers: of `recognise` with `vote="offset"`; a clip without any is left out.
        """
        best = {i: matches[0] for i, matches in enumerate(answers) if matches}
        if not best:
            return {}
        clips = select(landmarks, torch.tensor(list(best)), self._index.device)
        starts, change = starts_of(best.values(), self._index, self._names)
        found = self._index.span(starts, clips, tempo=change.tempo, pitch=change.pitch)
        first, end = (torch.stack(found) * self.recipe.seconds).tolist()
        return dict(zip(best, zip(first, end, strict=True), strict=True))

    def _check_recipe(self, landmarks: Landmarks) -> None:
        if landmarks.recipe != self.recipe:
            raise ValueError(
                f"landmarks: made with {landmarks.recipe}, the library with {self.recipe}; "
                "call fingerprint(..., recipe=library.recipe)."
            )


def _check_shard(shard: Sequence[int]) -> None:
    """Raise unless it is process i of n."""
    if len(shard) != 2 or not 0 <= shard[0] < shard[1]:
        raise ValueError(f"shard: expected (i, n) with 0 <= i < n, got {shard}.")
