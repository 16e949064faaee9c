"""Recordings in, whole or in excerpts, and how they are stored."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import soundfile
import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.audio.check import finite
from tavtorch.lab.data import compressed
from tavtorch.lab.data.sound_headers import missing, promised
from tavtorch.lab.data.sound_parts import Window, parts
from tavtorch.lab.data.sound_writer import WRITABLE, native

AUDIO = (*WRITABLE, ".mp2", ".m4a", ".aac", ".wma", ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".mka")
_LIBSNDFILE = (b"RIFF", b"RIFX", b"RF64", b"FORM", b".snd", b"caff", b"riff", b"fLaC", b"OggS")  # beginnings of files
_NAMES = {"mp3float": ("MP3", "MPEG_LAYER_III")}  # libsndfile's, by ffmpeg's name of a codec
_TAGS = {"track": "tracknumber"}  # names of tags: libsndfile's by ffmpeg's
_BLOCK = 1 << 16  # frames at a time


class SoundAbout(NamedTuple):
    """How a recording is stored, so that results can be stored as their source is: see `write_audio`."""

    suffix: str
    """In small letters."""
    format: str
    """As libsndfile names it, such as WAV or FLAC; as ffmpeg does, where libsndfile does not know it."""
    subtype: str
    """As libsndfile names it, such as PCM_24; ffmpeg's name of the codec otherwise."""
    tags: dict[str, str]
    """Title, artist, album, date and so on, by names in small letters."""


def audio_info(path: str | Path) -> tuple[int, int, int]:
    """Sample rate in Hz, number of channels and frames of a recording.

    PCM, FLAC and Ogg tell their frames. Those of other formats are counted by decoding, some hundred times faster than
    real time, once as long as the file does not change.

    Raises:
        ValueError: as `read_audio` does.
    """
    path = _existing(path)
    with _by_libsndfile(path) as files:
        if files:
            return files[0].samplerate, files[0].channels, sum(file.frames for file in files)
    held = compressed.contents(path)
    return held.sample_rate, held.channels, held.frames


def sound_about(path: str | Path) -> SoundAbout:
    """How a recording is stored, and what it says of itself."""
    path = _existing(path)
    with _by_libsndfile(path) as files:
        if files:
            return SoundAbout(path.suffix.lower(), files[0].format, files[0].subtype, files[0].copy_metadata())
    container, codec, tags = compressed.tags(path)
    tags = {_TAGS.get(name, name): text for name, text in tags.items()}
    return SoundAbout(path.suffix.lower(), *_NAMES.get(codec, (container, codec)), tags)


def read_audio(path: str | Path, start: int = 0, frames: int = -1) -> tuple[Float[Tensor, "c t"], int]:
    """Read a recording, or `frames` frames of it from `start` on; of a video, its first sound.

    PCM, FLAC and Ogg are read by libsndfile, anything else by ffmpeg, without the encoder's delay and padding where the
    file tells them. An excerpt is what the whole holds there, but for noise that AAC and MPEG layer II add at random.

    Returns:
        float32 samples `(c, t)`, in [-1, 1] unless the file holds larger ones, and the sample rate in Hz.

    Raises:
        ValueError: the file is no recording, is damaged, ends before its header says, changes its rate or channels,
            holds no samples, or NaN or infinite ones.
    """
    path = _existing(path)
    if start < 0:
        raise ValueError(f"start: expected a frame, 0 or more, got {start}.")
    with _by_libsndfile(path) as files:
        if files:
            rate, total = files[0].samplerate, sum(file.frames for file in files)
            wave = _excerpt(path, files, start, total - start if frames < 0 else frames)
        elif start == 0 and frames < 0:
            wave, rate = compressed.read_all(path)
            total = wave.shape[1]
        else:
            rate, _, total = audio_info(path)
            wave = compressed.read(path, start, total - start if frames < 0 else frames)
    wanted = max(total - start, 0) if frames < 0 else frames
    if total == 0:
        raise ValueError(_empty(path))
    if wave.shape[1] < wanted:
        raise ValueError(_cut(path, wave.shape[1], wanted))
    samples = torch.from_numpy(wave)
    if not finite(samples):
        raise ValueError(_infinite(path))
    return samples, rate


