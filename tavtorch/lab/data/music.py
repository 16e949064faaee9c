"""Songs for a library, and noisy clips of them, and of songs that it does not know, to score it on."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset
from torchaudio.functional import add_noise, resample
from tqdm import tqdm

from tavtorch.audio.recognition.landmarks import fingerprint
from tavtorch.audio.recognition.library import Library
from tavtorch.lab.data.batches import Item, loader, own_generator, place
from tavtorch.lab.data.files import AUDIO, read_audio
from tavtorch.lab.data.folder import STREAM, Files, find
from tavtorch.lab.data.songs import made_songs

log = logging.getLogger(__name__)

_RATE = 8000  # Hz of the clips


class Music(L.LightningDataModule):
    """With `run=predict`, the songs of a folder that are not in the library yet; else clips to recognise.

    To be scored, the library is filled with all songs but the `unknown` ones, and clips are cut from both.

    Args:
        library: where songs are looked for.
        root: a song, or a folder of them; without one, generated songs are scored on.
        speech: folder of speech for the noises "speech" and "babble"; without one, generated singers take its place.
        noises: by name, what is added to a clip: "speech", "babble" or "white", each at a signal-to-noise ratio in dB.
        seconds: length of a clip.
        clips: of known songs, for each noise; half as many are of unknown songs.
        unknown: songs that the library does not get.
        generated: songs that are made where there is no root.
        batch_size: clips that are recognised at once.
        seed: of songs, places and noises.
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
        super().__init__()
        self.library, self.root, self.speech, self.noises = library, root, speech, noises
        self.seconds, self.clips, self.unknown = seconds, clips, unknown
        self.generated, self.batch_size, self.seed = generated, batch_size, seed

    def setup(self, stage: str) -> None:
        if stage == "predict":
            if self.root is None:
                raise ValueError("data.root: say which song, or which folder of songs, goes into the library.")
            self.files = Files(self.root, STREAM)
            new = [(name, path) for name, path in self.files.items if name not in self.library]
            if len(new) < len(self.files) and place(self.trainer)[0] == 0:
                log.info("%d are in the library already", len(self.files) - len(new))
            self.files.items = new
            return
        songs = self._songs()
        if len(songs) < 2 * self.unknown:
            raise ValueError(f"data.unknown: {self.unknown} of {len(songs)} songs is more than half; lower it.")
        names = sorted(songs)
        split = len(names) - self.unknown
        for name in tqdm(names[:split], "filling the library", leave=False):
            self.library.add(name, fingerprint(songs[name][None, None], _RATE, self.library.recipe, verify=False))
        known, unknown = ({name: songs[name] for name in some} for some in (names[:split], names[split:]))
        self.test = Clips(
            known, unknown, self._speech(), self.noises, round(self.seconds * _RATE), self.clips, self.seed
        )

    def predict_dataloader(self) -> DataLoader[Any]:
        return loader(self.files, place(self.trainer))

    def test_dataloader(self) -> DataLoader[Any]:
        return loader(self.test, place(self.trainer), batch_size=self.batch_size, alike=lambda i: self.test.noise(i))

    def _songs(self) -> dict[str, Tensor]:
        if self.root:
            return _waves(Path(self.root))
        made = made_songs(self.generated, 30.0, sample_rate=_RATE, seed=self.seed)
        return {song.name: song.read("mixture", 0.0, 30.0, _RATE, 1)[0] for song in made}

    def _speech(self) -> Tensor:
        if self.speech:
            return torch.cat(list(_waves(Path(self.speech)).values()))
        singers = made_songs(8, 15.0, sample_rate=_RATE, seed=self.seed + 1)
        return torch.cat([song.read("vocals", 0.0, 15.0, _RATE, 1)[0] for song in singers])


class Clips(Dataset[Item]):
    """For each noise `count` clips of known songs and half as many of unknown ones, at random places.

    An item has, beside its `inputs`, its `noise`, and the name of its `song`, empty where that is unknown.
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

    def noise(self, i: int) -> str:
        return list(self.noises)[i // (self.count + self.count // 2)]

    def __getitem__(self, i: int) -> Item:
        noise, number = self.noise(i), i % (self.count + self.count // 2)
        generator = own_generator(self.seed, number)  # the same clip under every noise
        songs = self.known if number < self.count else self.unknown
        song = list(songs)[_draw(len(songs), generator)]
        clip = _cut(songs[song], self.length, generator)
        for kind, snr in self.noises[noise].items():
            clip = _add(clip, self._made(kind, generator), snr)
        inputs = {"wave": clip[None, None], "sample_rate": _RATE}
        known = number < self.count
        name = f"{noise} {number + 1}"
        return {"name": name, "inputs": inputs, "noise": noise, "song": song if known else ""}

    def _made(self, kind: str, generator: Generator) -> Tensor:
        if kind == "white":
            return torch.randn(self.length, generator=generator)
        talkers = {"speech": 1, "babble": 5}
        if kind not in talkers:
            raise ValueError(f"data.noises: expected white, speech or babble, got {kind!r}.")
        voices = [_cut(self.speech, self.length, generator) for _ in range(talkers[kind])]
        return torch.stack(voices).sum(0)


def _waves(root: Path) -> dict[str, Tensor]:
    """Name to mono wave."""
    waves = {}
    for path in tqdm(find(root, AUDIO, "recording"), f"reading {root.name}", leave=False):
        wave, rate = read_audio(path)
        waves[path.stem] = resample(wave.mean(0), rate, _RATE)
    return waves


def _cut(wave: Tensor, length: int, generator: Generator) -> Tensor:
    """A part at random; a wave that is too short is followed by silence."""
    start = _draw(max(1, len(wave) - length), generator)
    return torch.nn.functional.pad(wave[start : start + length], (0, max(0, length - len(wave))))


def _add(clip: Tensor, noise: Tensor, snr: float) -> Tensor:
    """Noise at a signal-to-noise ratio in dB; silence has none."""
    if not bool(clip.any()) or not bool(noise.any()):
        return clip
    return add_noise(clip, noise, torch.tensor(snr))


def _draw(below: int, generator: Generator) -> int:
    return int(torch.randint(below, (), generator=generator))
