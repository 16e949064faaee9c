"""Compressed recordings, and the sound of videos, by ffmpeg's decoders (PyAV).

Frames are counted by decoding, since headers estimate or err. An excerpt is decoded from an anchor before it: a packet
of which the number of frames before it is known.
"""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from tavtorch.lab.data.sound_parts import Part, Window, must_be_whole, parts

_EVERY = 32  # packets from anchor to anchor: a decoder that starts at one is in its usual state at the next
_PATIENCE = 4096  # packets between the place that a seek finds and the anchor
_FORMATS = (  # none that names other files or addresses, as playlists do
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,ogg,rm,tta,w64,wav,wv"
)
_SKIP_MANUAL = 1 << 29  # a decoder's flag. Of ALAC in CAF ffmpeg takes the padding off, though the codec has none
_UNITS = (600, 1000)  # a second: MP4 often rounds durations to such
_TICK = Fraction(1, 600)  # s
_SLACK = Fraction(1, 8)  # s between the duration that a header tells, often rounded or with the delay, and the frames


class Anchor(NamedTuple):
    """A packet that decoding can start at."""

    frames: int
    """Before it, in its part."""
    key: tuple[int | None, int | None]
    """Time in the stream's unit and byte of the packet, which find it again."""


class Counted(NamedTuple):
    """A part of a file."""

    part: Part
    frames: int
    anchors: tuple[Anchor, ...]


class Contents(NamedTuple):
    """What a file holds: rate in Hz, number of channels, and parts that follow each other."""

    sample_rate: int
    channels: int
    parts: tuple[Counted, ...]

    @property
    def frames(self) -> int:
        return sum(part.frames for part in self.parts)


def contents(path: Path) -> Contents:
    """Decode a file and count; the answer is kept while the file stays the same.

    Raises:
        ValueError: the file is no recording that can be decoded, is damaged, or ends before its header says.
    """
    stat = path.stat()
    return _contents(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4096)
def _contents(path: Path, time: int, size: int) -> Contents:
    form, counted = None, []
    for part in _parts(path):
        frames, anchors = 0, []
        for number, (key, block, rate) in enumerate(_decoded(path, part)):
            if number % _EVERY == 0:
                anchors.append(Anchor(frames, key))
            form = _checked(path, form, block, rate)
            frames += block.shape[1]
        counted.append(Counted(part, frames, tuple(anchors)))
    return Contents(*(form or (1, 1)), tuple(counted))


def read_all(path: Path) -> tuple[NDArray[np.float32], int]:
    """Every frame of a file, float32 `(c, t)`, and the rate, decoded once; `read` decodes to count first."""
    found, rate = [np.zeros((1, 0), np.float32)], 1
    for block, rate in blocks(path):  # noqa: B007, it does not change
        found.append(block)
    return np.concatenate(found[1:] or found, 1), rate


def blocks(path: Path) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Every frame of a file in small blocks `(c, n)`, each with the rate, which does not change."""
    form = None
    for part in _parts(path):
        for _, block, rate in _decoded(path, part):
            form = _checked(path, form, block, rate)
            if block.size:
                yield block, rate


def seconds(path: Path) -> float:
    """The length that the header tells, which may be an estimate; 0 if it tells none."""
    with _opened(path, 0, path.stat().st_size) as (container, _):
        return (container.duration or 0) / av.time_base


def read(path: Path, start: int, frames: int) -> NDArray[np.float32]:
    """The frames from `start` on, at most `frames` of them, as they are in the whole."""
    held = contents(path)
    blocks, before = [np.zeros((held.channels, 0), np.float32)], 0
    for counted in held.parts:
        first, last = max(start - before, 0), min(start + frames - before, counted.frames)
        for at, block in _from(path, counted, first) if first < last else ():
            if block.size:
                blocks.append(block[:, max(first - at, 0) : max(last - at, 0)])
            if at + block.shape[1] >= last:
                break
        before += counted.frames
    return np.concatenate(blocks, 1)


def tags(path: Path) -> tuple[str, str, dict[str, str]]:
    """The container, the codec, and what the file says of itself, such as title and artist."""
    with _opened(path, 0, path.stat().st_size) as (container, stream):
        said = {**container.metadata, **stream.metadata}
        return container.format.name, stream.codec_context.name, {key.lower(): text for key, text in said.items()}


def _from(path: Path, counted: Counted, first: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Blocks and the number of frames before each, from `first` or earlier on."""
    near = bisect_right(counted.anchors, first, key=lambda anchor: anchor.frames) - 1
    if near > 0:
        at, warm = -1, False
        for number, (key, block, _) in enumerate(_decoded(path, counted.part, counted.anchors[near - 1])):
            warm = warm or key == counted.anchors[near - 1].key
            if warm and key == counted.anchors[near].key:
                at = counted.anchors[near].frames
            if at >= 0:
                yield at, block
                at += block.shape[1]
            elif number > _PATIENCE:
                break
        if at >= 0:
            return
    at = 0  # near the start, or no seek finds the anchor
    for _, block, _ in _decoded(path, counted.part):
        yield at, block
        at += block.shape[1]


