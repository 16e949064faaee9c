"""Clips whose speed, tempo or pitch is changed: which change is likely, and by how much.

Only the clip's side is changed, so that the library stays as it is. Its peaks are moved to where the song has them, if
the clip were changed by one of about 170 hypotheses; votes alone choose among these. The levels of the clip then
tell the change to a fraction of a step.
"""

from math import log

import torch
from torch import Tensor

from tavtorch.audio.recognition.constellation import Change, Peaks, pairs
from tavtorch.audio.recognition.index import Index
from tavtorch.audio.recognition.landmarks import Landmarks
from tavtorch.audio.recognition.search import vote_score
from tavtorch.audio.recognition.shards import Shards

SEARCHED = 4.0
"""What the search for the best of all changes adds to the score of a clip of an unknown song."""

WEAK = 30.0
"""Score below which a clip that is accepted as it is may yet be one of another tempo."""

DOUBTFUL = 12.0
"""Score below which it may yet be changed in any way."""

RANGE = (0.785, 1.275)
"""Least and largest factor that is tried: a little more than -20 to +25 %, and than 4 semitones down and up."""

_STEP = 0.0068
"""Relative step of hypotheses about the frequency: a peak at 800 Hz is at most two thirds of a bin off."""

_TEMPO_STEP = 0.02
"""The same where only the tempo is changed; times are coarser than frequencies."""

_OFF = 0.01
"""Largest relative error of the likeliest hypothesis: half a step of tempo, one and a half of frequency."""

_KINDS = torch.tensor([[1, 1], [1, 0], [0, 1]], dtype=torch.float64)
"""Whether speed, tempo and pitch change the tempo (first) and the pitch (second)."""

_PEAKS, _NEIGHBOURS, _TOLERANCE = 20, 3, 1
"""Loudest peaks in a second, pairs for each, and frames of tolerance, with which hypotheses are told apart."""

_ROWS = 2**15
"""Largest number of rows that are read for a hypothesis."""

_ITEMS = 64
"""Hypotheses that are looked up at once, of all clips; more leave the cache, and take more time."""

_BEST = 6
"""Places by votes that are measured by levels."""

NEAR = 0.022
"""Change up to which clips are recognised as they are, by the two other pitches that are tried for them."""

TOLD = 0.004
"""Least change of tempo alone that is told; the times of hashes are that sure in a few noisy seconds."""

_SHIFTS = 3
"""Frames by which the middle of a clip with a small change may be off."""

_GAIN = 2.5
"""Standard deviations by which a change must raise the score of the levels of an accepted clip to be told."""


def hypotheses(device: torch.device | str = "cpu") -> list[Change]:
    """The changes of speed, of tempo, and of pitch that are tried, from `RANGE[0]` to `RANGE[1]` in equal ratios."""
    tried = []
    for kind, step in zip(_KINDS.tolist(), (_STEP, _TEMPO_STEP, _STEP), strict=True):
        ratio = log(RANGE[1] / RANGE[0])
        factor = torch.linspace(0, ratio, 1 + round(ratio / step), dtype=torch.float64, device=device).exp() * RANGE[0]
        tried.append(Change(*(factor**x for x in kind)))
    return tried


