"""Songs for a library, and noisy clips to recognise: of songs that it has, and of songs that it does not have."""

import logging
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset
from torchaudio.functional import add_noise, resample
from tqdm import tqdm

from tavtorch.audio.recognition.landmarks import Recipe, fingerprint
from tavtorch.audio.recognition.library import Library
from tavtorch.lab.data.batches import Item, item_generator, loader, process_of
from tavtorch.lab.data.files import AUDIO, read_audio
from tavtorch.lab.data.folder import Files, find
from tavtorch.lab.data.generated import generated_songs
from tavtorch.lab.data.media import STREAM
from tavtorch.lab.data.scored import Scored

log = logging.getLogger(__name__)

_RATE = 8000  # Hz of the clips
_libraries: WeakValueDictionary[tuple[str, Recipe | None], Library] = WeakValueDictionary()


def open_library(url: str, *, recipe: Recipe | None = None, create: bool = True) -> Library:
    """The library at `url`, for configurations: op, data, page and writer of a run share one object.

    Args:
        create: see `Library`.
    """
    library = _libraries.get((url, recipe))
    if library is None:  # an empty one is false
        library = _libraries[url, recipe] = Library(url, recipe=recipe, create=create)
    return library


class Music(Scored):
    """Scoring: clips to recognise. With `run=predict`: the songs of a folder that the library does not have yet.

    For scoring, all songs but the `unknown` ones are added to the library, and clips are cut from both.

    Args:
        library: where songs are looked up.
        root: a song, or a folder of them; None generates the songs that are scored.
        speech: folder of speech for the noises "speech" and "babble"; None takes generated singers.
        noises: by name, what is added to a clip: "speech", "babble" or "white", each at a signal-to-noise ratio in dB.
        seconds: length of a clip.
        clips: number of clips of known songs for each noise; half as many are of unknown songs.
        unknown: number of songs that are not added to the library.
        generated: number of songs that are generated if there is no root.
        batch_size: clips that are recognised at once.
        seed: of songs, positions and noises.
    """

    def __init__(
        self,
        library: Library,
        *,
        root: str | None = None,
        speech: str | None = None,
        noises: Mapping[str, Mapping[str, float]],
        seconds: float = 5.0,
        clips: int = 50,
        unknown: int = 8,
        generated: int = 32,
        batch_size: int = 25,
        seed: int = 0,
    ) -> None:
        super().__init__(self._clips, batch_size=batch_size)
        self.library, self.root, self.speech, self.noises = library, root, speech, noises
        self.seconds, self.clips, self.unknown = seconds, clips, unknown
        self.generated, self.seed = generated, seed

    def setup(self, stage: str) -> None:
        if stage != "predict":
            return super().setup(stage)
        if self.root is None:
            raise ValueError("data.root: say which song, or which folder of songs, goes into the library.")
        self.files = Files(self.root, STREAM)
        new = [(name, path) for name, path in self.files.items if name not in self.library]
        if len(new) < len(self.files) and process_of(self.trainer)[0] == 0:
            log.info("%d are in the library already", len(self.files) - len(new))
        self.files.items = new

    def predict_dataloader(self) -> DataLoader[Any]:
        return loader(self.files, process_of(self.trainer))

    def _clips(self) -> "Clips":
        """Add the known songs to the library, and cut clips of all songs."""
        songs = self._songs()
        if len(songs) < 2 * self.unknown:
            raise ValueError(f"data.unknown: {self.unknown} of {len(songs)} songs is more than half; lower it.")
        names = sorted(songs)
        split = len(names) - self.unknown
        for name in tqdm(names[:split], "filling the library", leave=False):
            self.library.add(name, fingerprint(songs[name][None, None], _RATE, self.library.recipe, verify=False))
        known, unknown = ({name: songs[name] for name in some} for some in (names[:split], names[split:]))
        return Clips(known, unknown, self._speech(), self.noises, round(self.seconds * _RATE), self.clips, self.seed)

    def _songs(self) -> dict[str, Tensor]:
        if self.root:
            return _waves(Path(self.root))
        songs = generated_songs(self.generated, 30.0, sample_rate=_RATE, seed=self.seed)
        return {song.name: song.read("mixture", 0.0, 30.0, _RATE, 1)[0] for song in songs}

    def _speech(self) -> Tensor:
        if self.speech:
            return torch.cat(list(_waves(Path(self.speech)).values()))
        singers = generated_songs(8, 15.0, sample_rate=_RATE, seed=self.seed + 1)
        return torch.cat([song.read("vocals", 0.0, 15.0, _RATE, 1)[0] for song in singers])


