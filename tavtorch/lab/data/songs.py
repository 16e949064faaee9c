"""Songs with known stems, on disk or in memory."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torchaudio.functional import resample

from tavtorch.lab.data.files import AUDIO, audio_info, read_audio
from tavtorch.lab.data.synthetic import STEMS

PARTS = (*STEMS, "accompaniment", "mixture")
_CODEC_PADDING = 0.05  # seconds by which lossy encoders lengthen one stem more than another


class Form(NamedTuple):
    """What songs are brought to for a network: its stems, its sample rate in Hz and its channels."""

    stems: Sequence[str] = ("vocals", "accompaniment")
    sample_rate: int = 16000
    channels: int = 1


@dataclass(frozen=True)
class SongOnDisk:
    """A folder with one file per stem; excerpts are read from the files."""

    name: str
    files: dict[str, Path]
    sample_rate: int
    seconds: float

    def read(self, stem: str, start: float, seconds: float, sample_rate: int, channels: int) -> Float[Tensor, "c t"]:
        """`seconds` of a stem from `start` on, at a sample rate and with a number of channels; zeros past the end."""
        first, wanted = round(start * self.sample_rate), round(seconds * self.sample_rate)
        count = max(0, min(wanted, round(self.seconds * self.sample_rate) - first))
        wave = torch.zeros(channels, max(wanted, 1))
        for part, sign in stem_formula(stem, self.files).items():
            wave[:, :count] += sign * _with_channels(read_audio(self.files[part], first, count)[0], channels)
        return _fit(resample(wave, self.sample_rate, sample_rate), round(seconds * sample_rate))

    @property
    def parts(self) -> Collection[str]:
        """The parts that have a file."""
        return self.files


@dataclass(frozen=True)
class SongInMemory:
    """A song in memory: one wave `(c, t)` per stem, all of one rate and one length."""

    name: str
    stems: dict[str, Float[Tensor, "c t"]]
    sample_rate: int

    @property
    def seconds(self) -> float:
        return next(iter(self.stems.values())).shape[-1] / self.sample_rate

    def read(self, stem: str, start: float, seconds: float, sample_rate: int, channels: int) -> Float[Tensor, "c t"]:
        """As `SongOnDisk.read`."""
        excerpt = slice(first := round(start * self.sample_rate), first + round(seconds * self.sample_rate))
        wave = torch.zeros(1, 1)
        for part, sign in stem_formula(stem, self.stems).items():
            wave = wave + sign * self.stems[part][:, excerpt]
        if sample_rate != self.sample_rate:
            wave = resample(wave, self.sample_rate, sample_rate)
        return _fit(_with_channels(wave, channels), round(seconds * sample_rate))

    @property
    def parts(self) -> Collection[str]:
        """The parts in memory."""
        return self.stems


Song = SongOnDisk | SongInMemory


def check_stems(song: Song, stems: Sequence[str]) -> None:
    """Raise a `ValueError` if one of the stems can neither be read nor be computed from other parts."""
    for stem in stems:
        tracks_of(stem, song)


def to_memory(song: Song, form: Form) -> Song:
    """The song with the tracks of its stems decoded, resampled and kept in memory."""
    names = [track for stem in form.stems for track in tracks_of(stem, song)]
    held = {name: song.read(name, 0.0, song.seconds, form.sample_rate, form.channels) for name in names}
    return SongInMemory(song.name, held, form.sample_rate)


def tracks_of(stem: str, song: Song) -> list[str]:
    """The parts of a song that add up to a stem: the accompaniment may be drums, bass and other."""
    try:
        parts = stem_formula(stem, song.parts)
    except KeyError:
        raise ValueError(
            f"{song.name}: {stem} cannot be had from {', '.join(sorted(song.parts))}. Add {stem} as a file, or "
            "ask for other stems: task.op.stems=[vocals,accompaniment]."
        ) from None
    return list(parts) if all(sign > 0 for sign in parts.values()) and parts else [stem]


def recorded_songs(root: str | Path) -> list[Song]:
    """The songs `<root>/<song>/{vocals,drums,bass,other,accompaniment,mixture}.{wav,flac,ogg,mp3}`, by name.

    Only headers are read. Raises a `ValueError` with every song whose stems differ in rate or in length.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"data.root: expected a folder of songs, but {root} is no folder.")
    folders = [(folder, _stem_files(folder)) for folder in sorted(root.iterdir()) if folder.is_dir()]
    songs: list[Song] = []
    faults = []
    for folder, files in folders:
        try:
            songs += [_recorded(folder.name, files)] if files else []
        except ValueError as fault:
            faults.append(str(fault))
    if faults:
        raise ValueError("data.root: mend or remove these songs:\n  " + "\n  ".join(faults))
    if not songs:
        raise ValueError(
            f"data.root: no song in {root}; expected folders <song>/ with files named {', '.join(PARTS)} "
            f"({', '.join(AUDIO)})."
        )
    return songs


