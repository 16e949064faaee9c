"""Pictures by Pillow, and by ffmpeg where Pillow would keep 8 of 16 bits: pixels, and what stands beside them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

ORIENTATION = 0x0112  # tag of EXIF and TIFF
MOST = 2**29  # pixels: 6.4 GB of red, green and blue in float32
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "I;16", "I;16B")
_DEEP = {1: "gray16be", 2: "ya16be", 3: "rgb48be", 4: "rgba64be"}  # ffmpeg's names by the number of channels


class About(NamedTuple):
    """What a file holds beside its pixels."""

    mode: str = ""
    """As Pillow names it: P, LA, CMYK, 1, …; see `read_picture`."""
    dtype: str = ""
    """Of the numbers in a TIFF."""
    icc: bytes | None = None
    """Colour profile of the numbers."""
    exif: bytes | None = None
    """What the camera tells, with the orientation set to upright, as the pixels are."""
    dpi: tuple[float, float] | None = None
    text: tuple[tuple[str, str], ...] = ()
    """Names and texts of a PNG."""
    compression: str | None = None
    """Of a TIFF, as tifffile names it."""
    tags: tuple[tuple[Any, ...], ...] = ()
    """Other tags of a TIFF: number, type, count, value."""


class Raw(NamedTuple):
    """The numbers of a file before they are scaled and turned."""

    pixels: NDArray[Any]
    """`(h, w, c)`: one or three colours, and opacity if there is one number more."""
    orientation: int
    about: About


def read_raster(path: Path) -> Raw:
    """The one picture in a file that is not a TIFF."""
    with opened(path) as file:
        if getattr(file, "n_frames", 1) > 1 and file.format != "MPO":
            raise ValueError(f"it holds {file.n_frames} frames; save the one that is meant as a picture of its own")
        about, orientation = _about(file), file.getexif().get(ORIENTATION, 1)
        if file.format == "PNG":
            data = path.read_bytes()
            if data[24] == 16 and (data[25] or "transparency" in file.info):  # bits a number; is there more than grey?
                with opened(path) as again:
                    again.verify()
                return Raw(_deep(data), orientation, about)
        return Raw(pixels(file), orientation, about)


def pixels(file: Any) -> NDArray[Any]:
    """`(h, w, c)` of what Pillow reads in full depth."""
    if file.mode not in _MODES:
        raise ValueError(f"its pixels are of a kind, {file.mode}, that is not read")
    if file.mode.startswith("I;16"):
        return np.array(file).astype(np.uint16)[..., None]
    grey = file.mode in ("1", "L", "LA")
    mode = ("LA" if grey else "RGBA") if file.has_transparency_data else "L" if grey else "RGB"
    return np.array(file.convert(mode)).reshape(*file.size[::-1], -1)


def _deep(data: bytes) -> NDArray[Any]:
    """`(h, w, c)` of a PNG of 16 bits, of which Pillow keeps 8: by ffmpeg."""
    decoder: Any = av.CodecContext.create("png", "r")
    frame = [*decoder.decode(av.Packet(data)), *decoder.decode(None)][0]
    channels = {name: count for count, name in _DEEP.items()}[frame.format.name]
    plane = frame.planes[0]
    rows: NDArray[Any] = np.frombuffer(plane, ">u2").reshape(frame.height, plane.line_size // 2)
    return rows[:, : frame.width * channels].reshape(frame.height, frame.width, channels).astype(np.uint16)


def _about(file: Any) -> About:
    """What a picture opened by Pillow holds beside its pixels."""
    text = file.info if file.format == "GIF" else getattr(file, "text", {})  # of a PNG it may stand behind the pixels
    dpi = file.info.get("dpi")
    return About(
        mode=file.mode,
        icc=None if file.mode == "CMYK" else file.info.get("icc_profile"),
        exif=_set_upright(file.info.get("exif")),
        dpi=(float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None,
        text=tuple((name, str(value)) for name, value in text.items() if isinstance(value, str)),
    )


def _set_upright(exif: bytes | None) -> bytes | None:
    """EXIF in which the orientation is 1; every other byte stays, since a maker's notes count on their place."""
    if not exif:
        return None
    data = bytearray(exif)
    start = 6 if data[:6] == b"Exif\0\0" else 0
    order: Any = "little" if data[start : start + 2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    first = start + number(start + 4, 4)
    for at in range(first + 2, min(first + 2 + 12 * number(first, 2), len(data) - 11), 12):
        if number(at, 2) == ORIENTATION:
            data[at + 8 : at + 10] = (1).to_bytes(2, order)
    return bytes(data)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A picture opened by Pillow, whose limit on the number of pixels is replaced by ours meanwhile."""
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as file:
            if file.width * file.height > MOST:
                raise ValueError(f"it holds {file.width} × {file.height} pixels, of which 2²⁹ are read at most")
            yield file
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def png(image: NDArray[np.uint16], chunks: bytes) -> bytes:
    """A PNG of 16 bits from `(h, w, c)`, by ffmpeg; `chunks` of another PNG stand before its pixels."""
    height, width, channels = image.shape
    encoder: Any = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, _DEEP[channels]
    encoder.time_base, encoder.options = Fraction(1), {"pred": "mixed"}
    frame = av.VideoFrame(width, height, _DEEP[channels])
    plane: Any = frame.planes[0]
    rows = np.zeros((height, plane.line_size // 2), ">u2")
    rows[:, : width * channels] = image.reshape(height, -1)
    plane.update(rows.tobytes())
    data = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    return data[:33] + chunks + b"".join(chunk for name, chunk in _chunks(data) if name in (b"IDAT", b"IEND"))


def ancillary(data: bytes) -> bytes:
    """The chunks of a PNG beside its pixels: profile, EXIF, dpi, texts."""
    return b"".join(chunk for name, chunk in _chunks(data) if name not in (b"IHDR", b"IDAT", b"IEND"))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(data):
        length = 12 + int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at : at + length]
        at += length
