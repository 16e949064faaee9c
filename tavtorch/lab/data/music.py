"""Songs for a library, and noisy clips to recognise: of songs that it has, and of songs that it does not have."""

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset
from torchaudio.functional import resample
from tqdm import tqdm

from tavtorch.audio.recognition.landmarks import Recipe, fingerprint
from tavtorch.audio.recognition.library import Library
from tavtorch.audio.recognition.tables import Song
from tavtorch.lab.data.batches import Item, item_generator, loader, process_of
from tavtorch.lab.data.files import AUDIO, read_audio, sound_about
from tavtorch.lab.data.find import find_named
from tavtorch.lab.data.folder import Files
from tavtorch.lab.data.generated import generated_songs
from tavtorch.lab.data.media import STREAM, read_stream
from tavtorch.lab.data.results import Source
from tavtorch.lab.data.scored import Scored
from tavtorch.lab.data.transmission import transmitted

log = logging.getLogger(__name__)

_RATE = 8000  # Hz of the clips
_libraries: WeakValueDictionary[tuple[str, Recipe | None, str, str], Library] = WeakValueDictionary()


def open_library(
    url: str, *, recipe: Recipe | None = None, create: bool = True, device: str = "cpu", run: str = ""
) -> Library:
    """The library at `url`, for configurations: op, data, page and writer of a run share one object.

    Args:
        recipe, create, device: see `Library`.
        run: folder of the run; a library in memory is that of one run.
    """
    library = _libraries.get((url, recipe, device, run))
    if library is None:  # an empty one is false
        library = _libraries[url, recipe, device, run] = Library(url, recipe=recipe, create=create, device=device)
    return library


