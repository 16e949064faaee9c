"""Which bytes of a compressed recording belong together: songs may be chained in one Ogg or one MP3 file.

Each part is decoded as a file of its own, so that its encoder's delay and padding are removed where they are.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple, overload


class Part(NamedTuple):
    """Bytes `start` to `stop` of a file: one recording."""

    start: int
    stop: int
    promised: bool = True
    """Whether the duration that its header tells is a count of frames, not an estimate by the rate of bits."""
    raw: bool = False
    """Whether the bytes from any packet on are a recording as well, as in MP3."""
    last: int = 0
    """Of an Ogg: the frames before its last page, within which libvorbis does not seek to the frame."""


class Window:
    """Some bytes of a file as a file of its own, for ffmpeg and libsndfile."""

    def __init__(self, file: BinaryIO, start: int, stop: int) -> None:
        self.file, self.start, self.stop = file, start, stop
        file.seek(start)

    def read(self, size: int) -> bytes:
        return self.file.read(max(min(size, self.stop - self.file.tell()), 0))

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (self.start, self.file.tell(), self.stop)[whence]
        return self.file.seek(min(max(base + offset, self.start), self.stop)) - self.start

    def tell(self) -> int:
        return self.file.tell() - self.start


class Bytes:
    """The bytes of a file as `bytes` give them, of which only a window is in memory."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.at, self.held = file, size, 0, b""

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, place: slice) -> bytes: ...

    @overload
    def __getitem__(self, place: int) -> int: ...

    def __getitem__(self, place: slice | int) -> bytes | int:
        start, stop, _ = place.indices(self.size) if isinstance(place, slice) else (place, place + 1, 1)
        if start < self.at or stop > self.at + len(self.held):
            self.file.seek(start)
            self.at, self.held = start, self.file.read(max(stop - start, _WINDOW))
        return self.held[start - self.at : stop - self.at] if isinstance(place, slice) else self.held[start - self.at]

    def find(self, mark: bytes, start: int) -> int:
        """The first place of a mark from `start` on; -1 if there is none."""
        for at in range(start, self.size, _WINDOW):
            found = self[at : at + _WINDOW + len(mark) - 1].find(mark)
            if found >= 0:
                return at + found
        return -1


_WINDOW = 1 << 20  # bytes


def parts(path: Path, container: str) -> list[Part]:
    """The recordings in a file, in order, kept while it stays the same; `container` is ffmpeg's name of the format.

    Raises:
        ValueError: the file ends within a frame or page, or holds something else between them.
    """
    stat = path.stat()
    return _parts(path, container, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4096)
def _parts(path: Path, container: str, time: int, size: int) -> list[Part]:
    if container in ("mp3", "ogg"):
        with path.open("rb") as file:
            return (_mpeg_parts if container == "mp3" else _ogg_parts)(Bytes(file, size), path)
    raw = container in ("aac", "ac3", "eac3")
    return [Part(0, size, container not in _ESTIMATED, raw)]


_ESTIMATED = ("aac", "ac3", "eac3", "amr", "dts", "mpeg", "mpegts", "rm")  # containers without a count of frames


def must_be_whole(path: Path) -> None:
    """Refuse an MP4 or a Matroska file of which the end is missing: their headers tell how long they are."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(1024)
        end = size
        if head[4:8] == b"ftyp":
            end = 0
            while 0 <= end < size - 8:
                file.seek(end)
                box = file.read(16)
                length = int.from_bytes(box[:4], "big")
                length = int.from_bytes(box[8:], "big") if length == 1 else length or size - end
                end += max(length, 8)
        elif head[:4] == b"\x1aE\xdf\xa3" and (at := head.find(b"\x18\x53\x80\x67")) > 0 and head[at + 4]:
            width = 9 - head[at + 4].bit_length()  # of the number of bytes of the segment
            length = int.from_bytes(head[at + 4 : at + 4 + width], "big") & (1 << 7 * width) - 1
            end = size if length == (1 << 7 * width) - 1 else at + 4 + width + length  # all ones: unknown
    if end > size:
        raise ValueError(
            f"{path}: the recording is cut short: {size} of {end} bytes are there. Copy it again from its source."
        )


# MPEG audio, layers I to III: ISO/IEC 11172-3, section 2.4.2.3

_KBITS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44100, 48000, 32000)
_KIND = 0xFFFE0C00  # of a header: the bits that are the same in all frames of a recording
_PREFACE = 1 << 16  # bytes before the first frame that may be anything


def _mpeg_parts(data: bytes | Bytes, path: Path) -> list[Part]:
    """A tag, or a frame of Xing's, begins another part."""
    found: list[Part] = []
    stop = -1
    for at, length in _mpeg_frames(data, path):
        counts = _counts_frames(data[at : at + length])
        if at == stop and not counts:
            found[-1] = found[-1]._replace(stop=at + length)
        else:
            found.append(Part(at, at + length, counts, raw=True))
        stop = at + length
    if found and not found[-1].promised and _mpeg_frame(data, stop)[0]:
        raise ValueError(f"{path}: the recording is cut short: it ends within a frame. Copy it again from its source.")
    return found