class Clips(Dataset[Item]):
    """For each noise `count` clips of known songs and half as many of unknown ones, from random positions.

    An item has, beside its `inputs`, its `noise`, and the name of its `song`, empty for an unknown one.
    """

    def __init__(
        self,
        known: Mapping[str, Tensor],
        unknown: Mapping[str, Tensor],
        speech: Float[Tensor, "t"],
        noises: Mapping[str, Mapping[str, float]],
        length: int,
        count: int,
        seed: int,
    ) -> None:
        self.known, self.unknown, self.speech, self.noises = known, unknown, speech, noises
        self.length, self.count, self.seed = length, count, seed

    def __len__(self) -> int:
        return len(self.noises) * (self.count + self.count // 2)

    def batch_key(self, i: int) -> Hashable:
        return self._noise(i)

    def _noise(self, i: int) -> str:
        return list(self.noises)[i // (self.count + self.count // 2)]

    def __getitem__(self, i: int) -> Item:
        noise, number = self._noise(i), i % (self.count + self.count // 2)
        generator = item_generator(self.seed, f"clip {number + 1}")  # the same clip under every noise
        songs = self.known if number < self.count else self.unknown
        song = list(songs)[_random_int(len(songs), generator)]
        clip = _cut(songs[song], self.length, generator)
        for kind, snr in self.noises[noise].items():
            clip = _add(clip, self._draw_noise(kind, generator), snr)
        inputs = {"wave": clip[None, None], "sample_rate": _RATE}
        known = number < self.count
        name = f"{noise} {number + 1}"
        return {"name": name, "inputs": inputs, "noise": noise, "song": song if known else ""}

    def _draw_noise(self, kind: str, generator: Generator) -> Tensor:
        if kind == "white":
            return torch.randn(self.length, generator=generator)
        talkers = {"speech": 1, "babble": 5}
        if kind not in talkers:
            raise ValueError(f"data.noises: expected white, speech or babble, got {kind!r}.")
        voices = [_cut(self.speech, self.length, generator) for _ in range(talkers[kind])]
        return torch.stack(voices).sum(0)


def _waves(root: Path) -> dict[str, Tensor]:
    """Mono waves by name."""
    waves = {}
    for path in tqdm(find(root, AUDIO, "recording"), f"reading {root.name}", leave=False):
        wave, rate = read_audio(path)
        waves[path.stem] = resample(wave.mean(0), rate, _RATE)
    return waves


def _cut(wave: Tensor, length: int, generator: Generator) -> Tensor:
    """`length` samples from a random position; zeros follow a wave that is shorter."""
    start = _random_int(max(1, len(wave) - length), generator)
    return torch.nn.functional.pad(wave[start : start + length], (0, max(0, length - len(wave))))


def _add(clip: Tensor, noise: Tensor, snr: float) -> Tensor:
    """Add noise at a signal-to-noise ratio in dB; a silent clip is left as it is."""
    if not bool(clip.any()) or not bool(noise.any()):
        return clip
    return add_noise(clip, noise, torch.tensor(snr))


def _random_int(below: int, generator: Generator) -> int:
    return int(torch.randint(below, (), generator=generator))
