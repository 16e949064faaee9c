"""A synthetic singer: glottal pulses and breath noise, filtered by a moving vocal tract.

Source and filter after Fant, "Acoustic theory of speech production", 1960, and Klatt, "Software for a cascade/parallel
formant synthesizer", JASA 67(3), 1980, doi:10.1121/1.383940: harmonics and noise are generated separately, and the
tract is an all-pole filter on their short-time spectra.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from tavtorch.audio.sonogram import spectrum, waveform
from tavtorch.lab.data.synthetic.score import BAR, Clock, Dice, Harmony, Notes, melody, playing, rhythm
from tavtorch.lab.data.synthetic.sound import drift, glide, hertz, pulses, smooth, turns

# Hertz of the first four formants of a man's vowels (Peterson & Barney 1952, and others): i y e u o ə, twice as often
# as the open ɛ a ɑ ɔ ɚ ɤ.
VOWELS = 2 * (
    (270, 2290, 3010, 3600), (270, 1900, 2300, 3300), (400, 2000, 2600, 3400),
    (310, 870, 2240, 3300), (450, 800, 2500, 3300), (480, 1500, 2500, 3500),
) + (
    (530, 1840, 2480, 3400), (730, 1250, 2500, 3400), (710, 1090, 2440, 3300),
    (590, 880, 2410, 3300), (490, 1350, 1690, 3300), (460, 1150, 2500, 3400),
)  # fmt: skip
UPPER = (4500.0, 5500.0, 6500.0, 7500.0)  # the formants that hardly move
BANDWIDTHS = (100.0, 100.0, 130.0, 180.0, 250.0, 300.0, 400.0, 500.0)
# Consonants: seconds, loudness of the voice meanwhile, closing of the mouth, breath, hiss, its centre and width in Hz.
CONSONANTS = 3 * (
    (0.01, 1.00, 0.0, 0.0, 0.0, 4000, 1000),  # none
    (0.07, 0.50, 1.0, 0.0, 0.0, 4000, 1000),  # m n
    (0.06, 0.70, 0.5, 0.0, 0.0, 4000, 1000),  # l w
) + (
    (0.13, 0.02, 0.0, 0.0, 1.0, 6500, 1500),  # s
    (0.12, 0.02, 0.0, 0.1, 0.7, 3800, 1000),  # sh
    (0.08, 0.02, 0.0, 0.3, 0.1, 5000, 2500),  # f
    (0.07, 0.10, 0.0, 1.0, 0.0, 2500, 1000),  # h
    (0.06, 0.00, 0.0, 0.5, 0.4, 4500, 2000),  # t k p
    (0.04, 0.15, 0.8, 0.2, 0.1, 3000, 1500),  # d g b
)


class Singer(NamedTuple):
    """The properties of a singer that are constant in a song, one number per song."""

    pitch: Float[Tensor, "s 1 1"]  # the middle of the range, in semitones
    tract: Float[Tensor, "s 1 1"]  # formants over those of a man: a shorter tract has higher ones
    tilt: Float[Tensor, "s 1 1"]  # how steeply the harmonics of the glottis fall,
    strong: Float[Tensor, "s 1 1"]  # and from which harmonic on
    breath: Float[Tensor, "s 1 1"]
    vibrato: Float[Tensor, "s 1 1"]  # cents
    agility: Float[Tensor, "s"]  # control frames from one pitch to the next
    spoken: Float[Tensor, "s 1 1"]  # 1 for those who speak

    @classmethod
    def meet(cls, dice: Dice) -> "Singer":
        middle = dice.uniform(44, 69, 1, 1)
        return cls(
            pitch=middle,
            tract=torch.exp2((middle - 50) * 0.014 + dice.normal(0.08, 1, 1)),
            tilt=dice.uniform(0.8, 1.9, 1, 1),
            strong=dice.uniform(0.3, 1.4, 1, 1),
            breath=0.02 * 10 ** dice.uniform(0, 1, 1, 1),
            vibrato=dice.choice((0.0, 10.0, 20.0, 40.0, 70.0), 1, 1) * dice.uniform(0.5, 1.5, 1, 1),
            agility=dice.uniform(10, 50),
            spoken=dice.chance(0.12, 1, 1).float(),
        )


def sing(dice: Dice, clock: Clock, harmony: Harmony) -> Float[Tensor, "s t"]:
    """One voice a song: a melody in phrases, sung on syllables of consonants and vowels; sometimes doubled."""
    singer, onset = Singer.meet(dice), phrases(dice, clock)
    delay = dice.uniform(0, 0.03, 1, len(clock.steps))
    pitch = intonation(dice, clock, harmony, singer, Notes(clock, onset, delay))
    slurred = dice.chance(dice.uniform(0, 0.4, 1, 1), 1, len(clock.steps))
    syllables = Notes(clock, onset & ~slurred, delay)
    mouth = articulation(dice, clock, syllables)
    source = glottis(dice, clock, pitch) * glide(mouth["voice"], clock.hop)[:, 0]
    hop = 2 * clock.hop
    voiced = spectrum(source, n_fft=4 * hop, hop=hop)
    tract = formants(dice, clock, singer, syllables, hertz(pitch), voiced.shape[-2])
    voiced = voiced * tract * slope(clock, singer, mouth, hertz(pitch), voiced.shape[-2])
    return waveform(voiced + hiss(dice, clock, singer, mouth, tract, voiced), source.shape[-1], hop=hop)


def phrases(dice: Dice, clock: Clock) -> Tensor:
    """Onsets `(s, 1, n)`: phrases of one to two bars, each with its rest."""
    onset = rhythm(dice, clock, dice.uniform(0.8, 2.4, 1, 1))
    unit = clock.steps // (2 * BAR)
    first = dice.choice((0, 0, 0, 2, 4, 6), 1, int(unit[-1]) + 1)[..., unit]
    last = dice.choice((20, 24, 26, 28, 30, 32), 1, int(unit[-1]) + 1)[..., unit]
    step = clock.steps % (2 * BAR)
    return onset & (step >= first) & (step < last) & playing(dice, clock, 0.85)


def intonation(dice: Dice, clock: Clock, harmony: Harmony, singer: Singer, notes: Notes) -> Float[Tensor, "s 1 k"]:
    """Semitones: the melody with glides, scoops, bends, vibrato, drift; or the free contour of one who speaks."""
    steps = len(clock.steps)
    tune = harmony.pitch(melody(dice, harmony, 6))
    tune = tune + ((singer.pitch - tune.mean(-1, keepdim=True)) / 12).round() * 12
    scoop = dice.chance(0.5, 1, steps) * dice.normal(2.0, 1, steps)
    bend = dice.chance(0.5, 1, steps) * dice.normal(1.5, 1, steps)
    depth = singer.vibrato / 100 * dice.uniform(0, 1.3, 1, steps)
    calm = torch.full((dice.songs,), 40.0, device=dice.device)
    speed = 5.5 + dice.normal(0.6, 1, 1) + 0.4 * drift(dice, calm, 1, len(clock.time))
    wobble = torch.sin(2 * math.pi * (speed * clock.hop / clock.rate).cumsum(-1))
    age = notes.age.clamp(min=0)
    sung = smooth(notes.held(tune), singer.agility)
    sung = sung - notes.held(scoop) * torch.exp(-age / 0.06)
    sung = sung + notes.held(bend) * (age / notes.length.clamp(min=0.1) - 0.5).clamp(-0.5, 0.5)
    sung = sung + notes.held(depth) * ((age - 0.15) / 0.3).clamp(0, 1) * wobble
    said = singer.pitch - 5 + 3 * drift(dice, calm, 1, len(clock.time)) - 3 * (age / 0.4).clamp(max=1)
    loose = dice.uniform(0.05, 0.4, 1, 1) * drift(dice, dice.uniform(12, 40), 1, len(clock.time))
    pitch = sung + singer.spoken * (said - sung) + loose
    return pitch + dice.uniform(0, 0.1, 1, 1) * dice.normal(1.0, 1, len(clock.time))


def articulation(dice: Dice, clock: Clock, notes: Notes) -> dict[str, Tensor]:
    """Articulation in each frame: loudness of voice, breath and hiss, spectrum of the hiss, closing of the mouth."""
    steps = len(clock.steps)
    rows = dice.choice(CONSONANTS, 1, steps)
    time, voice, closed, breath, noise, centre, width = (notes.held(rows[..., i]) for i in range(7))
    time = time * notes.held(dice.uniform(0.6, 1.5, 1, steps))
    vowel = ((notes.age - time) / 0.025).clamp(0, 1)
    attack = (notes.age / 0.03).clamp(0, 1)
    gate = notes.length.clamp(max=3.0) * notes.held(dice.uniform(0.7, 1.1, 1, steps))
    ending = (1 - (notes.age - gate) / dice.uniform(0.05, 0.15, 1, 1)).clamp(0, 1)
    fading = torch.exp(-notes.age.clamp(min=0) * dice.uniform(0, 0.8, 1, 1))
    slow = torch.full((dice.songs,), 12.0, device=dice.device)
    shimmer = (0.15 * drift(dice, slow, 1, len(clock.time))).exp()
    loud = notes.held(10 ** dice.normal(0.12, 1, steps)) * fading * shimmer * ending * attack
    nasal = notes.held(dice.chance(0.3, 1, steps).float()) * ((notes.age - gate + 0.1) / 0.05).clamp(0, 1)
    inhaling = dice.uniform(0, 1.0, 1, 1) * (notes.left < 0.4) * (notes.left > 0.06) * (1 - ending)
    return {
        "voice": loud * (voice + (1 - voice) * vowel) * (1 - 0.5 * nasal),
        "breath": attack * (1 - vowel) * breath + smooth(inhaling, slow),
        "hiss": attack * (1 - vowel) * noise,
        "centre": centre * notes.held(dice.uniform(0.8, 1.2, 1, steps)),
        "width": width,
        "closed": torch.maximum(closed * (1 - vowel), 0.7 * nasal),
    }


def glottis(dice: Dice, clock: Clock, pitch: Float[Tensor, "s 1 k"]) -> Float[Tensor, "s t"]:
    """Pulse trains: the singer, and for one song in four a second take or a parallel voice."""
    interval = dice.choice((0.0, 0.0, 0.0, 3.0, 4.0, -5.0, 12.0), 1, 1)
    slow = torch.full((dice.songs,), 30.0, device=dice.device)
    second = pitch + interval + 0.12 * drift(dice, slow, 1, len(clock.time))
    both = torch.cat((pitch, second), 1)
    frequency = hertz(both) * (1 + 0.004 * dice.normal(1.0, 2, len(clock.time)))
    loud = torch.stack((torch.ones(dice.songs, device=dice.device), dice.chance(0.25) * dice.uniform(0.3, 1)), -1)
    return (pulses(turns(frequency, clock), frequency, frequency.new_tensor(1e9), clock) * loud[..., None]).sum(1)


def formants(
    dice: Dice, clock: Clock, singer: Singer, notes: Notes, frequency: Float[Tensor, "s 1 k"], bins: int
) -> Float[Tensor, "s f m"]:
    """Gain of the vocal tract: a digital all-pole filter of eight formants, with unit gain at 0 Hz.

        |H|^-2 = prod_i |1 - 2 r_i cos(w_i) z + r_i^2 z^2|^2 / its value at 0 Hz,    z = exp(-i w)

    Each factor is a quadratic in `y = 1 - cos w`: two of them are multiplied to a quartic, which a matrix product
    evaluates in all bins and frames. A tract that is shorter by a factor stretches the whole curve.
    """
    track = vowels(dice, clock, notes)
    track = torch.cat((track, track.new_tensor(UPPER)[:, None].expand(dice.songs, -1, track.shape[-1])), 1)
    # A pole too near to its mirror image at 8 kHz would whistle.
    track = (track * (1 + dice.normal(0.03, 8, 1))).clamp(max=7600)
    # Those who sing high open the mouth until the first formant is at the pitch (Sundberg 1975).
    track[:, :1] = torch.maximum(track[:, :1], 0.95 * frequency / singer.tract)
    width = track.new_tensor(BANDWIDTHS)[:, None] * torch.exp2(dice.uniform(-0.7, 0.9, 8, 1))
    r, turned = torch.exp(-width * (math.pi / 16000)), 1 - torch.cos(track[..., ::2] * (math.pi / 8000))
    at_zero = ((1 - r) ** 2 + 2 * r * turned) ** 2
    first, second = 4 * r * (((1 - r) ** 2) * (1 - turned) - 2 * r * turned) / at_zero, 4 * r * r / at_zero
    one = torch.ones_like(first[:, ::2])
    (p, q), (u, v) = (first[:, ::2], second[:, ::2]), (first[:, 1::2], second[:, 1::2])
    quartics = torch.stack((one, p + u, q + v + p * u, p * v + q * u, q * v), 2)
    w = torch.arange(bins, device=dice.device)[:, None] * (clock.rate / 2 / (bins - 1) * math.pi / 8000)
    y = 1 - torch.cos((w / singer.tract).clamp(max=math.pi))
    a, b, c, d = (y ** torch.arange(5, device=dice.device))[:, None].matmul(quartics).unbind(1)
    return (a * b).mul_(c).mul_(d).clamp_(min=1e-4).rsqrt_()


def vowels(dice: Dice, clock: Clock, notes: Notes) -> Float[Tensor, "s 4 k"]:
    """Formants of the syllables: each goes from a vowel to another or stays, and flows into the next."""
    steps = len(clock.steps)
    start, end = dice.choice(VOWELS, steps).float(), dice.choice(VOWELS, steps).float()
    end = torch.where(dice.chance(0.4, steps, 1), end, start)
    index = notes.index.clamp(min=0)[:, 0, :, None].expand(-1, -1, 4)
    blend = ((notes.age / notes.length.clamp(0.1, 1.0) - 0.3) / 0.5).clamp(0, 1)
    track = torch.lerp(start.gather(1, index).mT, end.gather(1, index).mT, blend)
    return smooth(track, dice.uniform(8, 30))


def slope(
    clock: Clock, singer: Singer, mouth: dict[str, Tensor], frequency: Float[Tensor, "s 1 k"], bins: int
) -> Float[Tensor, "s f m"]:
    """Spectrum of the glottis, `(1 + f / (strong f0))^-tilt`: steeper when soft or when the mouth is closed."""
    tilt = singer.tilt + 1.5 * mouth["closed"] + 0.3 * (1 - mouth["voice"].clamp(max=1))
    across = torch.arange(bins, device=tilt.device)[:, None] * (clock.rate / 2 / (bins - 1))
    return torch.exp(-tilt[..., ::2] * torch.log1p(across / (singer.strong * frequency)[..., ::2]))


def hiss(
    dice: Dice, clock: Clock, singer: Singer, mouth: dict[str, Tensor], tract: Tensor, voiced: Complex[Tensor, "s f m"]
) -> Complex[Tensor, "s f m"]:
    """Breath through the tract and noise at the teeth, as loud as the voice has them."""
    noise = torch.complex(dice.normal(1.0, *voiced.shape[1:]), dice.normal(1.0, *voiced.shape[1:]))
    loud = voiced.abs().square().mean((1, 2), keepdim=True).sqrt()
    across = torch.arange(voiced.shape[-2], device=voiced.device)[:, None] * (clock.rate / 2 / (voiced.shape[-2] - 1))
    colour = torch.exp(-(((across - mouth["centre"][..., ::2]) / mouth["width"][..., ::2]) ** 2))
    breath = tract * (singer.breath * mouth["voice"] + 0.2 * mouth["breath"])[..., ::2]
    return noise * loud * (dice.uniform(0.4, 2.0, 1, 1) * colour * mouth["hiss"][..., ::2] + 0.1 * breath)
