"""Generated songs with known stems: bands, bands with loud drums, and tunes of a few notes."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from tqdm import tqdm

from tavtorch.lab.data.songs import SongInMemory
from tavtorch.lab.data.synthetic import STEMS, band
from tavtorch.lab.data.synthetic.tune import tune

_CHUNK = 16  # songs generated together


def generated_songs(count: int, seconds: float, *, sample_rate: int, seed: int) -> list[SongInMemory]:
    """`count` songs of four stems, the same for equal seed and count on every machine; see `synthetic.band`.

    They are kept in memory. A GPU would draw other songs than a CPU, and does not draw any.
    """
    songs: list[SongInMemory] = []
    for first in tqdm(range(0, count, _CHUNK), "generating songs", leave=False, disable=None):
        songs += _chunk(first, min(_CHUNK, count - first), seconds, sample_rate=sample_rate, seed=seed)
    return songs


class FreshSongs:
    """`fresh(number)`: songs of `generated_songs` for an excerpt, of which the oldest give way to new ones.

    They are generated when they are asked for, the same for a number in every process, run and order.

    Args:
        count: songs at a time.
        renewed: new ones after every `every` excerpts; 0 keeps the first ones.
        every: excerpts.
        seconds, sample_rate, seed: see `generated_songs`.
    """

    def __init__(self, count: int, renewed: int, every: int, seconds: float, *, sample_rate: int, seed: int) -> None:
        if renewed < 0:
            raise ValueError(f"data.renewed: expected a number of songs from 0 on, got {renewed}.")
        self.count, self.renewed, self.every, self.chunk = count, renewed, every, min(_CHUNK, count)
        self.seconds, self.sample_rate, self.seed = seconds, sample_rate, seed
        self._chunks: dict[int, list[SongInMemory]] = {}

    def __call__(self, number: int) -> list[SongInMemory]:
        first = number // self.every * self.renewed
        begin = first // self.chunk * self.chunk
        wanted = range(begin, first + self.count, self.chunk)
        missing = [k for k in wanted if k not in self._chunks]
        if missing:
            self._chunks = {k: songs for k, songs in self._chunks.items() if k in wanted}
            quiet = None if len(missing) == len(wanted) else True
            for k in tqdm(missing, "generating songs", leave=False, disable=quiet):
                self._chunks[k] = _chunk(k, self.chunk, self.seconds, sample_rate=self.sample_rate, seed=self.seed)
        return [song for k in wanted for song in self._chunks[k]][first - begin :][: self.count]


def _chunk(first: int, count: int, seconds: float, *, sample_rate: int, seed: int) -> list[SongInMemory]:
    generator = torch.Generator().manual_seed(seed + (first << 16))
    waves = band(count, seconds, sample_rate=sample_rate, generator=generator)
    return [
        SongInMemory(f"made_{seed}_{first + i:04d}", dict(zip(STEMS, stems, strict=True)), sample_rate)
        for i, stems in enumerate(waves)
    ]


def loud_drums(count: int, seconds: float, *, sample_rate: int, seed: int, louder: float = 0.0) -> list[SongInMemory]:
    """Songs of `generated_songs` whose drums are `louder` dB louder than the rest; by default drums are soft."""
    return [_with_drums(song, louder) for song in generated_songs(count, seconds, sample_rate=sample_rate, seed=seed)]


def tunes(count: int, notes: int, seconds: float, *, sample_rate: int, seed: int) -> Sequence[SongInMemory]:
    """Songs of a few notes, the stems `note_1`, `note_2`, … from low to high; see `synthetic.tune`."""
    waves = tune(count, notes, seconds, sample_rate=sample_rate, generator=torch.Generator().manual_seed(seed))
    return [
        SongInMemory(
            f"tune_{seed}_{i:04d}",
            {"mixture": stems.sum(0)} | {f"note_{k + 1}": stem for k, stem in enumerate(stems)},
            sample_rate,
        )
        for i, stems in enumerate(waves)
    ]


def _with_drums(song: SongInMemory, louder: float) -> SongInMemory:
    """The song with its drums at a level relative to the rest, and with a peak of 0.7."""
    drums = song.stems["drums"]
    rest = sum((stem for name, stem in song.stems.items() if name != "drums"), torch.zeros(()))
    stems = song.stems | {"drums": drums * 10 ** (louder / 20) * rest.norm() / drums.norm().clamp(min=1e-6)}
    peak = sum(stems.values(), torch.zeros(())).abs().max()
    return replace(song, stems={name: 0.7 * stem / peak for name, stem in stems.items()})
