"""TIFF in and out, by tifffile: planes, signs, depths, opacity, pages, compression and tags."""

import io
import logging
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import EXTRASAMPLE, PHOTOMETRIC

from tavtorch.lab.data.raster_files import MOST, About, Raw, opened, pixels

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Tags that are kept: texts, camera, date, XMP, IPTC, Photoshop's, and places on the earth (GeoTIFF, GDAL)
_KEPT = {269, 271, 272, 285, 306, 315, 316, 700, 33432, 33550, 33723, 33922, 34264, 34377, 34735, 34736, 34737}
_KEPT |= {42112, 42113}
_READ = (1, 8, 32946, 34925)  # compressions that tifffile reads alone: none, deflate twice, LZMA
_WRITTEN = {"NONE": None, "LZMA": "lzma"}  # compressions that tifffile writes beside deflate
_RATIO = 2**15  # bytes of pixels by bytes of the file: that of an empty page in CCITT's group 4
_PALETTE = PHOTOMETRIC.PALETTE
_LIGHT = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB)  # more is lighter
_COLOURS = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    _PALETTE: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.SEPARATED: 4,
}


def is_tiff(path: Path) -> bool:
    """Does a file begin as a TIFF does?"""
    with path.open("rb") as file:
        return file.read(4) in _STARTS


def read_tiff(path: Path) -> Raw:
    """The one picture in a file; smaller copies and masks beside it are left."""
    with _opened(path) as file:
        page = _page(file)
        return Raw(*_picture(path, page), _about(page))


def read_tiff_pages(path: Path) -> list[Raw]:
    """The pictures in a file that lie along one axis, such as depth or time."""
    with _opened(path) as file:
        pages, series = _meant(file), file.series[0]
        first: Any = pages[0]
        named = file.is_imagej or file.is_ome or file.is_shaped
        axes = [axis for axis, n in zip(series.axes, series.shape, strict=True) if n > 1 and axis not in "YXS"]
        if named and (len(axes) > 1 or axes == ["C"]):
            told = " × ".join(f"{n} {axis}" for axis, n in zip(series.axes, series.shape, strict=True) if n > 1)
            raise ValueError(f"its pages are {told}; save one channel, along one more axis, as a file of its own")
        count = _count(file)
        if first.imagedepth > 1 or count > len(pages) > 1:
            raise ValueError(f"its {count} pages are stored in a way that is not read; save them with ImageJ")
        _check_size(file, first, count)
        if count > len(pages):  # ImageJ's, of more than 4 GB: one page, and the numbers of all behind it
            whole = series.asarray().reshape(count, *_shape(first))
            return [Raw(_colours(one, first), 1, _about(first)) for one in whole]
        return [Raw(*_picture(path, page), _about(page)) for page in pages]


def pages_of(path: Path) -> int:
    """How many pictures a file holds; smaller copies and masks are none."""
    with _opened(path) as file:
        return _count(file)


def tiff_size(path: Path) -> Hashable:
    """Width, height and kind by the header."""
    with _opened(path) as file:
        page = _page(file)
        kind = (int(page.photometric), str(page.dtype), page.extrasamples)
        return page.imagewidth, page.imagelength, kind, int(page.tags.valueof(274, 1))


def tiff(numbers: NDArray[Any], about: About) -> bytes:
    """A file of `(h, w, c)` or pages `(d, h, w, c)`: one or three colours, and opacity if there is a channel more."""
    compression = _WRITTEN.get(about.compression or "NONE", "zlib")
    given: dict[str, Any] = {
        "photometric": "rgb" if numbers.shape[-1] > 2 else "minisblack",
        "extrasamples": ["unassalpha"] if numbers.shape[-1] in (2, 4) else None,
        "planarconfig": "contig",
        "compression": compression,
        "predictor": compression is not None and numbers.dtype.kind != "f",  # that of floats is not in tifffile alone
        "iccprofile": about.icc,
        "extratags": about.tags,
        "metadata": None,
        "software": False,
    }
    if about.dpi:
        given |= {"resolution": about.dpi, "resolutionunit": 2}
    text = dict(about.text)
    if "ImageDescription" in text:
        given["description"] = text["ImageDescription"].encode()
    if "Software" in text:
        given["software"] = text["Software"].encode()
    memory = io.BytesIO()
    tifffile.imwrite(memory, numbers[..., 0] if numbers.shape[-1] == 1 else numbers, **given)
    return memory.getvalue()


