"""The constellation of a recording: the peaks of its sonogram, and pairs of them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

SILENCE = -60.0  # dB, at and below which no peak is: the last of 16 bits in the default window
_BITS = (9, 6)  # of a hash, from below: 9 for the step in frequency, 6 for that in time; the frequency stands on top
REACH = (255, 63)  # bins and frames from one peak of a pair to the other, at most: what those bits can say


class Peaks(NamedTuple):
    """Peaks in slots, second by second, the loudest of each first; where a slot is empty all three are -1."""

    time: Int[Tensor, "*b k"]
    """Frame."""
    frequency: Int[Tensor, "*b k"]
    """Bin."""
    rank: Int[Tensor, "*b k"]
    """0 for the loudest of its second, and so on."""

    def loudest(self, count: int) -> "Peaks":
        """The first `count` of every second; the other slots are emptied."""
        keep = self.rank < count
        return Peaks(*(torch.where(keep, field, -1) for field in self))


class Pairs(NamedTuple):
    """Pairs of peaks, as many slots as peaks times neighbours; -1 where a slot is empty."""

    hash: Int[Tensor, "*b n"]
    """Frequency of the first peak, and the steps in frequency and time to the second, packed: see `unpack`."""
    time: Int[Tensor, "*b n"]
    """Frame of the first peak."""


def peaks(
    sonogram: Float[Tensor, "*b f t"], *, radius: Sequence[int] = (7, 3), density: int = 60, block: int = 31
) -> Peaks:
    """Local maxima of a sonogram, the loudest of every `block` frames.

        P = { (f, t) : S[f, t] = max S[f ± radius, t ± radius] },   of each block the `density` highest

    Neither gain nor a filter that is flat over a peak's surroundings moves them. Frequencies under 1/128 of the band
    (31 Hz at 8 kHz), where a constant offset lives, hold no peaks.

    Args:
        sonogram: levels in dB `(..., f, t)`.
        radius: bins and frames over which a peak is the highest, to each side; more is fewer peaks.
        density: peaks kept a block, at most.
        block: frames among which they are chosen; 31 are a second of the default recipe.

    Returns:
        `Peaks` with `density` slots a block, `(..., density * ceil(t / block))`.

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
    around = F.max_pool1d(levels, 2 * radius[1] + 1, 1, radius[1]).transpose(1, 2)
    around = F.max_pool1d(around, 2 * radius[0] + 1, 1, radius[0])
    levels = levels.transpose(1, 2)  # frames before bins, as `around` is
    height = torch.where((levels == around) & (levels > SILENCE), levels, -torch.inf)
    height[:, :, : bins // 128] = -torch.inf
    height = F.pad(height, (0, 0, 0, -frames % block), value=-torch.inf).unflatten(1, (-1, block)).flatten(2)
    kept, place = F.pad(height, (0, max(0, density - height.shape[-1])), value=-torch.inf).topk(density)
    time = place // bins + block * torch.arange(height.shape[1], device=height.device)[:, None]
    rank = torch.arange(density, device=height.device).expand_as(place)
    found = (torch.where(kept > -torch.inf, x, -1).reshape(*batch, -1) for x in (time, place % bins, rank))
    return Peaks(*found)


def pairs(peaks: Peaks, neighbours: int = 5) -> Pairs:
    """Each peak with its nearest later ones: two peaks and the time between them say far more than one.

        nearest in  10 Δt + |Δf|  among  0 < Δt <= 63,  |Δf| <= 255  (frames, bins),   hash = (f, Δf, Δt)

    They are sought among the `13 neighbours` peaks that come next in time.

    Args:
        peaks: see `peaks`.
        neighbours: pairs a peak, at most; n_v in the course.

    Returns:
        `Pairs` with `neighbours` slots a peak.

    >>> found = pairs(Peaks(*torch.tensor([[[9, 12, -1]], [[20, 40, -1]], [[0, 1, -1]]])), neighbours=1)
    >>> [x[0, 0].item() for x in unpack(found.hash)], found.time[0, 0].item()
    ([20, 20, 3], 9)
    """
    if neighbours < 1:
        raise ValueError(f"neighbours: expected 1 or more, got {neighbours}; the course takes 5.")
    order = torch.where(peaks.rank < 0, 2**40, peaks.time).sort(dim=-1, stable=True)[1]
    order = order[..., : max(1, int((peaks.rank >= 0).sum(-1).max()))]  # empty slots stand at the end: they are cut off
    time, frequency, rank = (x.gather(-1, order) for x in peaks)
    ahead = 13 * neighbours

    def later(x: Tensor) -> Tensor:
        return F.pad(x, (0, ahead), value=-1).unfold(-1, ahead + 1, 1)[..., 1:]

    step, rise = later(time) - time[..., None], later(frequency) - frequency[..., None]
    valid = (later(rank) >= 0) & (rank[..., None] >= 0) & (step > 0) & (step <= REACH[1]) & (rise.abs() <= REACH[0])
    distance = (10 * step + rise.abs()) * ahead + torch.arange(ahead, device=step.device)  # of two as near, the earlier
    distance, nearest = torch.where(valid, distance, 2**40).topk(neighbours, largest=False)
    key = pack(frequency[..., None], rise.gather(-1, nearest), step.gather(-1, nearest))
    return Pairs(*(torch.where(distance < 2**40, x, -1).flatten(-2) for x in (key, time[..., None])))


def pack(frequency: Tensor, rise: Tensor, step: Tensor) -> Tensor:
    """Hash of a pair: `frequency` of its first peak, `rise` in bins and `step` in frames to its second; 26 bits."""
    return ((frequency << _BITS[0]) + rise + REACH[0] + 1 << _BITS[1]) + step


def unpack(hash: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Frequency, rise and step of hashes: what `pack` packed."""
    pair = hash >> _BITS[1]
    return pair >> _BITS[0], (pair & 2 * REACH[0] + 1) - REACH[0] - 1, hash & REACH[1]
