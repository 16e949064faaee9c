"""Generated music in four stems, to train on without recordings.

Domain randomisation (Tobin et al., IROS 2017, doi:10.1109/IROS.2017.8202133): no song sounds quite real, but the songs
differ from each other more than from real ones, and a network that separates all of them separates real songs too.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.lab.data.synthetic.instruments import bass, chords, drums, lead
from tavtorch.lab.data.synthetic.score import Clock, Dice, Harmony
from tavtorch.lab.data.synthetic.sound import compress, equaliser, into_room, level, room
from tavtorch.lab.data.synthetic.voice import sing

STEMS = ("vocals", "drums", "bass", "other")
CHUNK = 20.0  # seconds of music generated at once: more would not fit into the cache


def band(
    songs: int,
    seconds: float,
    *,
    sample_rate: int = 16000,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Float[Tensor, "songs 4 1 t"]:
    """Songs with known stems, in the order of `STEMS`; the sum of the stems is the mixture, whose peak is below 1.

    Each song has its own tempo, key, chords, singer, instruments, rooms and levels.

    Args:
        songs: how many.
        seconds: length of each; from about 20 on a song has two parts that alternate.
        sample_rate: in Hz, from 8000 to 48000.
        generator: the source of randomness, on `device`; the same state gives the same songs.
        device: on which the music is generated and returned; that of the generator, or the CPU.

    >>> band(2, 1.5, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([2, 4, 1, 24000])
    """
    if songs < 1:
        raise ValueError(f"songs: expected at least 1, got {songs}; ask for the number of songs to make.")
    if seconds <= 0:
        raise ValueError(f"seconds: expected more than 0, got {seconds}; 10 are enough to train on, 60 make a song.")
    if not 8000 <= sample_rate <= 48000:
        raise ValueError(f"sample_rate: expected 8000 to 48000 Hz, got {sample_rate}; resample what `band` returns.")
    device = torch.device(device or (generator.device if generator is not None else "cpu"))
    samples, chunk = max(1, round(seconds * sample_rate)), max(1, int(CHUNK / seconds))
    counts = [min(chunk, songs - first) for first in range(0, songs, chunk)]
    parts = [perform(Dice(count, generator, device), samples, sample_rate) for count in counts]
    return torch.cat(parts)[:, :, None]


def perform(dice: Dice, samples: int, rate: int) -> Float[Tensor, "s 4 t"]:
    """Several songs at once: each instrument plays in a room, and all are mixed."""
    clock = Clock.start(dice, samples, rate)
    harmony = Harmony.write(dice, clock)
    vocals, beat = sing(dice, clock, harmony)[:, None], drums(dice, clock)[:, None]
    low, rest = bass(dice, clock, harmony)[:, None], others(dice, clock, harmony)
    stems = (
        produce(dice, clock, vocals, dice.chance(0.7) * 2 ** dice.uniform(-4, 0), 0.15),
        produce(dice, clock, beat, dice.chance(0.6) * dice.uniform(0, 0.5), 0.0),
        produce(dice, clock, low, dice.uniform(0, 0.05), 0.0),
        produce(dice, clock, rest, dice.uniform(0, 0.8), 0.1),
    )
    return mix(dice, torch.stack(stems, 1)[..., :samples], clock.hop)


def others(dice: Dice, clock: Clock, harmony: Harmony) -> Float[Tensor, "s 3 t"]:
    """Two instruments on the chords and one on a tune; the second and the third do not play in every song."""
    parts = torch.stack((chords(dice, clock, harmony), chords(dice, clock, harmony), lead(dice, clock, harmony)), 1)
    loud = torch.stack([level(part, clock.hop) for part in parts.unbind(1)], 1).clamp(min=1e-4)
    gain = 10 ** dice.normal(0.25, 3)
    gain[:, 1:] *= dice.chance(0.6, 2)
    return parts * (gain / loud)[..., None]


def produce(
    dice: Dice, clock: Clock, waves: Float[Tensor, "s i t"], wet: Float[Tensor, "s"], echoing: float
) -> Float[Tensor, "s t"]:
    """Instruments through equalisers, a room, echoes in a share `echoing` of the songs, and a compressor."""
    parts, samples = waves.shape[1:]
    response = room(dice, clock, samples, wet, dice.chance(echoing) * dice.uniform(0.1, 0.5))
    filtered = into_room(waves, equaliser(dice, clock, samples, parts), response)
    return compress(filtered, dice.uniform(0, 0.5), clock.hop)


def mix(dice: Dice, stems: Float[Tensor, "s 4 t"], hop: int) -> Float[Tensor, "s 4 t"]:
    """Stems at the levels of a mixture, below full scale."""
    loud = torch.stack([level(stem, hop) for stem in stems.unbind(1)], 1).clamp(min=1e-4)
    decibels = torch.tensor([2.0, 2.0, 1.0, -2.0], device=dice.device) + dice.normal(5.0, 4)
    stems = stems * (10 ** (decibels / 20) / loud)[..., None]
    peak = stems.sum(1).abs().amax(-1).clamp(min=1e-6)
    return stems * (dice.uniform(0.4, 0.95, 1) / peak[:, None])[..., None]
