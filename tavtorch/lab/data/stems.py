"""Songs with known stems for training and scoring a separation network."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning as L
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from tavtorch.lab.data.batches import Item, loader, process_of
from tavtorch.lab.data.epochs import training_loader, validation_loader, whole_batches
from tavtorch.lab.data.generated import FreshSongs, generated_songs
from tavtorch.lab.data.song_folders import Splits, log_doubts, split_songs
from tavtorch.lab.data.songs import Form, Song, UnfitSong, all_with_stems, to_memory, tracks_of, with_stems

_GENERATED = 12.0  # seconds of a generated song: a few bars of its chords


@dataclass(frozen=True)
class Remix:
    """Augmentation: new mixtures from the stems of several songs (Uhlich et al. 2017, doi:10.1109/ICASSP.2017.7952158).

    Args:
        across: fraction of the excerpts whose tracks each come from another song; the other excerpts are of one song.
        gain: largest change of a track's level, up or down, in dB.
        swap: fraction of the stereo tracks whose left and right channels are swapped.
    """

    across: float = 0.5
    gain: float = 6.0
    swap: float = 0.5

    def __call__(self, stems: Float[Tensor, "s c t"], rng: np.random.Generator) -> Float[Tensor, "s c t"]:
        decibels = torch.from_numpy(rng.uniform(-self.gain, self.gain, len(stems))).to(stems.dtype)
        swapped = torch.from_numpy(rng.random(len(stems)) < self.swap)
        stems = torch.where(swapped[:, None, None], stems.flip(1), stems)
        return stems * 10 ** (decibels / 20)[:, None, None]


class Excerpts(Dataset[dict[str, Any]]):
    """Excerpts without end, by number: excerpt `i` is the same in every process, run and order.

    Args:
        songs: where they are cut from; a song is drawn in proportion to its length.
        form: the network's stems, sample rate and channels.
        seconds: length of an excerpt.
        remix: see `Remix`; None leaves the stems of a song together.
        fresh: gives more songs for the number of an excerpt; see `FreshSongs`.
        seed: of all random numbers.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        form: Form,
        *,
        seconds: float = 4.0,
        remix: Remix | None = None,
        fresh: Callable[[int], Sequence[Song]] | None = None,
        seed: int = 0,
    ) -> None:
        for song in (*songs, *(fresh(0) if fresh else ())):
            with_stems(song, form.stems)
        self.songs, self.form, self.seconds, self.remix = songs, form, seconds, remix
        self.fresh, self.seed = fresh, seed

    def __getitem__(self, number: int) -> dict[str, Any]:
        rng = np.random.default_rng((self.seed, number))
        across = self.remix is not None and rng.random() < self.remix.across
        songs = [*self.songs, *(self.fresh(number) if self.fresh else ())]
        place = _Place(songs, self.seconds, rng)
        position = place()
        stems = torch.stack([self._stem(stem, position, place if across else None, rng) for stem in self.form.stems])
        return {"inputs": {"wave": stems.sum(0)}, "truth": stems}

    def _stem(
        self, stem: str, position: tuple[Song, float], place: "_Place | None", rng: np.random.Generator
    ) -> Tensor:
        """One stem of an excerpt; across songs, each of its tracks is from another place if that song has it."""
        waves = []
        for track in tracks_of(stem, position[0]):
            other = place() if place else position
            waves.append(self._read(track, *(other if track in other[0].parts else position)))
        return (self.remix(torch.stack(waves), rng) if self.remix else torch.stack(waves)).sum(0)

    def _read(self, stem: str, song: Song, start: float) -> Tensor:
        return song.read(stem, start, self.seconds, self.form.sample_rate, self.form.channels)


class _Place:
    """`place()` draws a song, in proportion to its length, and where in it an excerpt of `seconds` begins."""

    def __init__(self, songs: Sequence[Song], seconds: float, rng: np.random.Generator) -> None:
        lengths = np.array([song.seconds for song in songs])
        self.songs, self.seconds, self.rng, self.shares = songs, seconds, rng, lengths / lengths.sum()

    def __call__(self) -> tuple[Song, float]:
        song = self.songs[self.rng.choice(len(self.songs), p=self.shares)]
        return song, self.rng.uniform(0, max(0.0, song.seconds - self.seconds))


class WholeSongs(Dataset[Item]):
    """Songs with their stems; one that cannot be read, or lacks a stem, is `{"name", "error"}`.

    Args:
        songs: the songs, or a function that makes them for a `sample_rate`.
        form: what they are brought to.
    """

    def __init__(self, songs: Sequence[Song | UnfitSong] | Callable[..., Sequence[Song]], form: Form) -> None:
        self.songs: Sequence[Song | UnfitSong] = songs(sample_rate=form.sample_rate) if callable(songs) else songs
        self.form = form

    def __len__(self) -> int:
        return len(self.songs)

    def __getitem__(self, i: int) -> Item:
        name = self.songs[i].name
        try:
            song = with_stems(self.songs[i], self.form.stems)
            wave, *stems = (self._read(song, stem) for stem in ("mixture", *self.form.stems))
        except ValueError as error:
            return {"name": name, "error": str(error)}
        inputs = {"wave": wave[None], "sample_rate": self.form.sample_rate}
        return {"name": name, "inputs": inputs, "truth": torch.stack(stems)[None]}

    def batch_key(self, i: int) -> Hashable:
        song = self.songs[i]
        return song.name if isinstance(song, UnfitSong) else song.seconds

    def _read(self, song: Song, stem: str) -> Tensor:
        return song.read(stem, 0.0, song.seconds, self.form.sample_rate, self.form.channels)


