"""The score of a generated song: random numbers, clock, rhythms, harmony and notes, for many songs at once.

Shapes: `s` songs, `v` voices of one instrument, `n` steps (sixteenths), `k` control frames (4 ms), `t` samples; of
spectra `f` bins and `m` frames (8 ms).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

BAR = 16  # steps in a bar
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 5, 7, 9, 10))
LOOPS = ((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (0, 3, 4, 3), (0, 3, 0, 4), (5, 4, 3, 4), (0, 2, 3, 4), (1, 4, 0, 5))
# How likely a note begins on each sixteenth of a beat, before the density of the part.
METER = (1.0, 0.15, 0.55, 0.2)


class Dice:
    """Random numbers for some songs at once, all from one generator: `dice.uniform(0, 1, 3)` is `(songs, 3)`."""

    def __init__(self, songs: int, generator: torch.Generator | None, device: torch.device):
        self.songs, self.generator, self.device = songs, generator, device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        draw = torch.rand(self.songs, *shape, generator=self.generator, device=self.device)
        return low + (high - low) * draw

    def normal(self, spread: float, *shape: int) -> Tensor:
        return spread * torch.randn(self.songs, *shape, generator=self.generator, device=self.device)

    def chance(self, probability: float | Tensor, *shape: int) -> Tensor:
        return self.uniform(0, 1, *shape) < probability

    def choice(self, values: Sequence[Any], *shape: int) -> Tensor:
        """One of `values` (numbers, or rows of numbers), each as likely."""
        index = torch.randint(len(values), (self.songs, *shape), generator=self.generator, device=self.device)
        return torch.tensor(values, device=self.device)[index]


class Clock(NamedTuple):
    """Samples, control frames and steps of songs that last as long and have each their own tempo."""

    rate: int  # samples a second
    hop: int  # samples a control frame
    time: Float[Tensor, "k"]  # seconds
    step: Float[Tensor, "s 1 1"]  # seconds a sixteenth
    grid: Int[Tensor, "s 1 k"]  # the step that sounds in a frame
    steps: Int[Tensor, "n"]

    @classmethod
    def start(cls, dice: Dice, samples: int, rate: int) -> "Clock":
        hop = round(rate / 250)
        frames = 2 * -(-samples // (2 * hop)) + 1
        time = torch.arange(frames, device=dice.device) * (hop / rate)
        step = 15 / (60 * 2.7 ** dice.uniform(0, 1, 1, 1))
        grid = (time / step).long()
        return cls(rate, hop, time, step, grid, torch.arange(int(grid.max()) + 2, device=dice.device))


class Notes:
    """Onsets on the steps of a song, and for each control frame the note that sounds, its age and its length."""

    def __init__(self, clock: Clock, onset: Bool[Tensor, "s v n"], delay: Float[Tensor, "s v n"]):
        none, count = torch.full_like(clock.steps, -1), len(clock.steps)
        latest = torch.where(onset, clock.steps, none).cummax(-1).values
        following = torch.where(onset, clock.steps, count).flip(-1).cummin(-1).values.flip(-1).roll(-1, -1)
        following[..., -1] = count
        grid = clock.grid.expand(-1, onset.shape[1], -1)
        self.index = latest.gather(-1, grid)
        self.age = torch.where(self.index >= 0, clock.time - self.index * clock.step - self.held(delay), -1.0)
        self.left = following.gather(-1, grid) * clock.step - clock.time
        self.length = self.age + self.left

    def held(self, values: Tensor) -> Float[Tensor, "s v k"]:
        """The value at the onset of each note, held for its length."""
        return values.expand(*self.index.shape[:2], -1).gather(-1, self.index.clamp(min=0))

    def envelope(self, attack: Tensor, decay: Tensor, sustain: Tensor, gate: Tensor, release: Tensor) -> Tensor:
        """Loudness from the ages of the notes: up in `attack`, towards `sustain`, down in `release` after `gate`."""
        shape = sustain + (1 - sustain) * torch.exp(-self.age.clamp(min=0) / decay)
        return (self.age / attack).clamp(0, 1) * shape * (1 - (self.age - gate) / release).clamp(0, 1)


class Harmony(NamedTuple):
    """Key, scale and the chord of every step; degrees of the scale become semitones above C-1 (MIDI numbers)."""

    key: Float[Tensor, "s 1 1"]
    scale: Int[Tensor, "s 7"]
    chord: Int[Tensor, "s 1 n"]  # degree of its root

    @classmethod
    def write(cls, dice: Dice, clock: Clock) -> "Harmony":
        loops, length = dice.choice(LOOPS, 2), dice.choice((8, 16, 16, 16, 32), 1)
        position = clock.steps // length % 4
        part = (clock.steps // (8 * BAR) % 2).expand_as(position)
        chord = loops.flatten(1).gather(1, 4 * part + position)
        return cls(dice.uniform(0, 12, 1, 1), dice.choice(SCALES), chord[:, None])

    def pitch(self, degree: Int[Tensor, "s v n"]) -> Float[Tensor, "s v n"]:
        octave, tone = degree.div(7, rounding_mode="floor"), degree % 7
        steps = self.scale.gather(1, tone.flatten(1)).view_as(degree)
        return self.key + 12 * octave + steps

    def near(self, degree: Int[Tensor, "s v n"], low: Tensor) -> Float[Tensor, "s v n"]:
        """The same note of the scale in the octave above `low`."""
        return low + (self.pitch(degree) - low) % 12


def rhythm(dice: Dice, clock: Clock, density: Tensor, voices: int = 1) -> Bool[Tensor, "s v n"]:
    """Onsets in repeated patterns of two bars, one for each of two parts of eight bars."""
    meter = torch.tensor(METER, device=dice.device).repeat(8)
    pattern = dice.uniform(0, 1, voices, 2, 2 * BAR) < density[..., None] * meter
    return pattern[:, :, clock.steps // (8 * BAR) % 2, clock.steps % (2 * BAR)]


def playing(dice: Dice, clock: Clock, probability: float | Tensor) -> Bool[Tensor, "s 1 n"]:
    """Whether a part plays, in units of two bars."""
    units = dice.chance(probability, 1, int(clock.steps[-1]) // (2 * BAR) + 1)
    return units[..., clock.steps // (2 * BAR)]


def melody(dice: Dice, harmony: Harmony, span: float) -> Int[Tensor, "s 1 n"]:
    """A walk over the degrees of the scale that turns back `span` degrees from the middle."""
    moves = dice.choice((-4, -3, -2, -2, -1, -1, -1, 0, 0, 0, 1, 1, 1, 2, 2, 3, 5), 1, harmony.chord.shape[-1])
    walk = moves.cumsum(-1) % (4 * span)
    return ((walk - 2 * span).abs() - span).round().long()
