"""Pictures in and out, with what their files hold beside the pixels."""

import io
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from tavtorch.atomic import whole
from tavtorch.lab.data.raster_files import ORIENTATION, About, Raw, ancillary, opened, png, read_raster
from tavtorch.lab.data.tiff_files import is_tiff, read_tiff, read_tiff_pages, tiff, tiff_size

T = TypeVar("T")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif")


class Picture(NamedTuple):
    """A picture as a file holds it."""

    image: Float[Tensor, "c h w"]
    """Grey or red, green and blue, float32; [0, 1] unless `levels` is None."""
    alpha: Float[Tensor, "1 h w"] | None = None
    """Opacity in [0, 1], where the file has one."""
    levels: int | None = 255
    """The number that stands for 1: 255, 65535, or None where the numbers of the file stand for themselves."""
    about: About = About()
    """What else the file holds; it is written back."""


def read_picture(path: str | Path, *, nan: bool = False) -> Picture:
    """Read a PNG, JPEG, TIFF, WebP, BMP or GIF, the right way up and in its full depth.

    Numbers of 8 or 16 bits are divided by 255 or 65535. Floating-point numbers, and the signed or 32-bit integers of a
    TIFF, are given as they are, in float32. Palettes become their colours; grey with opacity comes in three equal
    channels; 1 bit becomes 0 or 1; CMYK becomes red, green and blue without its profile. A colour that stands for
    transparency becomes opacity. The first picture of an MPO, which phones write into their JPEG files, is taken.

    Args:
        nan: let NaN pass, which many TIFFs have where there are no data.

    Raises:
        ValueError: the file is not a picture that can be read, is cut short, holds several pages or frames, channels
            that are neither colour nor opacity, more than 2²⁹ pixels, or NaN or infinite numbers.
    """
    path = Path(path)
    return _picture(path, _decoded(path, lambda: read_tiff(path) if is_tiff(path) else read_raster(path)), nan)


def read_pages(path: Path) -> list[Picture]:
    """The pages of a TIFF, which lie along one axis such as depth or time; else as `read_picture`."""
    return [_picture(path, raw) for raw in _decoded(path, lambda: read_tiff_pages(path))]


def read_mask(path: str | Path) -> Bool[Tensor, "1 h w"]:
    """Read which pixels a picture marks: those of any colour lighter than the middle, where it is not transparent.

    A picture of the numbers 0 and 1 alone marks the ones, whatever its depth.

    Raises:
        ValueError: as `read_picture` does, or no pixel is marked.
    """
    image, alpha, levels, _ = read_picture(path)
    value = image.amax(0, keepdim=True)
    marked = value > (0 if bool(value.mul(levels or 1).round().le(1).all()) else 0.5 if levels else 0.5 * value.max())
    if alpha is not None:
        marked &= alpha > 0.5
    if not bool(marked.any()):
        raise ValueError(f"{path}: the mask marks no pixel. Paint what is missing white on black, and opaque.")
    return marked


def picture_size(path: str | Path) -> Hashable:
    """Width, height and mode by the header; two pictures of which these are the same fit into one batch."""
    try:
        if is_tiff(Path(path)):
            return tiff_size(Path(path))
        with opened(Path(path)) as file:
            return file.size, file.mode, file.has_transparency_data, file.getexif().get(ORIENTATION, 1)
    except Exception:  # what it is that cannot be read, `read_picture` will say
        return path


def write_picture(path: str | Path, picture: Picture) -> None:
    """Write a picture; the suffix names the format. What lies outside of [0, 1] is cut off unless `levels` is None.

    `levels` None is the type of `about.dtype` in a TIFF, float32 by default, and 16 bits in a PNG; JPEG, WebP (without
    loss), BMP and GIF (of 256 colours) have 8 bits. PNG, TIFF and WebP keep `alpha`. What `about` holds is written as
    far as the format can: the profile, EXIF and dpi; a PNG's texts; a TIFF's tags and its compression, deflate for LZW
    and JPEG. Grey with opacity becomes grey again where its channels are equal; palettes, CMYK and 1 bit do not.

    Raises:
        ValueError: some numbers are NaN or infinite, the suffix is none of `PICTURES`, or `levels` is None and some
            numbers lie outside of [0, 1], which only a TIFF holds.
        OSError: the disk is full, or the place cannot be written.
    """
    path, kind = Path(path), Path(path).suffix.lower()
    data = _encoded(kind, _checked(path, kind, picture), picture.levels, picture.about)
    with whole(path) as part:  # encoded in memory: encoders do not tell of a disk that fills up
        part.write_bytes(data)


def write_pages(path: Path, pictures: Sequence[Picture]) -> None:
    """Write pictures as the pages of a TIFF, with what `about` of the first holds; else as `write_picture`."""
    _, _, levels, about = pictures[0]
    numbers = [_numbers(_checked(path, ".tif", picture), levels, about.dtype) for picture in pictures]
    with whole(path) as part:
        part.write_bytes(tiff(np.stack(numbers), about))


