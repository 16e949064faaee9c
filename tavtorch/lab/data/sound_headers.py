"""What the headers of PCM files promise: libsndfile reads what is there and passes over that it is too little."""

from pathlib import Path
from typing import Literal

_UNKNOWN = 0xFFFF0000  # sizes from here to 2³²-1 stand for "unknown" in streamed files


def promised(path: Path, frames: int) -> int | None:
    """The number of frames by the size of the file's chunk of samples, where `frames` are there.

    None if the header was never finished, as where a recorder was killed, and libsndfile finds no samples therefore.
    """
    found = _samples(path)
    if found is None:
        return frames
    start, size = found
    there = path.stat().st_size - start
    if size == 0 and frames == 0:
        return None if there > 0 and not _chunks_follow(path, start) else 0
    if frames == 0:
        return 0 if size <= 0 or there > 0 else 1
    if size <= there or size < 0:
        return frames
    return max(size * frames // max(there, 1), frames)  # a part of a frame too few is nothing


def missing(path: Path) -> bool:
    """Does the chunk of samples end behind the end of the file?"""
    found = _samples(path)
    return found is not None and sum(found) > path.stat().st_size


def _samples(path: Path) -> tuple[int, int] | None:
    """Place and size in bytes of the samples; a size of -1 is unknown. None if this is no format with chunks."""
    with path.open("rb") as file:
        head = file.read(40)
        if head[:4] == b".snd":
            size = int.from_bytes(head[8:12], "big")
            return int.from_bytes(head[4:8], "big"), -1 if size >= _UNKNOWN else size
        form, order, first = _kind(head)
        end, at, large = path.stat().st_size, first, 0
        while form and at < end:
            file.seek(at)
            chunk = file.read(36)
            width = 24 if form == "W64" else 12 if form == "CAF" else 8
            name, size = chunk[:4], int.from_bytes(chunk[16 if form == "W64" else 4 : width], order)
            if form == "W64":
                size -= 24
            if name == b"ds64":
                large = int.from_bytes(chunk[16:24], "little")
            if name in (b"data", b"SSND"):
                unknown = size >= (2**63 if form == "CAF" else _UNKNOWN if form == "RIFF" else 2**64)
                return at + width, (large or -1) if unknown else size
            at += width + max(size, 0)
            at += -at % (8 if form == "W64" else 1 if form == "CAF" else 2)
        return None


def _kind(head: bytes) -> tuple[str, Literal["little", "big"], int]:
    """The format, the order of its bytes, and the place of the first chunk."""
    if head[:4] in (b"RIFF", b"RF64", b"RIFX"):
        return "RIFF", "big" if head[:4] == b"RIFX" else "little", 12
    if head[:4] == b"FORM":
        return "RIFF", "big", 12
    if head[:4] == b"riff":
        return "W64", "little", 40
    return ("CAF", "big", 8) if head[:4] == b"caff" else ("", "big", 0)


def _chunks_follow(path: Path, at: int) -> bool:
    """Is the file from a place on a series of chunks, as behind an empty recording, rather than samples?"""
    end = path.stat().st_size
    with path.open("rb") as file:
        while at + 8 <= end:
            file.seek(at)
            name, size = file.read(4), int.from_bytes(file.read(4), "little")
            if not name.isascii() or not name.decode("latin-1").isprintable():
                return False
            at += 8 + size + size % 2
    return at == end