def likely(index: Index | Shards, clips: Landmarks) -> tuple[Tensor, Change]:
    """The places `(b, n)` of clips with most votes among all hypotheses, as start on the timeline, and the change."""
    tried = Change(*(torch.cat(x) for x in zip(*hypotheses(index.device), strict=True)))
    count, loud = len(tried.tempo), clips.peaks.loudest(_PEAKS)
    loud = Peaks(*(field.unflatten(1, (-1, clips.recipe.density))[..., :_PEAKS].flatten(1) for field in loud))
    scores, starts = [], []
    for item in torch.arange(len(clips.hash) * count, device=index.device).split(_ITEMS):
        change = Change(*(x[item % count] for x in tried))
        some = change.undone(Peaks(*(field[item // count] for field in loud)))
        start, votes = index.vote(pairs(some, _NEIGHBOURS), _BEST, tolerance=_TOLERANCE, budget=_ROWS)
        scores.append(torch.where(votes > 0, vote_score(votes, index.songs(start)), -torch.inf)[:, :3])
        starts.append(start[:, :3])
    best = torch.cat(scores).reshape(len(clips.hash), -1).topk(_BEST, 1)[1]
    start = torch.cat(starts).reshape(len(clips.hash), -1).gather(1, best)
    return start, Change(*(x[best // 3] for x in tried))


def measured(index: Index | Shards, clips: Landmarks, count: int = 2) -> Change:
    """The `count` likeliest changes `(b, count)` of clips with `evidence`, measured to a fraction of a step."""
    start, change = likely(index, clips)
    factors = 1 + _OFF * torch.linspace(-1, 1, 7, dtype=torch.float64, device=index.device)
    kinds = Change((change.tempo != 1).double(), (change.pitch != 1).double())
    score, found = _refined(index, clips, start, change, factors, kinds, shifts=2)
    best = score.topk(count, 1)[1]
    return Change(*(x.gather(1, best) for x in found))


def small(index: Index | Shards, clips: Landmarks, start: Tensor) -> Change:
    """The change `(b,)` of clips that were recognised at `start` nearly as they are: at most about 2 %.

    It is 1 unless a change raises the score of the levels by `_GAIN`.
    """
    factors = 1 + torch.linspace(-1.25 * NEAR, 1.25 * NEAR, 11, dtype=torch.float64, device=index.device)
    kinds = Change(*_KINDS[:2].T.to(index.device)[:, None, :].expand(2, len(start), 2))  # a small change of pitch is
    none = torch.ones_like(kinds.tempo)  # told from one of speed by times, see `fitted`
    score, found = _refined(
        index, clips, start[:, None].expand(-1, 2), Change(none, none), factors, kinds, shifts=_SHIFTS
    )
    score, best = score.max(1, keepdim=True)
    found = Change(*(x.gather(1, best) for x in found))
    changed = score > _as_it_is(index, clips, start[:, None]) + _GAIN
    for factor in found:
        changed &= (factor - 1).abs() < NEAR  # more is not small, and not the top of the parabola
    return Change(*(torch.where(changed, x, 1.0)[:, 0] for x in found))


def stretched(index: Index | Shards, clips: Landmarks, start: Tensor) -> tuple[Tensor, Change]:
    """Whether clips `(b,)` that were recognised at `start`, but hardly, are changed in tempo, and this change.

    Some seconds of a stretched clip agree with the song as it is, about any moment of the clip: so all moments that may
    stay where they are in the song are tried at all tempos.
    """
    tempo = hypotheses(index.device)[1].tempo
    moment = torch.linspace(0, clips.frames, 15, dtype=torch.float64, device=index.device)
    begin = start[:, None, None] + moment * (1 - tempo[:, None])
    shape = begin.shape
    score = index.verify(begin.flatten(1), clips, tempo=tempo[:, None].expand(shape).flatten(1)).reshape(len(start), -1)
    score, best = score.max(1, keepdim=True)

    one = torch.ones_like(start, dtype=torch.float64)[:, None]
    found = Change(tempo[best // len(moment)], one)
    factors = 1 + _TEMPO_STEP * torch.linspace(-0.75, 0.75, 7, dtype=torch.float64, device=index.device)
    place = begin.flatten(1).gather(1, best)
    better, found = _refined(index, clips, place, found, factors, Change(one, 0 * one), shifts=1)
    is_changed = better > _as_it_is(index, clips, start[:, None]) + _GAIN
    return is_changed[:, 0], Change(*(x[:, 0] for x in found))


def _as_it_is(index: Index | Shards, clips: Landmarks, start: Tensor) -> Tensor:
    """Score of the levels of clips without a change, up to `_SHIFTS` frames from `start`; both are `(b, 1)`."""
    shift = torch.arange(-_SHIFTS, _SHIFTS + 1, device=index.device)
    return index.verify(start + shift, clips).amax(1, keepdim=True)


def fitted(index: Index | Shards, clips: Landmarks, start: Tensor, change: Change) -> tuple[Tensor, Tensor]:
    """Start and tempo `(b,)` of clips that were recognised at `start` and `change`, by the times of equal hashes.

        frame in the song = start + tempo · frame in the clip,   least squares over the hashes within 3 frames of it

    Peaks have sharper times than levels, and tell the tempo to a tenth of a per cent in ten seconds.
    """
    clip, frame, time = index.lookup(pairs(change.undone(clips.peaks), 10), tolerance=_TOLERANCE)
    after = (frame - start[clip]).double()  # whole frames, whose sums are exact in any order
    shift, slope = torch.zeros_like(change.tempo), torch.ones_like(change.tempo)
    for reach in (3.0, 2.0, 2.0):
        near = (after - shift[clip] - slope[clip] * time).abs() <= reach
        x, y, of = time[near].double(), after[near], clip[near]
        sums = [
            torch.bincount(of, weights=value, minlength=len(start))
            for value in (torch.ones_like(x), x, y, x * x, x * y)
        ]
        count, mean_x, mean_y, xx, xy = index.total(torch.stack(sums).double())  # of no rows they are whole numbers
        count = count.clamp(min=1)
        mean_x, mean_y = mean_x / count, mean_y / count
        spread = xx - count * mean_x.square()
        step = torch.where(spread > 0, (xy - count * mean_x * mean_y) / spread.clamp(min=1e-9), slope)
        is_sound = (count >= 8) & ((step - 1).abs() < 0.03)
        slope = torch.where(is_sound, step, slope)
        shift = torch.where(is_sound, mean_y - slope * mean_x, shift)
    return start + shift, change.tempo * slope


def is_speed(index: Index | Shards, clips: Landmarks, start: Tensor, tempo: Tensor) -> Tensor:
    """Whether the pitch of clips `(b,)` is changed as their tempo is, by so little that only levels at both tell.

    The levels at both must be a score of 1 higher: of equal ones the change of tempo alone is told.
    """
    pitch = torch.stack((torch.ones_like(tempo), tempo), 1)
    score = index.verify(start.round()[:, None].expand_as(pitch), clips, tempo=tempo[:, None], pitch=pitch)
    return score[:, 1] > score[:, 0] + 1.0


def _refined(
    index: Index | Shards,
    clips: Landmarks,
    start: Tensor,
    change: Change,
    factors: Tensor,
    kinds: Change,
    *,
    shifts: int,
) -> tuple[Tensor, Change]:
    """Places and changes `(b, n)` with the change varied by `factors`, where the levels are highest: score and change.

    The middle of the clip stays where it is in the song, up to `shifts` frames. Between two factors, the top of the
    parabola through three scores is taken.

    Args:
        kinds: 1 where tempo and pitch are varied, else 0.
    """
    shift = torch.arange(-shifts, shifts + 1, device=index.device)
    varied = Change(
        *(x[..., None, None] * factors[:, None] ** kind[..., None, None] for x, kind in zip(change, kinds, strict=True))
    )
    begin = start[..., None, None] + shift + (change.tempo[..., None, None] - varied.tempo) * clips.frames / 2
    shape = begin.shape
    tempo, pitch = (x.expand(shape).flatten(1) for x in varied)
    score = index.verify(begin.flatten(1), clips, tempo=tempo, pitch=pitch).reshape(shape).amax(-1)

    middle = score[..., 1:-1].argmax(-1, keepdim=True) + 1
    before, top, after = (score.gather(-1, middle + i)[..., 0] for i in (-1, 0, 1))
    bend = (before - 2 * top + after).clamp(max=-1e-6)
    aside = (0.5 * (before - after) / bend).clamp(-1, 1)
    factor = factors[middle[..., 0]] + aside * (factors[1] - factors[0])
    return score.amax(-1), Change(*(x * factor**kind for x, kind in zip(change, kinds, strict=True)))
