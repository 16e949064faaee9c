"""Volumes and films as files: a TIFF of several pages, or the pictures of a folder, one a slice."""

import functools
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.atomic import whole
from tavtorch.lab.data.media import Media
from tavtorch.lab.data.picture_files import (
    PICTURES,
    Picture,
    picture_size,
    read_pages,
    read_picture,
    write_pages,
    write_picture,
)
from tavtorch.lab.data.raster_files import MOST
from tavtorch.lab.data.tiff_files import is_tiff, pages_of


def volumes() -> Media:
    """Volumes `(1, c, d, h, w)`: each TIFF of several pages is one, and so are the other pictures of a folder."""
    return Media("picture", PICTURES, read_volume, _size, sources=_slices, items=_items)


def read_volume(path: Path) -> dict[str, Any]:
    """The slices of a TIFF, or of a folder in the order of the numbers in their names; all of one size and depth.

    Raises:
        ValueError: as `read_picture` does; slices differ, or there are more than 2²⁹ voxels.
    """
    slices = _slices(path)
    pictures = read_pages(path) if slices == [path] else [read_picture(one) for one in slices]
    names = [f"{path}: page {k + 1}" if slices == [path] else str(slices[k]) for k in range(len(pictures))]
    first = pictures[0]
    for name, one in zip(names, pictures, strict=True):
        if (one.image.shape, one.levels) != (first.image.shape, first.levels):
            raise ValueError(
                f"{name}: {_told(one)}; the first slice has {_told(first)}; the slices of a volume have one size, "
                "depth and number of channels."
            )
    if first.image[0].numel() * len(pictures) > MOST:
        raise ValueError(f"{path}: it holds more than 2²⁹ voxels; cut it into parts.")
    files = [picture._replace(image=first.image[:, :0]) for picture in pictures]  # what else is in them
    image = torch.stack([picture.image for picture in pictures], 1)[None]
    return {"inputs": {"image": image}, "file": {"suffix": path.suffix, "slices": files, "names": _names(path, slices)}}


def write_volume(
    path: Path, volume: Float[Tensor, "c d h w"], file: dict[str, Any], *, suffix: str | None = None
) -> Path:
    """A volume as it came: a TIFF of as many pages, or a folder of pictures of the same names.

    Args:
        suffix: of the format; a TIFF becomes a folder of numbered pictures where that is not `.tif` or `.tiff`.

    Returns:
        The file or the folder, which appears whole.
    """
    pictures = [picture._replace(image=volume[:, k]) for k, picture in enumerate(file["slices"])]
    if not file["names"] and (suffix or file["suffix"]).lower() in (".tif", ".tiff"):
        path = path.with_name(path.name.removesuffix(file["suffix"]) + (suffix or file["suffix"]))
        write_pages(path, pictures)
        return path
    digits = len(str(len(pictures)))
    names = file["names"] or [f"{k + 1:0{digits}}{suffix}" for k in range(len(pictures))]
    with whole(path) as part:
        part.mkdir()
        for name, picture in zip(names, pictures, strict=True):
            write_picture(part / (Path(name).with_suffix(suffix) if suffix else name), picture)
    return path


def _items(paths: Sequence[Path]) -> list[Path]:
    """TIFFs of several pages, and for all other pictures their folder."""
    items = list(dict.fromkeys(path if path.is_dir() or _is_stack(path) else path.parent for path in paths))
    given = set(paths)
    for folder in items:
        if folder.is_dir() and folder not in given and (rest := [one for one in _slices(folder) if one not in given]):
            raise ValueError(
                f"data.root: {folder} has more pictures than those given, such as {rest[0].name}; a volume is a folder "
                "with all of its slices, or a TIFF of several pages."
            )
    return items


def _slices(path: Path) -> list[Path]:
    """The files of a volume."""
    if not path.is_dir():
        return [path]
    files = (one for one in path.iterdir() if one.suffix.lower() in PICTURES and not one.name.startswith("."))
    return sorted((one for one in files if one.is_file() and not _is_stack(one)), key=_number)


def _number(path: Path) -> list[tuple[int, str]]:
    """By which `slice_2` comes before `slice_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", path.name)]


def _is_stack(path: Path) -> bool:
    try:
        return _has_pages(path, path.stat().st_mtime_ns)
    except Exception:  # what it is that cannot be read, reading it will say
        return False


@functools.lru_cache(2**16)
def _has_pages(path: Path, modified: int) -> bool:
    """Remembered, as the slices of a folder are listed several times."""
    return is_tiff(path) and pages_of(path) > 1


def _size(path: Path) -> Hashable:
    slices = _slices(path)
    return (len(slices), picture_size(slices[0])) if path.is_dir() and slices else path


def _names(path: Path, slices: list[Path]) -> list[str]:
    return [one.name for one in slices] if path.is_dir() else []


def _told(picture: Picture) -> str:
    c, h, w = picture.image.shape
    depth = {255: "8 bits", 65535: "16 bits", None: "its own numbers"}[picture.levels]
    return f"{w} × {h} pixels, {c} channels, {depth}"
