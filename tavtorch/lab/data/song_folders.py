"""Folders of recorded songs: a folder a song, with a file for each of its parts."""

import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from tavtorch.lab.data.files import AUDIO, audio_info, read_audio
from tavtorch.lab.data.formulas import PARTS
from tavtorch.lab.data.songs import Song, SongOnDisk, UnfitSong

log = logging.getLogger(__name__)

_CODEC_PADDING = 0.05  # seconds by which lossy encoders lengthen one stem more than another
_EXCERPT = 20.0  # seconds from the middle of a song in which its mixture is compared with the sum of its stems
_CODEC_NOISE = -20.0  # dB: the noise of lossy encoders is below, what a limiter or an equaliser changes above


def recorded_songs(root: str | Path) -> list[Song | UnfitSong]:
    """The songs `<root>/<song>/{vocals,drums,bass,other,accompaniment,mixture}.{wav,flac,ogg,mp3,…}`, by name.

    Names count in any case: `Vocals.WAV` too. Only headers are read. A song whose parts differ in rate or in length, or
    are there twice, and a folder of recordings with other names only, are each an `UnfitSong` with its reason.

    Raises:
        ValueError: there is no song.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"data.root: expected a folder of songs, but {root} is no folder.")
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    found = {folder: _recordings(folder) for folder in folders}
    songs = [_song(folder, files) for folder, files in found.items() if files]
    without = [folder.name for folder, files in found.items() if not files]
    if not any(isinstance(song, SongOnDisk) for song in songs):
        faults = "".join(f"\n  {song.error}" for song in songs if isinstance(song, UnfitSong))
        own = [path for path in _recordings(root) if path.stem.lower() in PARTS]
        itself = " It looks like a song itself: give the folder that it is in." if own else ""
        raise ValueError(
            f"data.root: no song in {root}; expected folders <song>/ with files named {', '.join(PARTS)} "
            f"({', '.join(AUDIO)}).{itself}{faults}"
        )
    if without:
        log.info("%s: no recordings in %s", root, ", ".join(without))
    return songs


class Splits(NamedTuple):
    """Songs for training, for choosing the best weights, and for scoring."""

    train: list[Song | UnfitSong]
    val: list[Song | UnfitSong]
    test: list[Song | UnfitSong]


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
    groups: dict[str, list[Song | UnfitSong]] = {}
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


def log_doubts(songs: Sequence[Song | UnfitSong]) -> None:
    """Say which files are counted as `other`, and which mixtures are not the sum of the stems beside them."""
    recorded = [song for song in songs if isinstance(song, SongOnDisk)]
    counted = {song.name: song.extras for song in recorded if song.extras and "other" in song.parts}
    if counted:
        named = ", ".join(f"{name} ({', '.join(path.name for path in paths)})" for name, paths in counted.items())
        log.info("files of other names are counted as other in %s", named)
    levels = {song.name: level for song in recorded if (level := difference(song)) > _CODEC_NOISE}
    if levels:
        log.warning(
            "the mixture is not the sum of the stems in %s; in brackets the level of the difference, relative to the "
            "mixture. Was it mastered? Where its file is removed, the sum is the mixture.",
            ", ".join(f"{name} ({level:.1f} dB)" for name, level in levels.items()),
        )


def difference(song: SongOnDisk) -> float:
    """Level of the mixture minus the sum of the stems, relative to the mixture, in dB, in the middle of a song.

    -inf if they are equal or silent, or cannot be compared: without a mixture, or where parts of the band are missing.
    """
    files = song.files
    band = ("accompaniment",) if "accompaniment" in files else ("drums", "bass", "other")
    if not {"mixture", "vocals", *band} <= files.keys():
        return -math.inf
    count = round(min(_EXCERPT, song.seconds) * song.sample_rate)
    start = (round(song.seconds * song.sample_rate) - count) // 2
    stems = [*(files[part] for part in ("vocals", *band)), *(song.extras if "other" in band else ())]
    try:
        mixture, *waves = (read_audio(path, start, count)[0].mean(0) for path in (files["mixture"], *stems))
    except ValueError:  # it is told where the song is read
        return -math.inf
    rest, power = ((mixture - sum(waves)).square().sum().item(), mixture.square().sum().item())
    return 10 * math.log10(rest / power) if rest > 0 and power > 0 else -math.inf


def _recordings(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in AUDIO and not path.name.startswith(".")]


def _song(folder: Path, files: Sequence[Path]) -> Song | UnfitSong:
    try:
        return _recorded(folder.name, files)
    except (ValueError, OSError) as error:
        return UnfitSong(folder.name, str(error))


def _recorded(name: str, paths: Sequence[Path]) -> SongOnDisk:
    same: dict[str, list[Path]] = {}
    for path in paths:
        same.setdefault(path.stem.lower(), []).append(path)
    for copies in same.values():
        if len(copies) > 1:
            raise ValueError(f"{name}: {' and '.join(path.name for path in copies)} are one part; leave one of them.")
    files = {part: same[part][0] for part in PARTS if part in same}
    extras = tuple(path for path in paths if path.stem.lower() not in PARTS)
    if not files:
        names = ", ".join(path.name for path in extras)
        raise ValueError(
            f"{name}: no file is named {', '.join(PARTS)}; there are {names}. Rename those that are parts."
        )
    heads = {path.stem: audio_info(path) for path in (*files.values(), *extras)}
    rates = {stem: rate for stem, (rate, _, _) in heads.items()}
    seconds = {stem: frames / rate for stem, (rate, _, frames) in heads.items()}
    if len(set(rates.values())) > 1:
        raise ValueError(f"{name}: its stems differ in sample rate: {rates}; resample them to one.")
    if max(seconds.values()) - min(seconds.values()) > _CODEC_PADDING:
        lengths = {stem: round(length, 2) for stem, length in seconds.items()}
        raise ValueError(
            f"{name}: its stems differ in length: {lengths} seconds; export them from one start to one end."
        )
    return SongOnDisk(name, files, next(iter(rates.values())), min(seconds.values()), extras)


def _part_of(share: float, count: int) -> int:
    return min(count, max(1, round(share * count))) if share > 0 else 0