def _parts(path: Path) -> list[Part]:
    must_be_whole(path)
    with _opened(path, 0, path.stat().st_size) as (container, _):
        name = container.format.name
    return parts(path, name)


def _decoded(
    path: Path, part: Part, anchor: Anchor | None = None
) -> Iterator[tuple[tuple[int | None, int | None], NDArray[np.float32], int]]:
    """For each packet of a part its key, its frames `(c, t)` and their rate, from the start or from an anchor on."""
    offset = part.start
    if anchor and part.raw and anchor.key[1] is not None:
        offset = anchor.key[1]
    with _opened(path, offset, part.stop) as (container, stream):
        if anchor and not part.raw and anchor.key[0] is None:
            return
        promised, frames, rate = _promised(container, stream, part), 0, 0
        padded = promised and not anchor and (part.raw or container.format.name.startswith("mov"))
        for packet, decoded in _demuxed(path, container, stream, None if part.raw else anchor):
            rate = decoded[-1].sample_rate if decoded else rate
            block = np.concatenate([_samples(frame) for frame in decoded] or [np.zeros((0, 0), np.float32)], 1)
            if promised and padded:
                left = round(promised * rate) - frames
                if stream.time_base * rate in (1, 2):  # a last packet of MP4 that tells how long it is
                    left = min(left, round(packet.duration * stream.time_base * rate)) if packet.duration else left
                block = block[:, : max(left, 0)]
            frames += block.shape[1]
            place = None if packet.pos is None else packet.pos + offset
            yield (None if part.raw else packet.pts, place), block, rate
        slack = 0 if part.raw else _SLACK
        if promised and not anchor and frames < round((promised - slack) * rate):
            raise ValueError(
                f"{path}: the recording is cut short: {frames} of {round(promised * rate)} frames could be read. "
                "Copy or convert it again from its source."
            )


def _promised(container: Any, stream: Any, part: Part) -> Fraction | None:
    """Seconds that the header counts; None if it counts nothing, or the sound may be shorter than the video."""
    if not part.promised:
        return None
    if stream.duration:
        seconds = Fraction(stream.duration * stream.time_base)
        rounded = (Fraction(round(seconds * unit), unit) for unit in _UNITS)
        likely = not part.raw and any(round(other / stream.time_base) == stream.duration for other in rounded)
        return seconds + _TICK if likely else seconds  # so that no sound is taken for padding
    return Fraction(container.duration, av.time_base) if container.duration and len(container.streams) == 1 else None


def _demuxed(path: Path, container: Any, stream: Any, anchor: Anchor | None) -> Iterator[tuple[Any, list[AudioFrame]]]:
    """The packets of a stream and what each is decoded to, from near an anchor on if there is one."""
    try:
        if anchor:
            container.seek(anchor.key[0], stream=stream)
        for packet in container.demux(stream):
            yield packet, packet.decode()
    except av.error.FFmpegError as error:
        raise ValueError(
            f"{path}: the recording is cut short or damaged ({error.strerror}). Copy it again from its source."
        ) from error


def _samples(frame: AudioFrame) -> NDArray[np.float32]:
    """`(c, t)`; integers as a share of the largest."""
    array: NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        array = array.reshape(-1, frame.layout.nb_channels).T
    if array.dtype == np.uint8:
        array = (array.astype(np.float32) - 128) / 128
    scaled: NDArray[np.float32] = array.astype(np.float32)
    return scaled / np.float32(2.0 ** (8 * array.dtype.itemsize - 1)) if array.dtype.kind == "i" else scaled


def _checked(path: Path, form: tuple[int, int] | None, block: NDArray[np.float32], rate: int) -> tuple[int, int] | None:
    """Rate and channels, which must not change on the way."""
    now = (rate, block.shape[0])
    if block.size == 0 or form == now:
        return form
    if form is not None:
        raise ValueError(
            f"{path}: the recording changes from {form[1]} channels at {form[0]} Hz to {now[1]} at {now[0]} Hz; "
            "convert it to WAV."
        )
    return now


@contextmanager
def _opened(path: Path, start: int, stop: int) -> Iterator[tuple[Any, Any]]:
    """Some bytes of a file as a container, and its first stream of sound."""
    with path.open("rb") as file:
        try:
            given: dict[str, Any] = {"options": {"format_whitelist": _FORMATS}, "metadata_errors": "replace"}
            container = av.open(Window(file, start, stop), **given)
        except (av.error.FFmpegError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ValueError(f"{path}: not a recording that can be read ({reason}); convert it to WAV.") from error
        with container:
            streams = [stream for stream in container.streams.audio if stream.codec_context]
            if not streams:
                raise ValueError(f"{path}: not a recording that can be read: it holds no sound of a known kind.")
            stream = streams[0]
            stream.codec_context.thread_count = 1
            if (container.format.name, stream.codec_context.name) == ("caf", "alac"):
                stream.codec_context.flags2 |= _SKIP_MANUAL
            yield container, stream