def _decoded(path: Path, read: Callable[[], T]) -> T:
    """What `read` gives; what it raises as one kind of error."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file.")
    try:
        return read()
    except PermissionError as error:
        raise ValueError(f"{path}: the file may not be read ({error.strerror}). Change its permissions.") from error
    except Exception as error:  # decoders raise their own kinds
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: not a picture that can be read ({reason}); convert it to PNG.") from error


def _picture(path: Path, raw: Raw, nan: bool = False) -> Picture:
    """The colours in `[0, 1]`, the right way up, and the opacity."""
    levels = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(raw.pixels.dtype)
    image = torch.from_numpy(raw.pixels.astype(np.float32)).movedim(-1, 0) / (levels or 1)
    image = _upright(image, raw.orientation).contiguous()
    colours = 3 if len(image) > 2 else 1
    finite = image.isfinite()
    if nan:
        finite[:colours] |= image[:colours].isnan()
    if not bool(finite.all()):
        raise ValueError(
            f"{path}: some pixels are NaN or infinite. Export the picture again; where NaN stands for no data, fill "
            "them with task=inpaint_harmonic."
        )
    alpha = image[colours:] if len(image) > colours else None
    if len(image) == 2:  # grey and opacity
        return Picture(image[:1].expand(3, -1, -1), alpha, levels, raw.about._replace(mode="LA"))
    return Picture(image[:colours], alpha, levels, raw.about)


def _checked(path: Path, kind: str, picture: Picture) -> Tensor:
    """The channels that a file of this kind gets."""
    image, alpha, levels, about = picture
    if kind not in PICTURES:
        raise ValueError(f"{path}: pictures are written as {', '.join(PICTURES)}; got {kind or 'no suffix'}.")
    if alpha is not None and kind in (".png", ".tif", ".tiff", ".webp"):
        image = torch.cat((_colours(image, about), alpha.to(image)))
    image = image.detach().float().cpu()
    if not bool(image.isfinite().all()):
        raise ValueError(f"{path}: some pixels of the result are NaN or infinite; nothing is written.")
    low, high = image.aminmax()
    if levels is None and kind not in (".tif", ".tiff") and not 0 <= low <= high <= 1:
        raise ValueError(
            f"{path}: {kind} holds numbers from 0 to 1, and these are {low:.4g} to {high:.4g}; write .tif."
        )
    return image


def _encoded(kind: str, image: Tensor, levels: int | None, about: About) -> bytes:
    """The bytes of a file."""
    if kind in (".tif", ".tiff"):
        return tiff(_numbers(image, levels, about.dtype), about)
    levels = levels or 65535 if kind == ".png" else 255
    numbers = _numbers(image, levels, "")
    if levels == 65535:
        one = _by_pillow(".png", np.zeros((1, 1, 1), np.uint8), about)  # for its chunks beside the pixels
        return png(numbers, ancillary(one))
    return _by_pillow(kind, numbers, about)


def _numbers(image: Tensor, levels: int | None, dtype: str) -> NDArray[Any]:
    """`(h, w, c)` as a file holds it."""
    array = image.movedim(0, -1).contiguous()
    if levels is not None:
        return (array.clamp(0, 1) * levels).round().to(torch.uint8 if levels == 255 else torch.uint16).numpy()
    if dtype in ("", "uint8", "uint16") or dtype.startswith("float"):
        return array.numpy().astype(dtype if dtype.startswith("float") else np.float32)
    span = np.iinfo(dtype)
    return array.double().round().clamp(span.min, span.max).numpy().astype(dtype)


def _by_pillow(kind: str, numbers: NDArray[np.uint8], about: About) -> bytes:
    """A file of 8 bits by Pillow."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    given: dict[str, Any] = {"icc_profile": about.icc, "exif": about.exif, "dpi": about.dpi}
    given = {name: value for name, value in given.items() if value is not None}
    if kind == ".png":
        given["compress_level"] = 4  # photographs: in half the time of 6, and as small
        given["pnginfo"] = PngInfo()
        for name, text in about.text:
            given["pnginfo"].add_itxt(name, text) if not text.isascii() else given["pnginfo"].add_text(name, text)
    given |= {"quality": 95, "subsampling": 0} if kind in (".jpg", ".jpeg") else {}
    given |= {"lossless": True, "exact": True} if kind == ".webp" else {}
    image = Image.fromarray(numbers.squeeze(-1) if numbers.shape[-1] == 1 else numbers)
    memory = io.BytesIO()
    image.save(memory, Image.registered_extensions()[kind], **given)
    return memory.getvalue()


def _colours(image: Tensor, about: About) -> Tensor:
    """One channel for what was grey with opacity and still is grey; three for the rest."""
    return image[:1] if about.mode == "LA" and bool((image == image[:1]).all()) else image.expand(3, -1, -1)


def _upright(image: Tensor, orientation: int) -> Tensor:
    """Turn a picture as EXIF says, 1 to 8: cameras store what the sensor saw, and which way was up."""
    image = image.mT if orientation in (5, 6, 7, 8) else image
    image = image.flip(-1) if orientation in (2, 3, 6, 7) else image
    return image.flip(-2) if orientation in (3, 4, 7, 8) else image
