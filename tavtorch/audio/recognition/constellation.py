"""Peaks of a sonogram, and hashes of pairs of peaks."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

SILENCE = -60.0
"""Level in dB that a peak must exceed: about the rounding noise of 16 bits in the default window."""

_BITS = (9, 6)
"""Bits of a hash for the difference in frequency and for that in time (lowest); the frequency has the bits above."""

REACH = (255, 63)
"""Largest differences in bins and in frames between the peaks of a pair, as those bits can hold them."""


class Peaks(NamedTuple):
    """Peaks block by block (about a second), the loudest first; a block with too few is filled up with -1."""

    time: Int[Tensor, "*b k"]
    """Frame."""
    frequency: Int[Tensor, "*b k"]
    """Bin."""
    rank: Int[Tensor, "*b k"]
    """0 for the loudest peak of its block, 1 for the next, and so on."""

    def loudest(self, count: int) -> "Peaks":
        """The `count` loudest of every block; the others are replaced by -1."""
        keep = self.rank < count
        return Peaks(*(torch.where(keep, field, -1) for field in self))


class Change(NamedTuple):
    """How clips differ from their songs, `(...)` each; in double precision, as places on a long timeline need it."""

    tempo: Float[Tensor, "*b"]
    """Seconds of the song in a second of the clip."""
    pitch: Float[Tensor, "*b"]
    """Factor by which the clip's frequencies are too high."""

    def undone(self, peaks: Peaks) -> Peaks:
        """Peaks `(b, k)` of clips, where they would be without the change `(b,)`."""
        empty = peaks.rank < 0
        time = (peaks.time * self.tempo[:, None]).round().long().masked_fill(empty, -1)
        frequency = (peaks.frequency / self.pitch[:, None]).round().long().masked_fill(empty, -1)
        return Peaks(time, frequency, peaks.rank)


class Hashes(NamedTuple):
    """Hashes of pairs of peaks, `neighbours` entries for each peak; -1 where there is no pair."""

    hash: Int[Tensor, "*b n"]
    """Frequency of the first peak and the differences in frequency and time to the second in one number: `unpack`."""
    time: Int[Tensor, "*b n"]
    """Frame of the first peak."""