class Stems(L.LightningDataModule):
    """Songs to train a separation network on, recorded or generated or both, and songs to score it on.

    Args:
        form: the network's stems, sample rate and channels.
        excerpts: `Excerpts` with every argument but songs, form and seed.
        root: folder of recorded songs; None generates all songs.
        group, val, test: how the folder is split, see `split_songs`.
        generated: number of generated songs of 12 s for training, beside the recorded ones; without recorded ones an
            eighth of this number is generated for validation, and an eighth for scoring.
        renewed: how many of those for training give way to new ones after each epoch, so that a long training does not
            learn them by heart; to generate 16 takes a second or two.
        batch_size: excerpts per step, the total over all devices.
        per_epoch: training excerpts per epoch; an eighth of this number validates it.
        memory: limit in GiB up to which recorded songs are decoded once and kept; above it excerpts are read from
            the files each time.
        workers: processes that prepare excerpts; 0 is best for songs in memory.
        seed: of the generated songs and of the excerpts.
    """

    def __init__(
        self,
        form: Form,
        excerpts: Callable[..., Excerpts],
        *,
        root: str | None = None,
        group: str | None = None,
        val: float = 0.15,
        test: float = 0.25,
        generated: int = 0,
        renewed: int = 0,
        batch_size: int = 8,
        per_epoch: int = 1200,
        memory: float = 4.0,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.form, self.excerpts, self.root = form, excerpts, root
        self.generated, self.renewed = generated, renewed
        self.split = partial(split_songs, group=group, val=val, test=test)
        self.memory, self.seed = memory, seed
        self.epochs = {"batch_size": batch_size, "per_epoch": per_epoch, "workers": workers}
        self._told = False

    def setup(self, stage: str) -> None:
        songs = self._recorded()
        if stage not in ("fit", "validate"):
            self.test = WholeSongs(songs.test if self.root else self._generated(self.generated // 8, 2), self.form)
            return
        unfit = [song for song in songs.test if isinstance(song, UnfitSong)]
        recorded = all_with_stems([*songs.train, *songs.val, *unfit], self.form.stems)
        train, val = self._decoded(recorded[: len(songs.train)]), self._decoded(recorded[len(songs.train) :])
        every = whole_batches(self.epochs["per_epoch"], self.epochs["batch_size"])
        form = {"sample_rate": self.form.sample_rate, "seed": 3 * self.seed}
        fresh = FreshSongs(self.generated, self.renewed, every, _GENERATED, **form) if self.generated else None
        self.train = self._excerpts(train, 0, fresh=fresh)
        self.val = self._excerpts(val if self.root else self._generated(self.generated // 8, 1), 1, remix=None)

    def train_dataloader(self) -> DataLoader[Any]:
        return training_loader(self.train, process_of(self.trainer), **self.epochs)

    def val_dataloader(self) -> DataLoader[Any]:
        return validation_loader(self.val, process_of(self.trainer), **self.epochs)

    def test_dataloader(self) -> DataLoader[Any]:
        return loader(self.test, process_of(self.trainer))

    def _recorded(self) -> Splits:
        """The songs of the folder, with their doubts told the first time."""
        songs = self.split(self.root) if self.root else Splits([], [], [])
        if not self._told and process_of(self.trainer)[0] == 0:
            log_doubts([song for part in songs for song in part])
        self._told = True
        return songs

    def _generated(self, count: int, seed: int) -> list[Song]:
        return [*generated_songs(count, _GENERATED, sample_rate=self.form.sample_rate, seed=3 * self.seed + seed)]

    def _decoded(self, songs: list[Song]) -> list[Song]:
        kept = sum(song.seconds * len(tracks_of(stem, song)) for song in songs for stem in self.form.stems)
        if 4 * kept * self.form.sample_rate * self.form.channels > self.memory * 2**30:
            return songs
        return [to_memory(song, self.form) for song in tqdm(songs, "decoding songs", leave=False, disable=None)]

    def _excerpts(self, songs: list[Song], seed: int, **changes: Any) -> Excerpts:
        if not songs and not changes.get("fresh"):
            raise ValueError(
                "data: no song to learn from or to validate with; add songs, or lower data.val and data.test."
            )
        return self.excerpts(songs, self.form, seed=3 * self.seed + seed, **changes)
