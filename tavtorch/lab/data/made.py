"""Generated songs for scoring separators that need no training: with drums as loud as the rest, and of a few notes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from tavtorch.lab.data.batches import loader, place
from tavtorch.lab.data.songs import Form, HeldSong, Song, made_songs
from tavtorch.lab.data.stems import Whole
from tavtorch.lab.data.synthetic.tune import tune


class Made(L.LightningDataModule):
    """Whole songs to score.

    Args:
        form: stems, rate and channels.
        songs: from a `sample_rate`.
    """

    def __init__(self, form: Form, songs: Callable[..., Sequence[Song]]) -> None:
        super().__init__()
        self.form, self.songs = form, songs

    def setup(self, stage: str) -> None:
        if stage in ("fit", "validate"):
            raise ValueError("data: these songs are for scoring with evaluate.py; train on data=band or data=stems.")
        self.test = Whole(self.songs(sample_rate=self.form.sample_rate), self.form)

    def test_dataloader(self) -> DataLoader[Any]:
        return loader(self.test, place(self.trainer))


def beats(count: int, seconds: float, *, sample_rate: int, seed: int, louder: float = 0.0) -> list[Song]:
    """Songs of `made_songs` whose drums are so many dB louder than all the rest; for training they are hidden."""
    return [_with_drums(song, louder) for song in made_songs(count, seconds, sample_rate=sample_rate, seed=seed)]


def tunes(count: int, notes: int, seconds: float, *, sample_rate: int, seed: int) -> list[Song]:
    """Songs of a few notes, the stems `note_1`, `note_2`, … from low to high; see `synthetic.tune`."""
    waves = tune(count, notes, seconds, sample_rate=sample_rate, generator=torch.Generator().manual_seed(seed))
    return [
        HeldSong(
            f"tune_{seed}_{i:04d}",
            {"mixture": stems.sum(0)} | {f"note_{k + 1}": stem for k, stem in enumerate(stems)},
            sample_rate,
        )
        for i, stems in enumerate(waves)
    ]


def _with_drums(song: Song, louder: float) -> Song:
    assert isinstance(song, HeldSong)
    drums = song.stems["drums"]
    rest = sum((stem for name, stem in song.stems.items() if name != "drums"), torch.zeros(()))
    stems = song.stems | {"drums": drums * 10 ** (louder / 20) * rest.norm() / drums.norm().clamp(min=1e-6)}
    peak = sum(stems.values(), torch.zeros(())).abs().max()
    return replace(song, stems={name: 0.7 * stem / peak for name, stem in stems.items()})