def peaks(
    sonogram: Float[Tensor, "*b f t"], *, radius: Sequence[int] = (7, 3), density: int = 60, block: int = 31
) -> Peaks:
    """Local maxima of a sonogram, of which the loudest in every `block` frames are kept.

        P = { (f, t) : S[f, t] = max S[f ± radius, t ± radius] },   of each block the `density` highest

    A gain does not move them, nor does a filter that is flat around a peak. Below 1/128 of the band (31 Hz at 8 kHz),
    where a constant offset of the wave appears, there are no peaks.

    Args:
        sonogram: levels in dB `(..., f, t)`.
        radius: bins and frames to each side over which a peak must be the highest; more gives fewer peaks.
        density: largest number of peaks that are kept in a block.
        block: frames of a block; 31 are a second of the default recipe.

    Returns:
        `Peaks` with `density` entries for each block, `(..., density * ceil(t / block))`.

    Source: Wang, "An industrial-strength audio search algorithm", ISMIR 2003.

    >>> levels = torch.full((1, 64, 31), -100.0); levels[0, 20, 9] = 0.0; levels[0, 40, 12] = -3.0
    >>> found = peaks(levels, density=3)
    >>> found.time.tolist(), found.frequency.tolist(), found.rank.tolist()
    ([[9, 12, -1]], [[20, 40, -1]], [[0, 1, -1]])
    """
    *batch, bins, frames = sonogram.shape
    if sonogram.numel() == 0:
        raise ValueError(f"sonogram: expected levels (..., f, t), got shape {tuple(sonogram.shape)}.")
    levels = sonogram.reshape(-1, bins, frames)

    # The highest level within the radius, (b, t, f), and the levels that equal it.
    highest = F.max_pool1d(levels, 2 * radius[1] + 1, 1, radius[1]).transpose(1, 2)
    highest = F.max_pool1d(highest, 2 * radius[0] + 1, 1, radius[0])
    levels = levels.transpose(1, 2)
    height = torch.where((levels == highest) & (levels > SILENCE), levels, -torch.inf)
    height[:, :, : bins // 128] = -torch.inf

    # The highest of each block, (b, blocks, density).
    height = F.pad(height, (0, 0, 0, -frames % block), value=-torch.inf).unflatten(1, (-1, block)).flatten(2)
    height = F.pad(height, (0, max(0, density - height.shape[-1])), value=-torch.inf)
    kept, cell = height.topk(density)

    time = cell // bins + block * torch.arange(height.shape[1], device=height.device)[:, None]
    rank = torch.arange(density, device=height.device).expand_as(cell)
    found = (torch.where(kept > -torch.inf, x, -1).reshape(*batch, -1) for x in (time, cell % bins, rank))
    return Peaks(*found)


def pairs(peaks: Peaks, neighbours: int = 5) -> Hashes:
    """Pair each peak with its nearest later peaks, and hash the pairs: a pair is far more specific than a peak.

        nearest in  10 Δt + |Δf|  among  0 < Δt <= 63,  |Δf| <= 255  (frames, bins),   hash = (f, Δf, Δt)

    Only the `13 * neighbours` peaks that come next in time are considered.

    Args:
        peaks: see `peaks`.
        neighbours: largest number of pairs for each peak; n_v in the course.

    Returns:
        `Hashes` with `neighbours` entries for each peak.

    >>> found = pairs(Peaks(*torch.tensor([[[9, 12, -1]], [[20, 40, -1]], [[0, 1, -1]]])), neighbours=1)
    >>> [x[0, 0].item() for x in unpack(found.hash)], found.time[0, 0].item()
    ([20, 20, 3], 9)
    """
    if neighbours < 1:
        raise ValueError(f"neighbours: expected 1 or more, got {neighbours}; the course takes 5.")

    # In the order of time, without the entries that are empty in every item.
    order = torch.where(peaks.rank < 0, 2**40, peaks.time).sort(dim=-1, stable=True)[1]
    order = order[..., : max(1, int((peaks.rank >= 0).sum(-1).max()))]
    time, frequency, rank = (x.gather(-1, order) for x in peaks)

    # Differences to the peaks that come next, (..., k, ahead).
    ahead = 13 * neighbours

    def later(x: Tensor) -> Tensor:
        """The next `ahead` entries after each entry."""
        return F.pad(x, (0, ahead), value=-1).unfold(-1, ahead + 1, 1)[..., 1:]

    step, rise = later(time) - time[..., None], later(frequency) - frequency[..., None]
    valid = (later(rank) >= 0) & (rank[..., None] >= 0) & (step > 0) & (step <= REACH[1]) & (rise.abs() <= REACH[0])

    # The nearest; of two as near, the earlier.
    distance = (10 * step + rise.abs()) * ahead + torch.arange(ahead, device=step.device)
    distance, nearest = torch.where(valid, distance, 2**40).topk(neighbours, largest=False)
    key = pack(frequency[..., None], rise.gather(-1, nearest), step.gather(-1, nearest))
    return Hashes(*(torch.where(distance < 2**40, x, -1).flatten(-2) for x in (key, time[..., None])))


def pack(frequency: Tensor, rise: Tensor, step: Tensor) -> Tensor:
    """The hash of a pair, 26 bits: the bin of its first peak, and bins (`rise`) and frames (`step`) to its second."""
    return ((frequency << _BITS[0]) + rise + REACH[0] + 1 << _BITS[1]) + step


def unpack(hash: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Frequency, rise and step of hashes: the inverse of `pack`."""
    pair = hash >> _BITS[1]
    return pair >> _BITS[0], (pair & 2 * REACH[0] + 1) - REACH[0] - 1, hash & REACH[1]
