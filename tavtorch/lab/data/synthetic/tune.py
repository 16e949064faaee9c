"""Tunes on a few pitches, with a stem for each pitch: what a factorisation should find."""

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.lab.data.synthetic.score import Clock, Dice, Notes
from tavtorch.lab.data.synthetic.sound import glide, hertz, pulses, turns


def tune(
    songs: int, notes: int, seconds: float, *, sample_rate: int = 16000, generator: torch.Generator | None = None
) -> Float[Tensor, "songs notes 1 t"]:
    """Tunes on `notes` pitches of a plucked instrument, a stem a pitch, from low to high; below full scale together.

    Each pitch sounds once by itself, in turn; then one falls on nearly every eighth, and sometimes two.

    Args:
        songs: how many, each with its own tempo, pitches and instrument.
        notes: pitches of each.
        seconds: length of each.
        sample_rate: in Hz.
        generator: the source of randomness; the same state gives the same tunes.

    >>> tune(2, 4, 1.5, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([2, 4, 1, 24000])
    """
    if min(songs, notes) < 1 or not seconds > 0:
        raise ValueError(f"tune: expected songs, notes and seconds above 0, got {songs}, {notes} and {seconds}.")
    dice, samples = Dice(songs, generator, torch.device("cpu")), max(1, round(seconds * sample_rate))
    clock = Clock.start(dice, samples, sample_rate)
    played = Notes(clock, _onsets(dice, clock, notes), dice.uniform(0, 0.01, notes, len(clock.steps)))
    pitch = dice.uniform(50, 62, 1, 1) + dice.choice((3, 4, 5), notes, 1).cumsum(1)
    frequency = hertz(pitch).expand_as(played.age)
    fall = torch.exp(-played.age.clamp(min=0) / 0.3)
    wave = pulses(turns(frequency, clock), frequency, dice.uniform(500, 1500, 1, 1) * (0.7 + 0.3 * fall), clock)
    decay, silent = dice.uniform(0.2, 0.6, 1, 1), torch.zeros(())
    loud = played.envelope(torch.tensor(0.02), decay, silent, played.length, torch.tensor(0.03))
    loud = loud * played.held(10 ** dice.normal(0.15, notes, len(clock.steps)))
    stems = (wave * glide(loud, clock.hop))[..., :samples]
    return (0.7 * stems / stems.sum(1, keepdim=True).abs().amax(-1, keepdim=True).clamp(min=1e-6))[:, :, None]


def _onsets(dice: Dice, clock: Clock, notes: int) -> Tensor:
    """Which pitch is struck on which sixteenth, `(s, v, n)`."""
    eighth, voice = clock.steps // 2, torch.arange(notes)[:, None]
    first, second = (dice.choice(tuple(range(notes)), 1, len(eighth)) for _ in range(2))
    random = (voice == first) & dice.chance(0.9, 1, len(eighth)) | (voice == second) & dice.chance(0.25, 1, len(eighth))
    onset = torch.where(eighth < notes, voice == eighth, random)
    return onset & (clock.steps % 2 == 0)
