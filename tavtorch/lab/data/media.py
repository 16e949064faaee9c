"""Kinds of files that an op can be run over: which suffixes they have, how one is read, and which fit into a batch."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tavtorch.image.contours import seeds
from tavtorch.image.contours.polygons import circle
from tavtorch.image.patches.pixels import dilated
from tavtorch.image.restoration.inpaint_tv import hole_from_color
from tavtorch.lab.data.files import (
    AUDIO,
    PICTURES,
    AudioBlocks,
    audio_info,
    picture_size,
    read_audio,
    read_mask,
    read_picture,
    sound_about,
)


def _alone(path: Path) -> list[Path]:
    return [path]


class Media(NamedTuple):
    """A kind of files. It can be pickled, as workers that read ahead need it."""

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], dict[str, Any]]
    """An item without its name (see `batches`). It raises a `ValueError` that says what is wrong with the file."""
    batch_key: Callable[[Path], Hashable]
    """Files with equal keys fit into one batch."""
    sources: Callable[[Path], list[Path]] = _alone
    """The files that an item is made of: the one that is read, and others such as a mask."""
    items: Callable[[Sequence[Path]], list[Path]] = list
    """From the files that are found to what is read as an item, such as a folder of slices."""


def read_image(path: Path, *, nan: bool = False) -> dict[str, Any]:
    """The op gets the colours; suffix, transparency, bit depth and metadata are kept for the file of the result.

    Args:
        nan: as of `read_picture`.
    """
    image, alpha, levels, about = read_picture(path, nan=nan)
    file = {"suffix": path.suffix, "alpha": alpha, "levels": levels, "about": about}
    return {"inputs": {"image": image[None]}, "file": file}


def read_wave(path: Path) -> dict[str, Any]:
    """The samples and their rate; format, depth and tags are kept for the file of the result."""
    wave, sample_rate = read_audio(path)
    return {"inputs": {"wave": wave[None], "sample_rate": sample_rate}, "file": {"about": sound_about(path)}}


def read_blocks(path: Path) -> dict[str, Any]:
    """A recording of any length that the op is given block by block; what is kept for its results as in `read_wave`."""
    blocks = AudioBlocks(path)
    inputs = {"blocks": blocks, "sample_rate": blocks.sample_rate}
    return {"inputs": inputs, "file": {"about": sound_about(path)}}


def read_stream(path: Path) -> dict[str, Any]:
    """A recording of any length that the op reads piece by piece: `read(start, frames)` gives `(c, frames)`."""
    sample_rate, _, length = audio_info(path)
    return {"inputs": {"read": partial(_part, path), "length": length, "sample_rate": sample_rate}}


def _part(path: Path, start: int, frames: int) -> Tensor:
    return read_audio(path, start, frames)[0]


PICTURE = Media("picture", PICTURES, read_image, picture_size)
RECORDING = Media("recording", AUDIO, read_wave, Path)  # lengths differ: each is a batch of its own
STREAM = RECORDING._replace(read=read_stream)


def pictures() -> Media:
    """`PICTURE`, for configurations."""
    return PICTURE


def recordings() -> Media:
    """`RECORDING`, for configurations."""
    return RECORDING


def long_recordings() -> Media:
    """Recordings that go through an op and into the files of its results in blocks, however long they are."""
    return RECORDING._replace(read=read_blocks)


def streams() -> Media:
    """`STREAM`, for configurations."""
    return STREAM


def with_hole(
    *, color: Sequence[float] | None = None, tolerance: float = 0.1, holes: str | None = None, grow: int = 0
) -> Media:
    """Pictures with a hole: the pixels of one colour, or those that a mask marks, or the transparent ones.

    Pixels of a TIFF that are NaN are missing too, in any case, and are 0 in the op's input.

    Args:
        color: red, green and blue (or grey) of the missing pixels, in the numbers of `read_picture`.
        tolerance: largest difference from it in each channel.
        holes: the file of a mask for all pictures, or a folder of masks named like the pictures, in the same
            sub-folders or together; see `read_mask`.
        grow: pixels by which the hole is grown in each direction, over the rim that JPEG leaves of what was painted.
    """
    if grow < 0:
        raise ValueError(f"media.grow: expected a whole number of pixels >= 0, got {grow}.")
    read = partial(_read_with_hole, color=color, tolerance=tolerance, holes=holes, grow=grow)
    return PICTURE._replace(read=read, sources=partial(_with_masks, holes=holes if color is None else None))


def with_circle(*, radius: float = 0.45, n: int = 200, start: str | None = None) -> Media:
    """Pictures with a circle about their centre, or with contours of a file, for contours to start from.

    Args:
        radius: as a fraction of the shorter side.
        n: points of the circle, or of each contour in `start`.
        start: a CSV file in place of the circle, such as `contour.csv` of an earlier result: a line `x,y`, and a line
            in pixels for each point, contour after contour.
    """
    return PICTURE._replace(read=partial(_read_with_circle, radius=radius, n=n, start=start))


def with_blobs(
    *,
    least: float = 4.0,
    most: float = 64.0,
    threshold: float = 0.3,
    dark: bool | None = None,
    grow: float = 1.2,
    n: int = 64,
) -> Media:
    """Pictures with a circle about each blob that `seeds` finds in them, for contours to start from.

    Each picture is an item by itself, since it has its own number of blobs; one without any is an error.

    Args:
        least, most, threshold, dark, n: as of `seeds`.
        grow: radius of a circle over that of its blob.
    """
    if not 0 < grow < float("inf"):
        raise ValueError(f"media.grow: expected a number > 0, got {grow}; 1.2 is usual.")
    find = partial(seeds, least=least, most=most, threshold=threshold, dark=dark, n=n)
    return PICTURE._replace(read=partial(_read_with_blobs, find=find, grow=grow), batch_key=Path)


def _read_with_blobs(path: Path, *, find: Callable[[Tensor], list[Tensor]], grow: float) -> dict[str, Any]:
    item = read_image(path)
    image = item["inputs"]["image"]
    try:
        (circles,) = find(image)
    except ValueError as error:
        raise ValueError(f"media: {error}") from error
    if not len(circles):
        raise ValueError(
            f"{path}: no blob is found in it; lower media.threshold, change media.least and media.most, "
            "or use media=circle."
        )
    middle = circles.mean(1, keepdim=True)
    high = torch.tensor([image.shape[-1] - 1, image.shape[-2] - 1])
    item["inputs"]["points"] = (middle + grow * (circles - middle)).clamp(min=torch.zeros(2), max=high)[None]
    return item


def _read_with_circle(path: Path, *, radius: float, n: int, start: str | None) -> dict[str, Any]:
    item = read_image(path)
    if start is not None:
        item["inputs"]["points"] = _contours(start, n)
        return item
    h, w = item["inputs"]["image"].shape[-2:]
    item["inputs"]["points"] = circle(((w - 1) / 2, (h - 1) / 2), radius * min(h, w), n)
    return item


def _contours(start: str, n: int) -> Tensor:
    """Contours of a file, `(1, m, n, 2)`."""
    try:
        points = np.loadtxt(start, np.float32, delimiter=",", skiprows=1, ndmin=2)
        return torch.from_numpy(points).reshape(1, -1 if len(points) else 1, n, 2)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"media.start: {start} has no contours of media.n={n} points each ({error}); a line "
            "`x,y` comes first, then a line for each point."
        ) from error


def _read_with_hole(
    path: Path, *, color: Sequence[float] | None, tolerance: float, holes: str | None, grow: int
) -> dict[str, Any]:
    item = read_image(path, nan=True)
    image, alpha = item["inputs"]["image"], item["file"]["alpha"]
    hole = image.isnan().any(1, keepdim=True)
    item["inputs"]["image"] = image = image.masked_fill(hole, 0)
    if color is not None:
        hole = hole | hole_from_color(image, color, tolerance)
        told = f"has the colour media.color={list(color)} within media.tolerance={tolerance}"
    elif holes is not None:
        hole, told = hole | _mask(Path(holes), path, image), "is marked"
    else:
        told = "is transparent or NaN"
        if alpha is not None:
            hole = hole | (alpha[None] < 1)
            item["file"]["alpha"] = None  # what is filled is opaque
    if not bool(hole.any()):
        raise ValueError(
            f"{path}: no pixel {told}; say where the hole is with media.color or media.holes, or make it transparent."
        )
    item["inputs"]["hole"] = dilated(hole, grow)
    return item


def _mask(holes: Path, path: Path, image: Tensor) -> Tensor:
    """The mask of a picture, `(1, 1, h, w)`: what it marks is missing, see `read_mask`."""
    if not holes.exists():
        raise ValueError(f"media.holes: {holes} does not exist; give a mask, or a folder of masks.")
    masks = _masks(holes, path)
    if not masks:
        raise ValueError(f"{path}: no mask of this name in {holes}; see media.holes.")
    if len(masks) > 1:
        raise ValueError(f"{path}: it has several masks, {', '.join(map(str, masks))}; leave one of them.")
    hole = read_mask(masks[0])[None]
    if hole.shape[-2:] != image.shape[-2:]:
        raise ValueError(f"{path}: the mask has another size, {tuple(hole.shape[-2:])}, than the picture's.")
    return hole


def _masks(holes: Path, path: Path) -> list[Path]:
    """The masks with the name of a picture, in the deepest sub-folder that both have; that of its format first."""
    if not holes.is_dir():
        return [holes]
    folders = path.absolute().parent.parts[1:]
    for start in range(len(folders) + 1):
        folder = holes.joinpath(*folders[start:])
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        masks = [mask for mask in files if mask.stem == path.stem and mask.suffix.lower() in PICTURES]
        if masks:
            return [mask for mask in masks if mask.suffix.lower() == path.suffix.lower()][:1] or masks
    return []


def _with_masks(path: Path, *, holes: str | None) -> list[Path]:
    """A picture and its mask."""
    return [path, *(_masks(Path(holes), path) if holes else ())]