class Splits(NamedTuple):
    """Songs for training, for choosing the best weights, and for scoring."""

    train: list[Song]
    val: list[Song]
    test: list[Song]


def split_songs(root: str | Path, *, group: str | None = None, val: float = 0.15, test: float = 0.25) -> Splits:
    r"""Split the songs of a folder so that no song, or no group of songs, is in two splits.

    A folder with `train/` and `test/` (MUSDB18-HQ) keeps its test songs. The split depends on the sorted names only.

    Args:
        group: regular expression whose first group is what songs of one split share, such as the singer: `"(.+)_\d+"`.
        val, test: fractions of the groups; one that is not 0 gets at least one group. `test=1` scores every song.
    """
    root = Path(root)
    own_test = (root / "train").is_dir() and (root / "test").is_dir()
    tested = recorded_songs(root / "test") if own_test else []
    groups: dict[str, list[Song]] = {}
    for song in recorded_songs(root / "train" if own_test else root):
        match = re.match(group, song.name) if group else None
        groups.setdefault(match[1] if match else song.name, []).append(song)
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = [list(groups.values())[i] for i in order]
    n_test = 0 if own_test else _part_of(test, len(shuffled))
    n_val = _part_of(val, len(shuffled) - n_test)
    parts = shuffled[n_test + n_val :], shuffled[n_test : n_test + n_val], shuffled[:n_test]
    train, val_songs, test_songs = ([song for songs in part for song in songs] for part in parts)
    return Splits(train, val_songs, tested + test_songs)


def stem_formula(stem: str, parts: Collection[str]) -> dict[str, int]:
    """The parts, with their signs, that add up to a stem.

    Raises `KeyError` if none do. A part of the band that is missing from a song without a mixture is silent.

    >>> stem_formula("accompaniment", ["vocals", "drums", "bass"])
    {'drums': 1, 'bass': 1}
    >>> stem_formula("vocals", ["mixture", "accompaniment"])
    {'mixture': 1, 'accompaniment': -1}
    >>> stem_formula("rest", ["mixture", "drums"])                                             # all but the drums
    {'mixture': 1, 'drums': -1}
    """
    if stem == "rest" and "drums" in parts:
        mixture = stem_formula("mixture", parts)
        return {part: 1 for part in mixture if part != "drums"} | ({} if "drums" in mixture else {"drums": -1})
    if stem in parts:
        return {stem: 1}
    music = ("accompaniment",) if "accompaniment" in parts else tuple(part for part in STEMS[1:] if part in parts)
    if stem == "mixture" and "vocals" in parts:
        return dict.fromkeys((*music, "vocals"), 1)
    if stem in ("mixture", "accompaniment") and music:
        return dict.fromkeys(music, 1)
    rest = {"vocals": music, "accompaniment": ("vocals",)}.get(stem, [part for part in STEMS if part != stem])
    if rest and "mixture" in parts and all(part in parts for part in rest):
        return {"mixture": 1} | dict.fromkeys(rest, -1)
    if stem in STEMS and "mixture" not in parts and (stem == "vocals" or "accompaniment" not in parts):
        return {}
    raise KeyError(stem)


def _stem_files(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.iterdir()) if path.stem in PARTS and path.suffix.lower() in AUDIO}


def _recorded(name: str, files: dict[str, Path]) -> SongOnDisk:
    heads = {stem: audio_info(path) for stem, path in files.items()}
    rates = {stem: rate for stem, (rate, _, _) in heads.items()}
    seconds = {stem: frames / rate for stem, (rate, _, frames) in heads.items()}
    if len(set(rates.values())) > 1:
        raise ValueError(f"{name}: its stems differ in sample rate: {rates}; resample them to one.")
    if max(seconds.values()) - min(seconds.values()) > _CODEC_PADDING:
        lengths = {stem: round(length, 2) for stem, length in seconds.items()}
        raise ValueError(
            f"{name}: its stems differ in length: {lengths} seconds; export them from one start to one end."
        )
    return SongOnDisk(name, files, next(iter(rates.values())), min(seconds.values()))


def _part_of(share: float, count: int) -> int:
    return min(count, max(1, round(share * count))) if share > 0 else 0


def _with_channels(wave: Tensor, channels: int) -> Tensor:
    """Mono from any number of channels is their mean; a mono wave serves every channel."""
    return wave if wave.shape[0] == channels else wave.mean(0, keepdim=True).expand(channels, -1)


def _fit(wave: Tensor, length: int) -> Tensor:
    """Cut, or fill with silence, to `length` samples."""
    return torch.nn.functional.pad(wave, (0, length - wave.shape[-1]))
