"""Files in and out: audio is read whole or in excerpts, results appear whole or not at all."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile
import torch
from jaxtyping import Float
from torch import Tensor

AUDIO = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".opus")
_BLOCK = 1 << 16  # frames a write: libsndfile's Vorbis encoder can crash on one very long write


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
