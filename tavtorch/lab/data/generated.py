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
    """`count` songs of four stems, the same for equal seed and count; see `synthetic.band`.

    They are generated on a GPU if there is one (a GPU draws other songs than a CPU) and kept in memory.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    songs: list[SongInMemory] = []
    for first in tqdm(range(0, count, _CHUNK), "generating songs", leave=False, disable=None):
        generator = torch.Generator(device).manual_seed(seed + (first << 16))
        some = min(_CHUNK, count - first)
        waves = band(some, seconds, sample_rate=sample_rate, generator=generator, device=device).cpu()
        songs += [
            SongInMemory(f"made_{seed}_{first + i:04d}", dict(zip(STEMS, stems, strict=True)), sample_rate)
            for i, stems in enumerate(waves)
        ]
    return songs


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