class AudioBlocks:
    """A recording of any length in blocks `(1, c, n)`, decoded as they are asked for: together what `read_audio` gives.

    It can be gone through again. What is wrong with a file further on is raised when its place is reached.

    Raises:
        ValueError: as `read_audio` does.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = _existing(path)
        with _by_libsndfile(self.path) as files:
            self.counted = bool(files)
            if files:
                self.sample_rate, self.channels = files[0].samplerate, files[0].channels
                self.frames = sum(file.frames for file in files)
        if not self.counted:
            first, self.sample_rate = next(compressed.blocks(self.path), (np.zeros((0, 0), np.float32), 1))
            self.channels = len(first)
            self.frames = round(compressed.seconds(self.path) * self.sample_rate)
        if self.channels == 0 or (self.counted and self.frames == 0):
            raise ValueError(_empty(self.path))

    sample_rate: int
    """In Hz."""
    channels: int
    frames: int
    """As the header tells; an estimate unless `counted`."""

    def __iter__(self) -> Iterator[Float[Tensor, "1 c _n"]]:
        done = 0
        for block in self._decoded():
            samples = torch.from_numpy(np.ascontiguousarray(block))[None]
            if not finite(samples):
                raise ValueError(_infinite(self.path))
            done += samples.shape[-1]
            yield samples
        if self.counted and done < self.frames:
            raise ValueError(_cut(self.path, done, self.frames))

    def _decoded(self) -> Iterator[Any]:
        """Blocks `(c, n)`."""
        with _by_libsndfile(self.path) as files:
            if files:
                yield from (block.T for block in _in_order(self.path, files, 0, self.frames))
                return
        held: list[Any] = []
        for block, _ in compressed.blocks(self.path):
            held.append(block)
            if sum(one.shape[1] for one in held) >= _BLOCK:
                yield np.concatenate(held, 1)
                held = []
        if held:
            yield np.concatenate(held, 1)


def _existing(path: str | Path) -> Path:
    """The path, if a file there may be read."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file.")
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(f"{path}: the file may not be read ({error.strerror}). Change its permissions.") from error
    return path


@contextmanager
def _by_libsndfile(path: Path) -> Iterator[list[soundfile.SoundFile]]:
    """PCM or FLAC of a known length, or each recording in an Ogg; empty for any other file, which is ffmpeg's.

    Raises:
        ValueError: the file is shorter than its header says.
    """
    with path.open("rb") as beginning, ExitStack() as opened:
        head = beginning.read(4)
        if head not in _LIBSNDFILE:
            yield []
            return
        try:
            if head == b"OggS":
                places = [(opened.enter_context(path.open("rb")), part) for part in parts(path, "ogg")]
                files = [soundfile.SoundFile(cast(Any, Window(file, part.start, part.stop))) for file, part in places]
            else:
                files = [soundfile.SoundFile(cast(Any, native(path)))]
        except (soundfile.LibsndfileError, UnicodeDecodeError):
            if missing(path):  # libsndfile opens no CAF that is cut, and ffmpeg would not tell
                raise ValueError(f"{path}: the recording is cut short. Copy it again from its source.") from None
            yield []
            return
        for file in files:
            opened.enter_context(file)
        yield files if _known(path, files) else []


def _known(path: Path, files: list[soundfile.SoundFile]) -> bool:
    """Does libsndfile know how long the recording is?"""
    first = files[0]
    if any((file.samplerate, file.channels) != (first.samplerate, first.channels) for file in files):
        raise ValueError(f"{path}: the recording changes its rate or channels; convert its parts to WAV.")
    if "MPEG" in first.subtype or first.frames > 2**48:  # the length of a stream
        return False
    if first.format in ("FLAC", "OGG"):
        return True
    frames = promised(path, first.frames)
    if frames is not None and frames > first.frames:
        raise ValueError(_cut(path, first.frames, frames))
    return frames is not None


def _excerpt(path: Path, files: list[soundfile.SoundFile], start: int, frames: int) -> Any:
    """Samples `(c, t)`, fewer than asked for where a file ends before its header says.

    Memory is used as far as samples come, since a header may promise any number.
    """
    frames = max(min(frames, sum(file.frames for file in files) - start), 0)
    try:
        wave = np.empty((files[0].channels, frames), np.float32)
    except (MemoryError, ValueError) as error:
        raise ValueError(f"{path}: {frames} frames, as its header tells, do not fit into memory.") from error
    at = 0
    for block in _in_order(path, files, start, frames):
        wave[:, at : at + len(block)] = block.T
        at += len(block)
    return wave[:, :at]


def _in_order(path: Path, files: list[soundfile.SoundFile], start: int, frames: int) -> Iterator[Any]:
    """The same in blocks `(n, c)`."""
    at = 0
    last = [part.last for part in parts(path, "ogg")] if files[0].format == "OGG" else [0]
    for file, sure in zip(files, last, strict=True):
        first, start = min(start, file.frames), max(start - file.frames, 0)
        try:
            _seek(file, first, sure)
            while at < frames and file.tell() < file.frames:
                block = file.read(min(_BLOCK, frames - at), dtype="float32", always_2d=True)
                if len(block) == 0:
                    return
                at += len(block)
                yield block
        except soundfile.LibsndfileError:
            return


def _seek(file: soundfile.SoundFile, frame: int, sure: int) -> None:
    """To a frame; in Vorbis not behind the frame `sure`, but from there on by reading."""
    file.seek(min(frame, sure) if file.subtype == "VORBIS" else frame)
    while file.tell() < frame:
        if len(file.read(min(_BLOCK, frame - file.tell()))) == 0:
            return


def _empty(path: Path) -> str:
    return f"{path}: the recording holds no samples. Remove it."


def _infinite(path: Path) -> str:
    return f"{path}: some samples are NaN or infinite. Export the recording again."


def _cut(path: Path, frames: int, wanted: int) -> str:
    return (
        f"{path}: the recording is cut short: {frames} of {wanted} frames could be read. "
        "Copy or convert it again from its source."
    )