def _page(file: tifffile.TiffFile) -> Any:
    """The picture, where there is one."""
    page, count = _meant(file)[0], _count(file)
    if count > 1:
        raise ValueError(
            f"it holds {count} pages; save the one that is meant as a picture of its own, or, of a volume or a film, "
            "say media=volume"
        )
    _check_size(file, page, 1)
    return page


def _meant(file: tifffile.TiffFile) -> list[Any]:
    """The pages that are no smaller copy (1) and no mask (4) of another."""
    pages: list[Any] = list(file.pages)
    return [page for page in pages if not int(page.keyframe.subfiletype) & 5] or pages[:1]


def _count(file: tifffile.TiffFile) -> int:
    """How many pictures there are."""
    pages = _meant(file)
    listed = file.series[0].size // max(pages[0].keyframe.size, 1) if file.is_imagej else 1
    return max(len(pages), listed, pages[0].imagedepth)


def _check_size(file: tifffile.TiffFile, page: Any, count: int) -> None:
    if page.imagewidth * page.imagelength * count > MOST:
        told = f"{count} × " * (count > 1) + f"{page.imagewidth} × {page.imagelength}"
        raise ValueError(f"it holds {told} pixels, of which 2²⁹ are read at most")
    if page.nbytes * count > _RATIO * file.filehandle.size:
        told = f"{page.nbytes * count} bytes of pixels, more than {file.filehandle.size}"
        raise ValueError(f"its header tells {told} can hold")


@contextmanager
def _opened(path: Path) -> Iterator[tifffile.TiffFile]:
    """A file without tifffile's remarks, which name neither the file nor what to do."""
    said = logging.getLogger("tifffile")
    said.addFilter(_nothing)
    try:
        with tifffile.TiffFile(path) as file:
            yield file
    finally:
        said.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False


def _about(page: Any) -> About:
    """What a page holds beside its pixels."""
    tags = page.tags
    unit = {2: 1.0, 3: 2.54}.get(int(tags.valueof(296, 2)))
    sides = [tags.valueof(code) for code in (282, 283)]
    dpi = None
    if unit and all(side is not None and side[0] > 0 and side[1] > 0 for side in sides):
        dpi = (unit * sides[0][0] / sides[0][1], unit * sides[1][0] / sides[1][1])
    texts = {"ImageDescription": tags.valueof(270), "Software": tags.valueof(305)}
    return About(
        dtype=str(page.dtype),
        icc=tags.valueof(34675) if page.photometric != PHOTOMETRIC.SEPARATED else None,
        dpi=dpi,
        text=tuple((name, text) for name, text in texts.items() if isinstance(text, str)),
        compression=getattr(page.compression, "name", None),
        tags=tuple(
            (tag.code, int(tag.dtype), tag.count, tag.value.encode() if isinstance(tag.value, str) else tag.value, True)
            for tag in tags.values()
            if tag.code in _KEPT and isinstance(tag.value, str | bytes | int | float | tuple)
        ),
    )