def _mpeg_frames(data: bytes | Bytes, path: Path) -> Iterator[tuple[int, int]]:
    """Place and length of each frame; what lies between two frames must be a tag, or zeros up to the end."""
    at, kind = _first_frame(data, _after_tags(data, 0)), None
    while at < len(data) and any(data[at : at + 4096]):
        length, header = _mpeg_frame(data, at)
        if not length:
            after = _after_tags(data, at)
            if after == at:
                raise ValueError(f"{path}: the recording is damaged: no MPEG frame at byte {at} of {len(data)}.")
            at = after
            continue
        if at + length > len(data):
            return
        if kind not in (None, header & _KIND):
            raise ValueError(f"{path}: the sample rate or the layer changes at byte {at}; convert it to WAV.")
        kind = header & _KIND
        yield at, length
        at += length


def _first_frame(data: bytes | Bytes, at: int) -> int:
    """The first place from which on two frames follow each other, or a frame the end."""
    for place in range(at, min(at + _PREFACE, len(data))):
        length, _ = _mpeg_frame(data, place)
        if length and (place + length >= len(data) or _mpeg_frame(data, place + length)[0]):
            return place
    return at


def _mpeg_frame(data: bytes | Bytes, at: int) -> tuple[int, int]:
    """Length in bytes and header of the frame at a place; 0 if there is none."""
    header = int.from_bytes(data[at : at + 4], "big")
    version, layer, bits, rate = header >> 19 & 3, 4 - (header >> 17 & 3), header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return 0, 0
    hertz = _RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]  # MPEG-1, 2 and 2.5
    kbits = _KBITS[1 if version == 3 else 2, layer][bits - 1]
    padding = header >> 9 & 1
    if layer == 1:
        return (12000 * kbits // hertz + padding) * 4, header
    return (72000 if layer == 3 and version != 3 else 144000) * kbits // hertz + padding, header


def _counts_frames(frame: bytes) -> bool:
    """Is this a frame of Xing's or LAME's that holds the number of frames instead of sound?"""
    places = (frame.find(mark, 4, 48) for mark in (b"Xing", b"Info"))
    return any(place > 0 and len(frame) > place + 7 and frame[place + 7] & 1 for place in places)


def _after_tags(data: bytes | Bytes, at: int) -> int:
    """The place behind tags of ID3, APE and Lyrics3; the place itself if there are none."""
    while True:
        if data[at : at + 3] == b"ID3" and len(data) >= at + 10:
            size = sum((byte & 127) << 7 * (3 - i) for i, byte in enumerate(data[at + 6 : at + 10]))
            at += 10 + size + (10 if data[at + 5] & 16 else 0)
        elif data[at : at + 8] == b"APETAGEX":
            at += 32 + int.from_bytes(data[at + 12 : at + 16], "little")
        elif data[at : at + 3] == b"TAG":
            at += 128
        elif data[at : at + 11] == b"LYRICSBEGIN":
            end = data.find(b"LYRICS200", at)
            at = end + 9 if end > 0 else len(data)
        else:
            return min(at, len(data))


# Ogg: RFC 3533, section 6


def _ogg_parts(data: bytes | Bytes, path: Path) -> list[Part]:
    """A page that begins a stream, behind one that does not, begins another part."""
    found: list[Part] = []
    at = start = last = now = 0
    begun = ended = False
    while at + 27 <= len(data) and data[at : at + 4] == b"OggS":
        first, granule, segments = data[at + 5] & 2, int.from_bytes(data[at + 6 : at + 14], "little"), data[at + 26]
        if first and begun:
            found.append(Part(start, at, last=last))
            start, last, now, begun, ended = at, 0, 0, False, False
        begun, ended = begun or not first, ended or bool(data[at + 5] & 4)
        last, now = now, granule if granule < 2**63 else now
        at += 27 + segments + sum(data[at + 27 : at + 27 + segments])
    if any(data[at:]) and len(data) >= at + 4 and data[at : at + 4] != b"OggS":
        raise ValueError(f"{path}: the recording is damaged: no page of Ogg at byte {at} of {len(data)}.")
    if not ended or at > len(data):
        raise ValueError(
            f"{path}: the recording is cut short: its last page, which ends it, is missing. Copy or convert it again "
            "from its source."
        )
    return [*found, Part(start, at, last=last)]
