"""Songs with known stems, on disk or in memory."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.audio.resampling import rate_ratio, resampled
from tavtorch.lab.data.files import read_audio
from tavtorch.lab.data.formulas import stem_formula


class Form(NamedTuple):
    """What songs are brought to for a network: its stems, its sample rate in Hz and its channels."""

    stems: Sequence[str] = ("vocals", "accompaniment")
    sample_rate: int = 16000
    channels: int = 1


@dataclass(frozen=True)
class SongOnDisk:
    """A folder with one file per part; excerpts are read from the files.

    `extras` are files of other names, such as `guitar.wav`. They belong to `other`. Beside a mixture or accompaniment,
    where `other.wav` may hold them already, neither is read, and `other` is what the other parts leave.
    """

    name: str
    files: dict[str, Path]
    sample_rate: int
    seconds: float
    extras: tuple[Path, ...] = ()

    def read(self, stem: str, start: float, seconds: float, sample_rate: int, channels: int) -> Float[Tensor, "c t"]:
        """`seconds` of a stem from `start` on, at a sample rate and with a number of channels; zeros past the end."""
        first, wanted = round(start * self.sample_rate), round(seconds * self.sample_rate)
        count = max(0, min(wanted, round(self.seconds * self.sample_rate) - first))
        wave = torch.zeros(channels, max(wanted, 1))
        for part, sign in stem_formula(stem, self.parts).items():
            for path in self._paths(part):
                wave[:, :count] += sign * _with_channels(read_audio(path, first, count)[0], channels)
        return _at_rate(wave, self.sample_rate, sample_rate, round(seconds * sample_rate))

    @property
    def parts(self) -> Collection[str]:
        """The parts that have a file."""
        if not self.extras:
            return self.files.keys()
        holds_them = bool({"mixture", "accompaniment"} & self.files.keys())
        return self.files.keys() - {"other"} if holds_them else {*self.files, "other"}

    def _paths(self, part: str) -> list[Path]:
        own = [self.files[part]] if part in self.files else []
        return [*own, *self.extras] if part == "other" else own


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
        return _at_rate(_with_channels(wave, channels), self.sample_rate, sample_rate, round(seconds * sample_rate))

    @property
    def parts(self) -> Collection[str]:
        """The parts in memory."""
        return self.stems


Song = SongOnDisk | SongInMemory


class UnfitSong(NamedTuple):
    """A song that cannot be used, and why."""

    name: str
    error: str


def with_stems(song: Song | UnfitSong, stems: Sequence[str]) -> Song:
    """The song, or a `ValueError` if it cannot be used, or one of the stems cannot be had from its parts."""
    if isinstance(song, UnfitSong):
        raise ValueError(song.error)
    for stem in stems:
        tracks_of(stem, song)
    return song


def all_with_stems(songs: Sequence[Song | UnfitSong], stems: Sequence[str]) -> list[Song]:
    """The songs, or one `ValueError` with the faults of all of them; see `with_stems`."""
    faults, fit = [], []
    for song in songs:
        try:
            fit.append(with_stems(song, stems))
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError("data.root: mend these songs, or move them elsewhere:\n  " + "\n  ".join(faults))
    return fit


def to_memory(song: Song, form: Form) -> Song:
    """The song with the tracks of its stems decoded, resampled and kept in memory."""
    names = [track for stem in form.stems for track in tracks_of(stem, song)]
    held = {name: song.read(name, 0.0, song.seconds, form.sample_rate, form.channels) for name in names}
    return SongInMemory(song.name, held, form.sample_rate)


def tracks_of(stem: str, song: Song) -> list[str]:
    """The parts of a song that add up to a stem: the accompaniment may be drums, bass and other."""
    try:
        parts = stem_formula(stem, song.parts)
    except ValueError as error:
        extras = ", ".join(path.name for path in song.extras) if isinstance(song, SongOnDisk) else ""
        doubt = f" Or remove {extras}, which may belong to other." if extras else ""
        raise ValueError(
            f"{song.name}: {error} Or ask for other stems: task.op.stems=[vocals,accompaniment].{doubt}"
        ) from None
    return list(parts) if all(sign > 0 for sign in parts.values()) and parts else [stem]


def _with_channels(wave: Tensor, channels: int) -> Tensor:
    """Mono from any number of channels is their mean; a mono wave serves every channel."""
    return wave if wave.shape[0] == channels else wave.mean(0, keepdim=True).expand(channels, -1)


def _at_rate(wave: Tensor, sample_rate: int, rate: int, length: int) -> Tensor:
    """Resampled from one rate to another, and cut, or filled with silence, to `length` samples."""
    wave = resampled(wave, rate_ratio(sample_rate, rate))
    return torch.nn.functional.pad(wave, (0, length - wave.shape[-1]))
