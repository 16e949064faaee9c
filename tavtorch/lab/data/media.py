"""Kinds of files that an op can be run over: which suffixes they have, how one is read, and which fit into a batch."""

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from tavtorch.image.contours.polygons import circle
from tavtorch.image.restoration.inpaint_tv import hole_from_color
from tavtorch.lab.data.files import AUDIO, PICTURES, audio_info, picture_size, read_audio, read_mask, read_picture


class Media(NamedTuple):
    """A kind of files."""

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], dict[str, Any]]
    """An item without its name (see `batches`). It raises a `ValueError` that says what is wrong with the file."""
    batch_key: Callable[[Path], Hashable]
    """Files with equal keys fit into one batch."""


def read_image(path: Path) -> dict[str, Any]:
    """The op gets the colours; suffix, transparency, bit depth and metadata are kept for the file of the result."""
    image, alpha, levels, about = read_picture(path)
    file = {"suffix": path.suffix, "alpha": alpha, "levels": levels, "about": about}
    return {"inputs": {"image": image[None]}, "file": file}


def read_wave(path: Path) -> dict[str, Any]:
    """The samples and their rate."""
    wave, sample_rate = read_audio(path)
    return {"inputs": {"wave": wave[None], "sample_rate": sample_rate}, "file": {"suffix": path.suffix}}


def read_stream(path: Path) -> dict[str, Any]:
    """A recording of any length that the op reads piece by piece: `read(start, frames)` gives `(c, frames)`."""
    sample_rate, _, length = audio_info(path)

    def read(start: int, frames: int) -> Tensor:
        return read_audio(path, start, frames)[0]

    return {"inputs": {"read": read, "length": length, "sample_rate": sample_rate}, "path": str(path)}


PICTURE = Media("picture", PICTURES, read_image, picture_size)
RECORDING = Media("recording", AUDIO, read_wave, lambda path: path)  # lengths differ: each is a batch of its own
STREAM = RECORDING._replace(read=read_stream)


def pictures() -> Media:
    """`PICTURE`, for configurations."""
    return PICTURE


def recordings() -> Media:
    """`RECORDING`, for configurations."""
    return RECORDING


def with_hole(*, color: Sequence[float] | None = None, tolerance: float = 0.1, holes: str | None = None) -> Media:
    """Pictures with a hole: the pixels of one colour, or the white ones of a mask, or the transparent ones.

    Args:
        color: red, green and blue (or grey) of the missing pixels, in [0, 1].
        tolerance: largest difference from it in each channel.
        holes: the file of a mask for all pictures, or a folder of masks named like the pictures.
    """

    def read(path: Path) -> dict[str, Any]:
        item = read_image(path)
        image, alpha = item["inputs"]["image"], item["file"]["alpha"]
        if color is not None:
            hole = hole_from_color(image, color, tolerance)
        elif holes is not None:
            hole = _mask(Path(holes), path)
        elif alpha is not None:
            hole = alpha[None] < 1
            item["file"]["alpha"] = None  # what is filled is opaque
        else:
            raise ValueError(f"{path}: no pixel is transparent; say where the hole is with media.color or media.holes.")
        if hole.shape[-2:] != image.shape[-2:]:
            raise ValueError(f"{path}: the mask has another size, {tuple(hole.shape[-2:])}, than the picture's.")
        item["inputs"]["hole"] = hole
        return item

    return PICTURE._replace(read=read)


def with_circle(*, radius: float = 0.45, n: int = 200) -> Media:
    """Pictures with a circle about their centre, for a contour to start from.

    Args:
        radius: as a fraction of the shorter side.
        n: points of the circle.
    """

    def read(path: Path) -> dict[str, Any]:
        item = read_image(path)
        h, w = item["inputs"]["image"].shape[-2:]
        item["inputs"]["points"] = circle(((w - 1) / 2, (h - 1) / 2), radius * min(h, w), n)
        return item

    return PICTURE._replace(read=read)


def _mask(holes: Path, path: Path) -> Tensor:
    """What a mask marks is missing; see `read_mask`."""
    if not holes.exists():
        raise ValueError(f"media.holes: {holes} does not exist; give a mask, or a folder of masks.")
    masks = [holes] if holes.is_file() else sorted(holes.iterdir())
    paths = [mask for mask in masks if holes.is_file() or (mask.stem == path.stem and mask.suffix.lower() in PICTURES)]
    if not paths:
        raise ValueError(f"{path}: no mask of this name in {holes}; see media.holes.")
    return read_mask(paths[0])[None]
