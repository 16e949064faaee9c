"""Samples that arrive one after another, as blocks: of a file of any length, a pipe, or the microphone."""

import logging
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tavtorch.lab.data.files import audio_info, read_audio

log = logging.getLogger(__name__)

_SECONDS = 1.0  # of a block
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE  # formats of WAV


def blocks(root: str | Path, *, sample_rate: int = 44100, channels: int = 1) -> Iterator[tuple[Tensor, int]]:
    """Blocks `(c, t)` of about a second, each with its sample rate.

    Args:
        root: a file; "-" for the standard input, as WAV or as raw 16-bit little-endian samples; "microphone" for what
            is recorded now (`pip install 'tavtorch[listen]'`).
        sample_rate, channels: of raw samples and of the microphone.
    """
    if sample_rate < 1 or channels < 1:
        raise ValueError(f"data: expected sample_rate and channels of 1 or more, got {sample_rate} and {channels}.")
    if str(root) == "-":
        return pipe(sys.stdin.buffer.read, sample_rate=sample_rate, channels=channels)
    if str(root) == "microphone":
        return microphone(sample_rate=sample_rate, channels=channels)
    return _file(Path(root))


def _file(path: Path) -> Iterator[tuple[Tensor, int]]:
    rate, _, length = audio_info(path)
    step = round(_SECONDS * rate)
    for start in range(0, length, step):
        yield read_audio(path, start, min(step, length - start))[0], rate


def pipe(read: Callable[[int], bytes], *, sample_rate: int, channels: int) -> Iterator[tuple[Tensor, int]]:
    """WAV, told by its first bytes, or raw 16-bit little-endian samples; what it ends with of a sample is left out.

    Args:
        read: gives as many of the next bytes as it is asked for, fewer at the end.
        sample_rate, channels: of raw samples.
    """
    head = read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        kind, channels, sample_rate, bits = _wav_format(read)
        head = b""
    else:
        kind, bits = _PCM, 16
    size = channels * bits // 8
    step = size * round(_SECONDS * sample_rate)
    while data := head + read(step - len(head)):
        head = b""
        whole = len(data) - len(data) % size
        if whole < len(data):
            log.warning("the stream ends in the middle of a sample, which is left out")
        if whole:
            yield _samples(data[:whole], kind, bits).reshape(-1, channels).T, sample_rate


def _wav_format(read: Callable[[int], bytes]) -> tuple[int, int, int, int]:
    """Kind, channels, sample rate and bits of a WAV, read up to its samples; its length may be unknown."""
    found = None
    while len(header := read(8)) == 8:
        name, size = struct.unpack("<4sI", header)
        if name == b"data":
            break
        body = read(size + size % 2)
        if name == b"fmt " and len(body) >= 16:
            kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
            kind = struct.unpack("<H", body[24:26])[0] if kind == _EXTENSIBLE and len(body) >= 26 else kind
            found = kind, channels, rate, bits
    else:
        raise ValueError("data.root: the WAV stream ended before its samples; check the program that sends it.")
    if found is None or not found[1] or not found[2]:
        raise ValueError("data.root: the WAV stream does not say its format; send raw samples or a whole WAV.")
    if (found[0], found[3]) not in ((_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)):
        raise ValueError(
            f"data.root: expected WAV of 16, 24 or 32 bits or floats, got format {found[0]} of {found[3]} bits; "
            "convert it, as by ffmpeg -f wav -c:a pcm_s16le."
        )
    return found


def _samples(data: bytes, kind: int, bits: int) -> Tensor:
    if kind == _FLOAT:
        return torch.from_numpy(np.frombuffer(data, f"<f{bits // 8}").astype(np.float32))
    if bits == 24:  # as the upper bytes of 32
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data, bits = padded.tobytes(), 32
    return torch.from_numpy((np.frombuffer(data, f"<i{bits // 8}") / 2.0 ** (bits - 1)).astype(np.float32))


def microphone(*, sample_rate: int, channels: int) -> Iterator[tuple[Tensor, int]]:
    """What the default microphone records, until the program is stopped."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: without PortAudio
        raise ValueError(f"data.root: no microphone ({error}); pip install 'tavtorch[listen]'.") from error
    step, recorder = round(_SECONDS * sample_rate), _recorder(sounddevice, sample_rate, channels)
    with recorder:
        while True:
            samples, lost = recorder.read(step)
            if lost:
                log.warning("samples of the microphone were lost: the machine is too slow")
            yield torch.from_numpy(samples.T.copy()), sample_rate


def _recorder(sounddevice: Any, sample_rate: int, channels: int) -> Any:
    try:
        return sounddevice.InputStream(samplerate=sample_rate, channels=channels, dtype="float32")
    except Exception as error:  # sounddevice's own, which is known only where it is installed
        raise ValueError(f"data.root: the microphone cannot be used ({error}).") from error
