"""Recordings out: each written whole, in the format, depth and rate asked for, with its tags."""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from tavtorch.atomic import whole
from tavtorch.audio.check import finite

_PLAIN = (".wav", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64")
WRITABLE = (*_PLAIN, ".flac", ".ogg", ".oga", ".opus", ".mp3")
_FORMATS = {".aif": "AIFF", ".aifc": "AIFF", ".oga": "OGG", ".opus": "OGG"}  # the others are named by their suffix
_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "ALAC_16": 16, "ALAC_20": 20, "ALAC_24": 24}
INTEGERS = (*_BITS, "PCM_32")
LOSSY = ("VORBIS", "OPUS", "MPEG_LAYER_III")
_RATES = {
    "MPEG_LAYER_III": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    "OPUS": (8000, 12000, 16000, 24000, 48000),
}
_TAGS = {"title", "artist", "album", "date", "genre", "tracknumber", "comment", "copyright", "license"}
_RIFF_BYTES = 2**32 - 2**16  # of samples: a WAV counts its bytes in 32 bits, some of which are its header's
_BLOCK = 1 << 16  # frames at a time: libsndfile's Vorbis encoder can crash on one very long write


def write_audio(
    path: str | Path,
    wave: Float[Tensor, "c t"],
    sample_rate: int,
    *,
    subtype: str | None = None,
    tags: Mapping[str, str] | None = None,
    beside: Float[Tensor, "s c t"] | None = None,
) -> None:
    """Write samples `(c, t)`; the suffix names the format.

    Samples are rounded to the nearest integer where the file holds integers, and Vorbis, Opus and MP3 have their best
    quality.

    Args:
        path: with a suffix of WAV, FLAC, Ogg, Opus, MP3, AIFF, AU, CAF or W64. A WAV of 4 GiB or more becomes RF64.
        wave: floating-point samples; what lies outside of [-1, 1] is cut off where the file holds integers.
        sample_rate: in Hz.
        subtype: libsndfile's name of the encoding, such as `PCM_24`; None is the first of `encodings`.
        tags: title, artist, album, date and others that libsndfile can write.
        beside: other waves that are written in the same encoding. What rounding takes from them is added to this one,
            so that the sum of all files is the rounded sum of all waves.

    Raises:
        ValueError: the samples, the rate or the encoding cannot be written in this format.
        OSError: the disk is full, or the place cannot be written.
    """
    path = Path(path)
    with (
        whole(path) as part,
        AudioWriter(
            part, wave.shape[0], sample_rate, frames=wave.shape[-1], subtype=subtype, tags=tags, name=path
        ) as file,
    ):
        file.write(wave, beside)


class AudioWriter:
    """A recording that is written block by block, as `write_audio` writes a whole one, and complete when it is closed.

    Args:
        place: of the file, such as one that `whole` gives.
        channels: of all blocks.
        sample_rate, subtype, tags: see `write_audio`.
        frames: how many are to come, as far as is known; a WAV that gets more than 4 GiB by them is an RF64.
        name: of the file in the end, whose suffix names the format; None is `place`.
    """

    def __init__(
        self,
        place: Path,
        channels: int,
        sample_rate: int,
        *,
        frames: int = 0,
        subtype: str | None = None,
        tags: Mapping[str, str] | None = None,
        name: Path | None = None,
    ) -> None:
        self.name = name or place
        form = _form(self.name, channels, sample_rate, subtype)
        self.subtype, self.channels, self.place, self.frames = form["subtype"], channels, place, 0
        if form["format"] == "WAV" and frames * channels * sample_bytes(self.subtype) > _RIFF_BYTES:
            form["format"] = "RF64"
        self.disk = None if self.name.suffix.lower() in _PLAIN else _Disk(place)
        with self._told(ValueError if self.disk else OSError):  # the format cannot hold this
            self.file = soundfile.SoundFile(cast(Any, self.disk or native(place)), "w", **form)
            for tag in (tags or {}).keys() & _TAGS:
                setattr(self.file, tag, (tags or {})[tag])

    def write(self, wave: Float[Tensor, "c _n"], beside: Float[Tensor, "s c _n"] | None = None) -> None:
        """Append samples; `beside` as of `write_audio`."""
        infinite = wave.is_floating_point() and not finite(wave)
        if wave.ndim != 2 or len(wave) != self.channels or not wave.is_floating_point() or infinite:
            raise ValueError(
                f"{self.name}: expected finite floating-point samples ({self.channels}, t) in [-1, 1], got "
                f"{tuple(wave.shape)} of {wave.dtype}{', some NaN or infinite' if infinite else ''}."
            )
        frames, others = _frames(wave), None if beside is None else _frames(beside)
        with self._told(OSError):
            for start in range(0, frames.shape[-1], _BLOCK):
                now = slice(start, start + _BLOCK)
                self.file.write(_rounded(frames[:, now], None if others is None else others[..., now], self.subtype).T)
        self.frames += frames.shape[-1]

    def close(self) -> None:
        """Complete the file.

        Raises:
            OSError: the disk is full.
        """
        with self._told(OSError):
            self.file.close()
        if self.disk:
            self.disk.close()
        elif self.place.stat().st_size < self.frames * self.channels * sample_bytes(self.subtype):
            raise OSError(f"{self.name}: no space left for {self.frames} frames.")

    def __enter__(self) -> "AudioWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None:
            self.close()
        else:
            with suppress(Exception):
                self.file.close()

    @contextmanager
    def _told(self, kind: type[Exception]) -> Iterator[None]:
        """Errors of libsndfile as one of ours, unless the disk says what is wrong."""
        try:
            yield
        except (soundfile.LibsndfileError, AssertionError) as error:  # the latter of fewer samples than were given
            if self.disk and self.disk.error:
                raise self.disk.error from error
            reason = getattr(error, "error_string", "not all samples could be written")
            raise kind(f"{self.name}: {self.channels} channels of {self.subtype}: {reason}") from error
        if self.disk and self.disk.error:
            raise self.disk.error


