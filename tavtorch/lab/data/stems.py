"""Songs with known stems for training and scoring a separation network."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning as L
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset
from tqdm import tqdm

from tavtorch.lab.data.batches import loader, place, share
from tavtorch.lab.data.songs import Form, Song, check, hold, made_songs, split_songs, tracks

_MADE = 12.0  # seconds of a generated song: a few bars of its chords


@dataclass(frozen=True)
class Remix:
    """Augmentation: new songs from the stems of old ones (Uhlich et al. 2017, doi:10.1109/ICASSP.2017.7952158).

    Args:
        across: share of the excerpts whose tracks come each from a song of its own; the rest stay together.
        gain: each track is made louder or softer by up to so many dB.
        swap: share of the stereo tracks whose left and right change places.
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
    """An endless, numbered supply of excerpts: number `i` is the same in every process, run and order.

    Args:
        songs: where they come from; a long song comes as often as it has seconds.
        form: what the network hears.
        seconds: length of an excerpt.
        remix: see `Remix`; without it stems stay together as they were recorded.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        form: Form,
        *,
        seconds: float = 4.0,
        remix: Remix | None = None,
        seed: int = 0,
    ) -> None:
        for song in songs:
            check(song, form.stems)
        self.songs, self.form, self.seconds, self.remix, self.seed = songs, form, seconds, remix, seed
        lengths = np.array([song.seconds for song in songs])
        self.shares = lengths / lengths.sum()

    def __getitem__(self, number: int) -> dict[str, Any]:
        rng = np.random.default_rng((self.seed, number))
        across = self.remix is not None and rng.random() < self.remix.across
        place = self._place(rng)
        stems = torch.stack([self._stem(stem, place, across, rng) for stem in self.form.stems])
        return {"inputs": {"wave": stems.sum(0)}, "truth": stems}

    def _stem(self, stem: str, place: tuple[Song, float], across: bool, rng: np.random.Generator) -> Tensor:
        """One stem of an excerpt; across songs, each of its tracks is from another place, if that has such a track."""
        waves = []
        for track in tracks(stem, place[0]):
            other = self._place(rng) if across else place
            waves.append(self._read(track, *(other if track in other[0].parts else place)))
        return (self.remix(torch.stack(waves), rng) if self.remix else torch.stack(waves)).sum(0)

    def _place(self, rng: np.random.Generator) -> tuple[Song, float]:
        song = self.songs[rng.choice(len(self.songs), p=self.shares)]
        return song, rng.uniform(0, max(0.0, song.seconds - self.seconds))

    def _read(self, stem: str, song: Song, start: float) -> Tensor:
        return song.read(stem, start, self.seconds, self.form.sample_rate, self.form.channels)


class Whole(Dataset[dict[str, Any]]):
    """Whole songs with their stems; a song that cannot be read comes as `{"name", "error"}`."""

    def __init__(self, songs: Sequence[Song], form: Form) -> None:
        self.songs, self.form = songs, form

    def __len__(self) -> int:
        return len(self.songs)

    def __getitem__(self, i: int) -> dict[str, Any]:
        song = self.songs[i]
        try:
            check(song, self.form.stems)
            wave, *stems = (self._read(song, stem) for stem in ("mixture", *self.form.stems))
        except ValueError as error:
            return {"name": song.name, "error": str(error)}
        inputs = {"wave": wave[None], "sample_rate": self.form.sample_rate}
        return {"name": song.name, "inputs": inputs, "truth": torch.stack(stems)[None]}

    def _read(self, song: Song, stem: str) -> Tensor:
        return song.read(stem, 0.0, song.seconds, self.form.sample_rate, self.form.channels)


class Draws(Sampler[int]):
    """Numbers of the excerpts of an epoch, `epoch * count + i`, every `world`-th of them: none comes twice."""

    def __init__(self, count: int, rank: int = 0, world: int = 1) -> None:
        self.count, self.rank, self.world, self.epoch = count, rank, world, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.world

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.epoch * self.count + self.rank, (self.epoch + 1) * self.count, self.world))


class Stems(L.LightningDataModule):
    """Songs to train a separation network on, real or generated or both, and whole songs to score it on.

    Args:
        form: what the network hears: stems, rate, channels.
        excerpts: `Excerpts` with everything but songs, form and seed.
        root: folder of real songs; without one all songs are generated.
        group, val, test: how the folder is parted, see `split_songs`.
        generated: number of generated songs of 12 s to learn from, beside the real ones; where there are no real ones
            an eighth as many validate, and as many score.
        batch_size: excerpts a step, over all devices together.
        per_epoch: excerpts an epoch; an eighth as many validate it.
        memory: real songs are decoded once and kept where they need less than so many GiB; else excerpts are read from
            the files each time.
        workers: processes that prepare excerpts; 0 is best for songs in memory.
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
        batch_size: int = 8,
        per_epoch: int = 1200,
        memory: float = 4.0,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.form, self.excerpts, self.root, self.generated = form, excerpts, root, generated
        self.split = partial(split_songs, group=group, val=val, test=test)
        self.batch_size, self.per_epoch, self.memory = batch_size, per_epoch, memory
        self.workers, self.seed = workers, seed

    def setup(self, stage: str) -> None:
        songs = self.split(self.root) if self.root else None
        if stage not in ("fit", "validate"):
            self.test = Whole(songs.test if songs else self._made(self.generated // 8, 2), self.form)
            return
        train = self._held(songs.train) if songs else []
        val = self._held(songs.val) if songs else self._made(self.generated // 8, 1)
        self.train = self._excerpts(train + self._made(self.generated, 0), 0)
        self.val = self._excerpts(val, 1, remix=None)

    def train_dataloader(self) -> DataLoader[Any]:
        rank, world = place(self.trainer)
        if self.batch_size % world:
            raise ValueError(
                f"data.batch_size: {self.batch_size} excerpts cannot be shared evenly by {world} devices; "
                f"try {world * max(1, self.batch_size // world)}."
            )
        draws = Draws(self.per_epoch // self.batch_size * self.batch_size, rank, world)
        return self._load(self.train, sampler=draws, batch_size=self.batch_size // world)

    def val_dataloader(self) -> DataLoader[Any]:
        rank, world = place(self.trainer)
        count = max(self.per_epoch // 8, world)
        return self._load(Subset(self.val, share(count, (rank, world))), batch_size=self.batch_size)

    def test_dataloader(self) -> DataLoader[Any]:
        return loader(self.test, place(self.trainer))

    def _made(self, count: int, seed: int) -> list[Song]:
        return made_songs(count, _MADE, sample_rate=self.form.sample_rate, seed=3 * self.seed + seed)

    def _held(self, songs: list[Song]) -> list[Song]:
        kept = sum(song.seconds * len(tracks(stem, song)) for song in songs for stem in self.form.stems)
        if 4 * kept * self.form.sample_rate * self.form.channels > self.memory * 2**30:
            return songs
        return [hold(song, self.form) for song in tqdm(songs, "decoding songs", leave=False)]

    def _excerpts(self, songs: list[Song], seed: int, **changes: Any) -> Excerpts:
        if not songs:
            raise ValueError(
                "data: no song to learn from or to validate with; add songs, or lower data.val and data.test."
            )
        return self.excerpts(songs, self.form, seed=3 * self.seed + seed, **changes)

    def _load(self, dataset: Dataset[Any], **how: Any) -> DataLoader[Any]:
        return DataLoader(dataset, num_workers=self.workers, persistent_workers=self.workers > 0, **how)
