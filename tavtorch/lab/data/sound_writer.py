"""Recordings out: each written whole, in the format, depth and rate asked for, with its tags."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from tavtorch.audio.check import finite
from tavtorch.lab.data.atomic import whole

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
    form = _form(path, wave, sample_rate, subtype)
    frames = _frames(wave)
    others = None if beside is None else _frames(beside)
    if form["format"] == "WAV" and frames.size * _bytes(form["subtype"]) > _RIFF_BYTES:
        form["format"] = "RF64"
    if path.suffix.lower() in _PLAIN:
        with whole(path) as part:
            _encode(path, native(part), frames, others, form, tags or {})
            if part.stat().st_size < frames.size * _bytes(form["subtype"]):
                raise OSError(f"{path}: no space left for {frames.shape[1]} frames.")
        return
    memory = io.BytesIO()  # libsndfile's encoders do not tell of a disk that fills up when they close the file
    _encode(path, memory, frames, others, form, tags or {})
    with whole(path) as part:
        part.write_bytes(memory.getbuffer())


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


def _form(path: Path, wave: Tensor, sample_rate: int, subtype: str | None) -> dict[str, Any]:
    """The arguments of `SoundFile`, or a `ValueError` about what the format cannot hold."""
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise ValueError(f"{path}: recordings are written as {', '.join(WRITABLE)}; got {suffix or 'no suffix'}.")
    infinite = wave.is_floating_point() and not finite(wave)
    if wave.ndim != 2 or not wave.is_floating_point() or infinite:
        raise ValueError(
            f"{path}: expected finite floating-point samples (c, t) in [-1, 1], got "
            f"{tuple(wave.shape)} of {wave.dtype}{', some NaN or infinite' if infinite else ''}."
        )
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
    shape = {"samplerate": int(sample_rate), "channels": wave.shape[0]}
    return shape | {"format": container(suffix), "subtype": encoding} | best


def _frames(wave: Tensor) -> NDArray[np.float32]:
    frames: NDArray[np.float32] = wave.detach().float().cpu().numpy()
    return frames


def _encode(path: Path, place: Any, frames: Any, others: Any, form: dict[str, Any], tags: Mapping[str, str]) -> None:
    """Samples into a file or into memory; `path` is for messages."""
    try:
        with soundfile.SoundFile(place, "w", **form) as file:
            for name in tags.keys() & _TAGS:
                setattr(file, name, tags[name])
            for start in range(0, frames.shape[-1], _BLOCK):
                now = slice(start, start + _BLOCK)
                file.write(_rounded(frames[:, now], None if others is None else others[..., now], form["subtype"]).T)
    except soundfile.LibsndfileError as error:
        kind = ValueError if isinstance(place, io.BytesIO) else OSError  # into memory: the format cannot hold this
        raise kind(f"{path}: {form['channels']} channels of {form['subtype']}: {error.error_string}") from error


def _rounded(block: Any, others: Any, subtype: str) -> Any:
    """Samples as integers of the encoding hold them: libsndfile would cut their fractions off; see `write_audio`."""
    if subtype not in _BITS:
        return block
    scale = 2.0 ** (_BITS[subtype] - 1)
    if others is None:
        return np.rint(block * scale) / np.float32(scale)
    others = others * np.float64(scale)
    return (np.rint(block * np.float64(scale) + others.sum(0)) - np.rint(others).sum(0)) / scale


def _bytes(subtype: str) -> int:
    """Of a sample; 0 where they are compressed."""
    return {"PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}.get(
        subtype, _BITS.get(subtype, 0) // 8 if subtype[:3] == "PCM" else 0
    )