class _Disk:
    """A file for libsndfile, which does not tell of a disk that fills up while it encodes: `error` does."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w+b", buffering=1 << 16)
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = self.error or error
            return 0

    def read(self, size: int) -> bytes:
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self.file.seek(offset, whence)
        except OSError as error:  # which writes what is buffered
            self.error = self.error or error
            return -1

    def tell(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        self.file.close()


def native(path: Path) -> Path | bytes:
    """A path for `SoundFile`, which would refuse names that are no UTF-8."""
    return os.fsencode(path) if os.name == "posix" else path


def container(suffix: str) -> str:
    """libsndfile's name of the format that a suffix stands for."""
    return _FORMATS.get(suffix, suffix[1:].upper())


def encodings(suffix: str) -> tuple[str, ...]:
    """The encodings (`subtype`) of a format, the usual one first: FLOAT, in which nothing is clipped, or PCM_24."""
    known = soundfile.available_subtypes(container(suffix))
    first = {".opus": "OPUS", ".ogg": "VORBIS", ".oga": "VORBIS", ".mp3": "MPEG_LAYER_III"}.get(suffix)
    usual = first or ("FLOAT" if "FLOAT" in known else "PCM_24")
    return (usual, *(name for name in known if name != usual))


def refusal(suffix: str, subtype: str, channels: int, sample_rate: int) -> str:
    """Why a format cannot hold a number of channels or a rate; empty if it can."""
    form: dict[str, Any] = {"samplerate": sample_rate, "channels": channels, "subtype": subtype}
    try:
        with soundfile.SoundFile(io.BytesIO(), "w", format=container(suffix), **form):
            return ""
    except (soundfile.LibsndfileError, ValueError):
        return f"{suffix} does not hold {channels} channels at {sample_rate} Hz in {subtype}"


def _form(path: Path, channels: int, sample_rate: int, subtype: str | None) -> dict[str, Any]:
    """The arguments of `SoundFile`, or a `ValueError` about what the format cannot hold."""
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise ValueError(f"{path}: recordings are written as {', '.join(WRITABLE)}; got {suffix or 'no suffix'}.")
    known = encodings(suffix)
    if subtype is not None and subtype not in known:
        raise ValueError(f"{path}: subtype: expected one of {', '.join(known)} in {suffix}, got {subtype}.")
    encoding = subtype or known[0]
    rates = _RATES.get(encoding)
    if sample_rate != int(sample_rate) or sample_rate < 1 or (rates and sample_rate not in rates):
        raise ValueError(
            f"{path}: sample_rate: expected {rates or 'a whole number of Hz'}, got {sample_rate}; resample first."
        )
    best = {"compression_level": 0.0} if encoding in LOSSY else {}
    shape = {"samplerate": int(sample_rate), "channels": channels}
    return shape | {"format": container(suffix), "subtype": encoding} | best


def _frames(wave: Tensor) -> NDArray[np.float32]:
    frames: NDArray[np.float32] = wave.detach().float().cpu().numpy()
    return frames


def _rounded(block: Any, others: Any, subtype: str) -> Any:
    """Samples as integers of the encoding hold them: libsndfile would cut their fractions off; see `write_audio`."""
    if subtype not in _BITS:
        return block
    scale = 2.0 ** (_BITS[subtype] - 1)
    if others is None:
        return np.rint(block * scale) / np.float32(scale)
    others = others * np.float64(scale)
    return (np.rint(block * np.float64(scale) + others.sum(0)) - np.rint(others).sum(0)) / scale


def sample_bytes(subtype: str) -> int:
    """Of a sample; 0 where they are compressed."""
    return {"PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}.get(
        subtype, _BITS.get(subtype, 0) // 8 if subtype[:3] == "PCM" else 0
    )
