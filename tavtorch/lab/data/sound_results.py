"""How results are stored: as the recordings that they are made from, unless something else is asked for."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from tavtorch.lab.data.sound_files import SoundAbout
from tavtorch.lab.data.sound_writer import INTEGERS, LOSSY, WRITABLE, container, encodings, refusal

log = logging.getLogger(__name__)

_SUFFIXES = {"FLAC": ".flac", "MP3": ".mp3", "AIFF": ".aiff", "AU": ".au", "CAF": ".caf", "W64": ".w64"}
_OGG = {"VORBIS": ".ogg", "OPUS": ".opus"}
_KEPT = (
    *INTEGERS,
    *LOSSY,
    "FLOAT",
    "DOUBLE",
)  # encodings: not those of telephones, nor ALAC_32, which libsndfile errs in


class Form(NamedTuple):
    """The arguments of `write_audio`."""

    suffix: str
    subtype: str
    tags: Mapping[str, str]
    louder: tuple[str, str] | None = None
    """Suffix and encoding that take its place where samples lie beyond [-1, 1]; None where none does."""
    clips: bool = False
    """Whether such samples are clipped."""


def form_of_result(
    path: Path,
    waves: Tensor,
    sample_rate: int,
    about: SoundAbout | None = None,
    *,
    suffix: str | None = None,
    subtype: str | None = None,
) -> Form:
    """The form of a result that is there as a whole: `waves (..., c, t)`, all in one; see `planned_form`."""
    form = planned_form(path, waves.shape[-2], sample_rate, about, suffix=suffix, subtype=subtype)
    return form_of_peak(path, form, float(max(-waves.min(), waves.max())))


def form_of_peak(path: Path, form: Form, peak: float) -> Form:
    """What becomes of a form when the peak of the samples is known; the log says what does."""
    if peak > 1 and form.clips:
        said = f"{peak:.3g} and is clipped to 1 in {form.subtype}; a WAV in FLOAT would keep it"
        log.warning("%s: the peak is %s.", path, said)
    if peak > 1 and form.louder:
        log.info("%s: the peak is %.3g, beyond the range of %s; it is written in FLOAT.", path, peak, form.subtype)
        return Form(*form.louder, form.tags)
    return form


def planned_form(
    path: Path,
    channels: int,
    sample_rate: int,
    about: SoundAbout | None = None,
    *,
    suffix: str | None = None,
    subtype: str | None = None,
) -> Form:
    """The format, encoding and tags of a result: those of its source.

    The result is float32 in a WAV if the source is no file, or one that `write_audio` does not write, such as MP4, or
    has an encoding for speech, such as µ-law. It is too, and the log says so, where the format of the source cannot
    hold the result's rate or channels, or has integers and the result exceeds [-1, 1]; in WAV, AIFF, CAF, AU and W64
    the encoding alone changes. MP3, Vorbis and Opus are coded anew, at their best quality: stems add up to the song but
    for the noise of the coders, which the suffix `.wav` avoids.

    Args:
        path: of the result, for messages.
        channels: of the waves.
        sample_rate: in Hz.
        about: the source.
        suffix, subtype: the format and encoding that are asked for. Samples are clipped only where these demand it,
            and the log says so.

    Raises:
        ValueError: the format does not have the encoding, the rate or the channels that are asked for.
    """
    own, encoding = _of_source(about)
    asked, chosen = suffix or own, subtype or encoding
    if suffix is None and subtype is not None and subtype not in encodings(own):
        asked = ".wav"
    if asked not in WRITABLE:
        raise ValueError(f"task.save.suffix: expected one of {', '.join(WRITABLE)}, got {suffix}.")
    known = encodings(asked)
    if chosen not in known:
        if subtype is not None:
            raise ValueError(f"task.save.subtype: expected one of {', '.join(known)} in {asked}, got {subtype}.")
        chosen = known[0]
    tags = about.tags if about else {}

    reason = refusal(asked, chosen, channels, sample_rate)
    if reason and suffix is None:
        log.info("%s: %s; it is written as WAV in FLOAT.", path, reason)
        return Form(".wav", "FLOAT", tags)
    if reason:
        raise ValueError(f"task.save.suffix: {reason}; choose .wav.")

    if chosen not in INTEGERS:
        return Form(asked, chosen, tags)
    if subtype is not None or (suffix is not None and "FLOAT" not in known):
        return Form(asked, chosen, tags, clips=True)
    return Form(asked, chosen, tags, louder=(asked if "FLOAT" in known else ".wav", "FLOAT"))


def _of_source(about: SoundAbout | None) -> tuple[str, str]:
    """Suffix and encoding of a source, by what it holds and not by its name; those of a float WAV if it is not kept."""
    if about is None or about.subtype not in _KEPT:
        return ".wav", "FLOAT"
    suffix = _OGG.get(about.subtype) or _SUFFIXES.get(about.format, ".wav")
    same = about.suffix in WRITABLE and container(about.suffix) == container(suffix)
    return (about.suffix if same else suffix), about.subtype
