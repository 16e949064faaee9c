"""Recordings out: each written whole, in the format, depth and rate asked for, with its tags."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import soundfile
from jaxtyping import Float
from torch import Tensor

from tavtorch.lab.data.atomic import whole

_PLAIN = (".wav", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64")
WRITABLE = (*_PLAIN, ".flac", ".ogg", ".oga", ".opus", ".mp3")
_FORMATS = {".aif": "AIFF", ".aifc": "AIFF", ".oga": "OGG", ".opus": "OGG"}  # the others are named by their suffix
_TAGS = {"title", "artist", "album", "date", "genre", "tracknumber", "comment", "copyright", "license"}
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_RIFF_BYTES = 2**32 - 2**16  # of samples: a WAV counts its bytes in 32 bits, some of which are its header's
_BLOCK = 1 << 16  # frames at a time: libsndfile's Vorbis encoder can crash on one very long write


def write_audio(
    path: str | Path,
    wave: Float[Tensor, "c t"],
    sample_rate: int,
    *,
    subtype: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write samples `(c, t)`; the suffix names the format.

    Args:
        path: with a suffix of WAV, FLAC, Ogg, Opus, MP3, AIFF, AU, CAF or W64. A WAV of 4 GiB or more becomes RF64.
        wave: floating-point samples; what lies outside of [-1, 1] is cut off where the file holds integers.
        sample_rate: in Hz.
        subtype: libsndfile's name of the encoding, such as `PCM_24`; None is float32 in a WAV, so that nothing is
            clipped, and the format's usual one elsewhere.
        tags: title, artist, album, date and others that libsndfile can write.

    Raises:
        ValueError: the samples, the rate or the encoding cannot be written in this format.
        OSError: the disk is full, or the place cannot be written.
    """
    path = Path(path)
    form = _form(path, wave, sample_rate, subtype)
    frames = wave.detach().float().cpu().T.numpy()
    if form["format"] == "WAV" and frames.size * _bytes(form["subtype"]) > _RIFF_BYTES:
        form["format"] = "RF64"
    if path.suffix.lower() in _PLAIN:
        with whole(path) as part:
            _encode(path, part, frames, form, tags or {})
            if part.stat().st_size < frames.size * _bytes(form["subtype"]):
                raise OSError(f"{path}: no space left for {frames.shape[0]} frames.")
        return
    memory = io.BytesIO()  # libsndfile's encoders do not tell of a disk that fills up when they close the file
    _encode(path, memory, frames, form, tags or {})
    with whole(path) as part:
        part.write_bytes(memory.getbuffer())


def _form(path: Path, wave: Tensor, sample_rate: int, subtype: str | None) -> dict[str, Any]:
    """The arguments of `SoundFile`, or a `ValueError` about what the format cannot hold."""
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise ValueError(f"{path}: recordings are written as {', '.join(WRITABLE)}; got {suffix or 'no suffix'}.")
    if wave.ndim != 2 or not wave.is_floating_point() or not bool(wave.isfinite().all()):
        raise ValueError(
            f"{path}: expected finite floating-point samples (c, t) in [-1, 1], got "
            f"{tuple(wave.shape)} of {wave.dtype}{'' if wave.isfinite().all() else ', some NaN or infinite'}."
        )
    rates = {".mp3": _MP3_RATES, ".opus": _OPUS_RATES}.get(suffix)
    if sample_rate != int(sample_rate) or sample_rate < 1 or (rates and sample_rate not in rates):
        raise ValueError(
            f"{path}: sample_rate: expected {rates or 'a whole number of Hz'}, got {sample_rate}; resample first."
        )
    container = _FORMATS.get(suffix, suffix[1:].upper())
    usual = {".wav": "FLOAT", ".opus": "OPUS"}.get(suffix) or soundfile.default_subtype(container)
    if not soundfile.check_format(container, subtype or usual):
        names = ", ".join(soundfile.available_subtypes(container))
        raise ValueError(f"{path}: subtype: expected one of {names} in {suffix}, got {subtype}.")
    return {
        "samplerate": int(sample_rate),
        "channels": wave.shape[0],
        "subtype": subtype or usual,
        "format": container,
    }


def _encode(path: Path, place: Any, frames: Any, form: dict[str, Any], tags: Mapping[str, str]) -> None:
    """Samples into a file or into memory; `path` is for messages."""
    try:
        with soundfile.SoundFile(place, "w", **form) as file:
            for name in tags.keys() & _TAGS:
                setattr(file, name, tags[name])
            for start in range(0, len(frames), _BLOCK):
                file.write(frames[start : start + _BLOCK])
    except soundfile.LibsndfileError as error:
        kind = ValueError if isinstance(place, io.BytesIO) else OSError  # into memory: the format cannot hold this
        raise kind(f"{path}: {form['channels']} channels of {form['subtype']}: {error.error_string}") from error


def _bytes(subtype: str) -> int:
    """Of a sample."""
    return {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}.get(subtype, 0)
