"""Peaks of a song as bytes, as a database stores them."""

import hashlib

import numpy as np
import torch

from tavtorch.audio.recognition.constellation import Peaks
from tavtorch.audio.recognition.landmarks import Recipe


def pack_peaks(peaks: Peaks) -> bytes:
    """Peaks `(k,)` of a song as little-endian 32-bit integers `frame << 11 | bin`, in the order of `Peaks`."""
    filled = peaks.rank >= 0
    time, frequency = (x[filled].cpu().numpy().astype("<u4") for x in (peaks.time, peaks.frequency))
    if len(time) and time.max() >= 2**21:
        raise ValueError(f"landmarks: expected at most 2^21 frames (18 hours), got {time.max()}; cut the recording.")
    return (time << 11 | frequency).astype("<u4").tobytes()


def unpack_peaks(stored: bytes, recipe: Recipe) -> Peaks:
    """The inverse of `pack_peaks`; the rank of a peak is its position in its block."""
    values = torch.from_numpy(np.frombuffer(stored, "<u4").astype(np.int64))
    time = values >> 11
    block = time // recipe.block
    return Peaks(time, values & 2047, torch.arange(len(time)) - torch.searchsorted(block, block))


def digest(stored: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(stored).hexdigest()
