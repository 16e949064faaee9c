"""Files in and out: pictures; recordings, whole or in excerpts. Results appear whole or not at all."""

import os
import re
import shutil
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from jaxtyping import Float
from torch import Tensor

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
AUDIO = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".opus")
_ORIENTATION = 0x0112  # tag of EXIF
_BLOCK = 1 << 16  # frames a write: libsndfile's Vorbis encoder can crash on one very long write


class Picture(NamedTuple):
    """A picture as a file holds it."""

    image: Float[Tensor, "c h w"]
    """Grey or red, green and blue, float32; [0, 1] unless the file holds floating-point numbers."""
    alpha: Float[Tensor, "1 h w"] | None = None
    """Opacity in [0, 1], where the file has one."""
    levels: int | None = 255
    """The number that stands for 1: 255, 65535, or None where the file holds floating-point numbers."""


def read_picture(path: str | Path) -> Picture:
    """Read a PNG, JPEG or TIFF of 8 or 16 bits, or a TIFF in float32, the right way up.

    Raises:
        ValueError: the file is not a picture that can be read, is cut short, or holds NaN or infinite numbers.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file.")
    try:
        pixels = _pixels(Path(path))
    except Exception as error:  # its decoders raise their own kinds
        raise ValueError(f"{path}: not a picture that can be read ({error}); convert it to PNG.") from error
    levels = {torch.uint8: 255, torch.uint16: 65535}.get(pixels.dtype)
    image = pixels.float() / (levels or 1)
    if not bool(image.isfinite().all()):
        raise ValueError(f"{path}: some pixels are NaN or infinite. Export the picture again.")
    colours = 3 if len(image) > 2 else 1
    return Picture(image[:colours], image[colours:] if len(image) > colours else None, levels)


def picture_size(path: str | Path) -> Hashable:
    """Width, height and mode by the header; two pictures of which these are the same fit into one batch."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            return file.size, file.mode, file.has_transparency_data, file.getexif().get(_ORIENTATION, 1)
    except OSError:
        return path


def write_picture(path: str | Path, picture: Picture) -> None:
    """Write a picture; the suffix names the format. What lies outside of [0, 1] is cut off unless `levels` is None.

    `levels` None is floating-point numbers in a TIFF, and 16 bits in a PNG; JPEG has 8 bits; only PNG keeps `alpha`.
    """
    from kornia.io import write_image

    path, image, alpha, levels = Path(path), picture.image.detach().float().cpu(), picture.alpha, picture.levels
    kind = path.suffix.lower()
    if alpha is not None and kind == ".png":
        image = torch.cat((image.expand(3, -1, -1), alpha.detach().float().cpu()))
    if levels is not None or kind not in (".tif", ".tiff"):
        levels = 255 if kind in (".jpg", ".jpeg") else levels or 65535
        image = (image.clamp(0, 1) * levels).round().to(torch.uint8 if levels == 255 else torch.uint16)
    with whole(path) as part:
        write_image(part, image, quality=95)


def _pixels(path: Path) -> Tensor:
    """Colours, then opacity, `(c, h, w)`: by kornia; palettes, 1 to 4 bits a pixel and CMYK by Pillow."""
    from kornia.io import ImageLoadType, load_image
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            palette, orientation = file.mode == "P", file.getexif().get(_ORIENTATION, 1)
    except UnidentifiedImageError:  # such as a TIFF of three floating-point channels
        palette, orientation = False, 1
    try:
        if palette:
            raise ValueError("kornia would give the numbers of the colours")
        pixels = load_image(path, ImageLoadType.UNCHANGED)
    except ValueError:
        with Image.open(path) as file:
            mode = "RGBA" if file.has_transparency_data else "L" if file.mode in ("1", "L") else "RGB"
            pixels = (
                torch.from_numpy(np.array(file.convert(mode), ndmin=3)).reshape(*file.size[::-1], -1).movedim(-1, 0)
            )
    return _upright(pixels, orientation)


def _upright(image: Tensor, orientation: int) -> Tensor:
    """Turn a picture as EXIF says, 1 to 8: cameras store what the sensor saw, and which way was up."""
    image = image.mT if orientation in (5, 6, 7, 8) else image
    image = image.flip(-1) if orientation in (2, 3, 6, 7) else image
    return image.flip(-2) if orientation in (3, 4, 7, 8) else image


def audio_info(path: str | Path) -> tuple[int, int, int]:
    """Sample rate in Hz, number of channels and frames of a recording, from its header."""
    with _open(path) as file:
        return file.samplerate, file.channels, file.frames


def read_audio(path: str | Path, start: int = 0, frames: int = -1) -> tuple[Float[Tensor, "c t"], int]:
    """Read a recording, or `frames` frames of it from `start` on.

    Returns:
        float32 samples `(c, t)` in [-1, 1], and the sample rate in Hz.

    Raises:
        ValueError: the file is not audio, ends before its header says, holds no samples, or NaN or infinite ones.
    """
    with _open(path) as file:
        wanted = file.frames - start if frames < 0 else frames
        try:
            file.seek(start)
            wave = torch.from_numpy(file.read(wanted, dtype="float32", always_2d=True).T.copy())
        except soundfile.LibsndfileError:
            wave = torch.empty(file.channels, 0)
        if wave.shape[1] < wanted or _cut(file.extra_info):
            raise ValueError(
                f"{path}: the recording is cut short: {wave.shape[1]} of {wanted} frames could be read. "
                "Copy or convert it again from its source."
            )
        if wanted == 0:
            raise ValueError(f"{path}: the recording holds no samples. Remove it.")
        if not bool(wave.isfinite().all()):
            raise ValueError(f"{path}: some samples are NaN or infinite. Export the recording again.")
        return wave, file.samplerate


def write_audio(path: str | Path, wave: Float[Tensor, "c t"], sample_rate: int) -> None:
    """Write samples `(c, t)`; the suffix names the format. WAV is written in float32, so that nothing is clipped."""
    path = Path(path)
    subtype = "FLOAT" if path.suffix == ".wav" else None
    frames = wave.detach().float().cpu().T.numpy()
    try:
        with whole(path) as part, soundfile.SoundFile(part, "w", sample_rate, frames.shape[1], subtype) as file:
            for start in range(0, len(frames), _BLOCK):
                file.write(frames[start : start + _BLOCK])
    except soundfile.LibsndfileError as error:
        raise OSError(f"{path}: {error.error_string}") from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary place beside `path`, for a file or a folder, that becomes `path` when the block ends well.

    Whoever looks at `path` sees nothing or all of it, also where the program is killed in between.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield part
        if path.is_dir():
            shutil.rmtree(path)
        part.replace(path)
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _open(path: str | Path) -> soundfile.SoundFile:
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file.")
    try:
        return soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{path}: not a recording that can be read ({error.error_string}); convert it to WAV."
        ) from error


def _cut(extra_info: str) -> bool:
    """Does a WAV's header promise more data than there is? (2³²-1 stands for "unknown" in streamed files.)"""
    sizes = re.search(r"^data : (\d+) \(should be (\d+)\)", extra_info, re.MULTILINE)
    return sizes is not None and int(sizes[2]) < int(sizes[1]) < 0xFFFFFF00