def _picture(path: Path, page: Any) -> tuple[NDArray[Any], int]:
    """`(h, w, c)`, grey or red, green and blue, and opacity; and the orientation that they are still in."""
    orientation = int(page.tags.valueof(274, 1))
    if page.compression not in _READ or page.predictor not in (1, 2) or page.photometric not in _COLOURS:
        return _by_others(path, page, orientation)
    array = page.asarray().reshape(page.samplesperpixel if page.planarconfig == 2 else 1, *_shape(page))
    array = np.concatenate(list(array), -1)
    if array.dtype == bool or page.bitspersample < 8:
        array = array.astype(np.uint8) * (255 // (2**page.bitspersample - 1)) if page.photometric != _PALETTE else array
    return _colours(array, page), orientation


def _colours(array: NDArray[Any], page: Any) -> NDArray[Any]:
    """Grey or red, green and blue, and opacity, of what is stored."""
    if array.dtype.kind not in "uif":
        raise ValueError(f"its numbers are of a kind, {array.dtype}, that is not read")
    count = _COLOURS[page.photometric]
    return _opaque(_red_green_blue(array[..., :count], page), array[..., count:], page)


def _shape(page: Any) -> tuple[int, int, int]:
    return page.imagelength, page.imagewidth, 1 if page.planarconfig == 2 else page.samplesperpixel


def _red_green_blue(colours: NDArray[Any], page: Any) -> NDArray[Any]:
    """Grey in which more is lighter, or red, green and blue."""
    if page.photometric == _PALETTE:
        return (page.colormap[:, colours[..., 0].astype(np.int64)] >> 8).astype(np.uint8).transpose(1, 2, 0)
    if page.photometric in _LIGHT:
        return colours
    if colours.dtype.kind != "u":
        raise ValueError(f"{page.photometric.name} of {colours.dtype} is not read")
    top = np.iinfo(colours.dtype).max
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        return top - colours
    light = (top - colours).astype(np.float64) / top  # CMYK
    return (light[..., :3] * light[..., 3:] * top).round().astype(colours.dtype)


def _opaque(colours: NDArray[Any], rest: NDArray[Any], page: Any) -> NDArray[Any]:
    """Colours with the channel that is their opacity, not multiplied by it."""
    if rest.shape[-1] == 0:
        return colours
    kind = page.extrasamples[0] if page.extrasamples else EXTRASAMPLE.UNSPECIFIED
    if rest.shape[-1] > 1 or kind == EXTRASAMPLE.UNSPECIFIED or colours.dtype not in (np.uint8, np.uint16, np.float32):
        raise ValueError(
            f"it holds {rest.shape[-1]} more channels of {colours.dtype} than colours, which are not said to be opacity"
        )
    if kind == EXTRASAMPLE.ASSOCALPHA:
        top = np.iinfo(colours.dtype).max if colours.dtype.kind == "u" else 1
        whole = colours.astype(np.float64) * top / np.maximum(rest, 1 if colours.dtype.kind == "u" else 1e-6)
        colours = (np.minimum(whole, top).round() if colours.dtype.kind == "u" else whole).astype(colours.dtype)
    return np.concatenate((colours, rest), -1)


def _by_others(path: Path, page: Any, orientation: int) -> tuple[NDArray[Any], int]:
    """What tifffile alone does not decompress, such as LZW and JPEG: 8 bits by Pillow, which turns; rest by kornia."""
    plain = page.index == 0 and page.planarconfig == 1 and not page.extrasamples
    known = page.photometric in (*_COLOURS, PHOTOMETRIC.YCBCR)
    if known and page.dtype in (np.uint8, bool) and EXTRASAMPLE.UNSPECIFIED not in page.extrasamples:
        with opened(path) as file:
            file.seek(page.index)
            return pixels(file), 1
    if plain and page.photometric in _LIGHT and page.dtype in (np.uint16, np.float32):
        from kornia.io import ImageLoadType, load_image

        array = load_image(path, ImageLoadType.UNCHANGED).movedim(0, -1).numpy()
        if array.shape == _shape(page) and array.dtype == page.dtype:
            return array, orientation
    name = getattr(page.compression, "name", page.compression)
    raise ValueError(f"{page.dtype} of {page.photometric.name} in {name} is not read; save it with deflate or without")