def readable(path: Path) -> str:
    """A path as text that every database can store: bytes that are no UTF-8 are written as `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def read_song(path: Path) -> dict[str, Any]:
    """A stream, with the title and artist that its file tells."""
    tags = sound_about(path).tags
    return read_stream(path) | {"file": {key: _storable(tags.get(key, "")) for key in ("title", "artist")}}


def _storable(text: str) -> str | None:
    """Without what databases refuse, so that no song is left out for it; None if nothing is left."""
    return text.replace("\0", "").encode(errors="replace").decode().strip() or None


SONG = STREAM._replace(read=read_song)


class Music(Scored):
    """Scoring: clips to recognise. With `run=predict`: the songs of a folder that the library does not have yet.

    For scoring, all songs but the `unknown` ones are added to the library, and clips are cut from both. With
    `run=predict` a file is passed over if the library has its content, from this path or under its name.

    Args:
        library: where songs are looked up; for scoring, an empty one.
        root: a song, a folder of them, or a list of both; None generates the songs that are scored.
        speech: folder of speech for "speech" and "babble"; None takes generated singers.
        conditions: by name, what happens to a clip on its way; see `transmission.transmitted`.
        seconds: length of a clip.
        clips: number of clips of known songs for each condition; half as many are of unknown songs.
        unknown: number of songs that are not added to the library.
        generated: number of songs that are generated if there is no root.
        batch_size: clips that are recognised at once.
        seed: of songs, positions and conditions.
    """

    def __init__(
        self,
        library: Library,
        *,
        root: str | Sequence[str] | None = None,
        speech: str | None = None,
        conditions: Mapping[str, Mapping[str, float]],
        seconds: float = 5.0,
        clips: int = 50,
        unknown: int = 8,
        generated: int = 32,
        batch_size: int = 25,
        seed: int = 0,
    ) -> None:
        super().__init__(self._clips, batch_size=batch_size)
        self.library, self.speech, self.conditions = library, speech, conditions
        self.roots = None if root is None else [Path(one) for one in ([root] if isinstance(root, str) else root)]
        self.seconds, self.clips, self.unknown = seconds, clips, unknown
        self.generated, self.seed = generated, seed

    def setup(self, stage: str) -> None:
        if stage != "predict":
            return super().setup(stage)
        if self.roots is None:
            raise ValueError("data.root: say which song, or which folder of songs, goes into the library.")
        self.files = Files(self.roots, SONG)
        count, known = len(self.files), self._known()
        self.files.items = [(name, path) for name, path in self.files.items if not known(name, path)]
        if process_of(self.trainer)[0] == 0:
            self.files.tell()
            if len(self.files) < count:
                log.info("%d are in the library already", count - len(self.files))

    def predict_dataloader(self) -> DataLoader[Any]:
        return loader(self.files, process_of(self.trainer))

    def _known(self) -> Callable[[str, Path], bool]:
        """Tells whether the library has the content of a file, from its path or under its name."""
        songs: dict[tuple[str, str | None], list[Song]] = defaultdict(list)
        for song in self.library:
            if song.file_size is not None:
                songs["name", song.name].append(song)
                songs["path", song.path].append(song)

        def known(name: str, path: Path) -> bool:
            if path.is_dir():  # which may not be read
                return False
            now, place = Source.of(path), readable(path.absolute())
            for song in (*songs["name", name], *songs["path", place]):
                assert song.file_size is not None and song.file_modified is not None
                there = now.path if song.path == place else ""
                if Source(there, song.file_size, song.file_modified, song.file_digest or "").same(now):
                    return True
            return False

        return known

    def _clips(self) -> "Clips":
        """Add the known songs to the library, and cut clips of all songs."""
        songs = self._songs()
        if len(songs) < 2 * self.unknown:
            raise ValueError(f"data.unknown: {self.unknown} of {len(songs)} songs is more than half; lower it.")
        names = sorted(songs)
        split = len(names) - self.unknown
        known, unknown = ({name: songs[name] for name in some} for some in (names[:split], names[split:]))
        for name, wave in tqdm(known.items(), "filling the library", leave=False, disable=None):
            self.library.add(name, fingerprint(wave[None, None], _RATE, self.library.recipe, verify=False))
        if others := sorted({song.name for song in self.library} - known.keys()):
            raise ValueError(
                f"library.url: this library has {len(others)} other songs, such as {others[0]!r}, with which the score "
                "would be of other songs than is said; leave library.url out, and a new library is made."
            )
        length = round(self.seconds * _RATE)
        return Clips(known, unknown, self._speech(), self.conditions, length, self.clips, self.seed)

    def _songs(self) -> dict[str, Tensor]:
        if self.roots is not None:
            return _waves(self.roots)
        songs = generated_songs(self.generated, 30.0, sample_rate=_RATE, seed=self.seed)
        return {song.name: song.read("mixture", 0.0, 30.0, _RATE, 1)[0] for song in songs}

    def _speech(self) -> Tensor:
        if self.speech:
            return torch.cat(list(_waves([Path(self.speech)]).values()))
        singers = generated_songs(8, 15.0, sample_rate=_RATE, seed=self.seed + 1)
        return torch.cat([song.read("vocals", 0.0, 15.0, _RATE, 1)[0] for song in singers])


class Clips(Dataset[Item]):
    """For each condition `count` clips of known songs and half as many of unknown ones, from random positions.

    An item has, beside its `inputs`, its `condition`, and the name of its `song`, empty for an unknown one.
    """

    def __init__(
        self,
        known: Mapping[str, Tensor],
        unknown: Mapping[str, Tensor],
        speech: Float[Tensor, "t"],
        conditions: Mapping[str, Mapping[str, float]],
        length: int,
        count: int,
        seed: int,
    ) -> None:
        self.known, self.unknown, self.speech, self.conditions = known, unknown, speech, conditions
        self.length, self.count, self.seed = length, count, seed

    def __len__(self) -> int:
        return len(self.conditions) * (self.count + self.count // 2)

    def batch_key(self, i: int) -> Hashable:
        return self._condition(i)

    def _condition(self, i: int) -> str:
        return list(self.conditions)[i // (self.count + self.count // 2)]

    def __getitem__(self, i: int) -> Item:
        condition, number = self._condition(i), i % (self.count + self.count // 2)
        generator = item_generator(self.seed, f"clip {number + 1}")  # the same clip under every condition
        songs = self.known if number < self.count else self.unknown
        song = list(songs)[_random_int(len(songs), generator)]
        clip = _cut(songs[song], self.length, generator)

        def voices(count: int) -> Tensor:
            return torch.stack([_cut(self.speech, self.length, generator) for _ in range(count)]).sum(0)

        clip = transmitted(clip, _RATE, self.conditions[condition], voices, generator)
        inputs = {"wave": clip[None, None], "sample_rate": _RATE}
        known = number < self.count
        name = f"{condition} {number + 1}"
        return {"name": name, "inputs": inputs, "condition": condition, "song": song if known else ""}


def _waves(roots: Sequence[Path]) -> dict[str, Tensor]:
    """Mono waves by name."""
    waves = {}
    for name, path in tqdm(find_named(roots, AUDIO, "recording"), "reading recordings", leave=False, disable=None):
        wave, rate = read_audio(path)
        waves[name] = resample(wave.mean(0), rate, _RATE)
    return waves


def _cut(wave: Tensor, length: int, generator: Generator) -> Tensor:
    """`length` samples from a random position; zeros follow a wave that is shorter."""
    start = _random_int(max(1, len(wave) - length), generator)
    return torch.nn.functional.pad(wave[start : start + length], (0, max(0, length - len(wave))))


def _random_int(below: int, generator: Generator) -> int:
    return int(torch.randint(below, (), generator=generator))
