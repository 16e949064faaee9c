"""The accompaniment: drums, bass, chords and a lead instrument."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.lab.data.synthetic.score import BAR, Clock, Dice, Harmony, Notes, melody, playing, rhythm
from tavtorch.lab.data.synthetic.sound import bells, glide, hertz, pulses, smooth, turns

# Struck and sustained sounds: attack and decay in s, sustained level, brightness in Hz, its decay in s, depth and ratio
# of the frequency modulation, vibrato in cents, breath, overdrive.
TIMBRES = (
    (0.004, 0.70, 0.0, 1200, 0.40, 0.0, 1, 0, 0.00, 0.0),  # piano
    (0.003, 0.50, 0.0, 1500, 0.20, 0.0, 1, 0, 0.00, 0.0),  # plucked strings
    (0.003, 0.12, 0.0, 1200, 0.08, 0.0, 1, 0, 0.01, 0.0),  # muted guitar
    (0.005, 0.80, 0.2, 1800, 9.00, 0.0, 1, 0, 0.00, 4.0),  # electric guitar
    (0.004, 0.90, 0.1, 400, 0.50, 1.2, 1, 4, 0.00, 0.0),  # electric piano
    (0.003, 0.40, 0.0, 300, 0.20, 1.5, 3.5, 0, 0.00, 0.0),  # mallets, bells
    (0.015, 9.00, 1.0, 700, 9.00, 0.0, 1, 6, 0.00, 0.3),  # organ
    (0.150, 9.00, 1.0, 1200, 9.00, 0.0, 1, 8, 0.01, 0.0),  # strings
    (0.400, 9.00, 1.0, 600, 9.00, 0.4, 2, 6, 0.01, 0.0),  # pad
    (0.050, 0.60, 0.7, 1600, 0.50, 0.6, 1, 8, 0.01, 0.5),  # brass
    (0.060, 9.00, 0.9, 350, 9.00, 0.2, 1, 18, 0.06, 0.0),  # flute
    (0.090, 9.00, 0.9, 1500, 9.00, 0.0, 1, 25, 0.02, 0.0),  # violin
    (0.010, 0.50, 0.6, 1800, 0.30, 0.3, 2, 10, 0.00, 1.0),  # synthesiser
    (0.030, 9.00, 0.8, 1100, 9.00, 0.5, 1, 15, 0.03, 1.0),  # reeds
)
# Level of a stroke; hertz of the drum at rest, rise of the pitch at the stroke, seconds in which that falls, and of the
# tone; level of the noise, its centre in Hz, its width in octaves, its seconds.
KIT = (
    (3.0, 52, 3.0, 0.05, 0.18, 0.05, 3000, 1.0, 0.01),  # kick
    (1.0, 190, 0.6, 0.02, 0.08, 1.20, 3000, 1.5, 0.12),  # snare
    (0.3, 0, 0.0, 0.02, 0.01, 1.00, 8000, 0.7, 0.03),  # closed hat
    (0.3, 0, 0.0, 0.02, 0.01, 1.00, 7500, 0.8, 0.25),  # open hat
    (1.0, 110, 0.8, 0.05, 0.20, 0.15, 1500, 1.5, 0.05),  # tom
    (0.4, 0, 0.0, 0.02, 0.01, 1.00, 6000, 1.2, 0.70),  # crash
    (0.7, 0, 0.0, 0.02, 0.01, 1.00, 1500, 0.6, 0.09),  # clap
)
# Octaves by which they differ from song to song: kicks of machines fall and hum on for half a second.
SPREAD = (0.8, 0.4, 0.6, 1.0, 1.0, 0.4, 0.4, 0.4, 0.4)
# Sixteenths of a bar on which the kick falls, and those of the snare.
GROOVES = (
    ((0, 8), (4, 12)),
    ((0, 6, 8), (4, 12)),
    ((0, 4, 8, 12), (4, 12)),
    ((0, 10), (4, 12)),
    ((0, 3, 8, 11), (4, 12)),
    ((0, 7, 10), (4, 12)),
    ((0, 10), (8,)),
    ((0, 6, 12), (4, 10)),
)


def drums(dice: Dice, clock: Clock) -> Float[Tensor, "s t"]:
    """A kit of seven pieces; each stroke ends the one before it on the same piece."""
    kit, hits = strokes(dice, clock), drum_onsets(dice, clock)
    samples, steps = (len(clock.time) - 1) * clock.hop, len(clock.steps)
    latest = torch.where(hits, clock.steps, -steps).cummax(-1).values
    stress = torch.where(clock.steps % 4 == 0, 1.0, 0.7) * dice.uniform(0.3, 1, 7, 1)
    loud = (10 ** dice.normal(0.12, 7, steps) * stress).gather(-1, latest.clamp(min=0))
    delay = dice.uniform(0, 0.008, 7, steps).gather(-1, latest.clamp(min=0))
    start = ((latest * clock.step + delay) * clock.rate).long()
    now = torch.arange(samples, device=dice.device)
    step = (now / (clock.step * clock.rate)).long().clamp(max=steps - 1).expand(-1, 7, -1)
    age = (now - start.gather(-1, step)).clamp_(0, kit.shape[-1] - 1)
    return kit.gather(-1, age).mul_(loud.gather(-1, step)).sum(1)


def strokes(dice: Dice, clock: Clock) -> Float[Tensor, "s 7 t"]:
    """A stroke on each piece: a tone of falling frequency and a decaying band of noise."""
    length = int(0.6 * clock.rate)
    time = torch.arange(length, device=dice.device) / clock.rate
    kit, spread = torch.tensor(KIT, device=dice.device), torch.tensor(SPREAD, device=dice.device)
    kit = kit * torch.exp2(spread * dice.normal(1.0, *kit.shape))
    loud, pitch, rise, fall, ring, noise, centre, width, fade = kit.unsqueeze(-1).unbind(-2)
    phase = pitch * (time + rise * fall * (1 - torch.exp(-time / fall)))
    tone = torch.sin(2 * math.pi * phase) * torch.exp(-time / ring)
    frequency = torch.fft.rfftfreq(length, 1 / clock.rate, device=dice.device).clamp(min=20)
    colour = torch.exp(-((torch.log2(frequency / centre) / width) ** 2))
    hiss = torch.fft.irfft(torch.fft.rfft(dice.normal(1.0, 7, length)) * colour, n=length)
    hiss = hiss / hiss.std(-1, keepdim=True) * torch.exp(-time / fade)
    return loud * (tone + 0.5 * noise * hiss) * (time / 0.001).clamp(max=1) * ((time[-1] - time) / 0.05).clamp(max=1)


def drum_onsets(dice: Dice, clock: Clock) -> Tensor:
    """Onsets of each piece, `(s, 7, n)`: a groove with hats, variations, and a fill at the end of every four bars."""
    step = clock.steps % BAR
    groove = torch.zeros(len(GROOVES), 2, BAR, device=dice.device)
    for row, parts in enumerate(GROOVES):
        for piece, when in enumerate(parts):
            groove[row, piece, list(when)] = 1
    pick = dice.choice(tuple(range(len(GROOVES))))
    chance = torch.zeros(dice.songs, 7, len(step), device=dice.device)
    chance[:, :2] = 0.95 * groove[pick][..., step] + 0.03
    every = dice.choice((1, 2, 2, 4), 1)
    chance[:, 2] = torch.where(step % every == 0, 0.95, 0.05)
    chance[:, 3] = torch.where(step % 8 == 6, dice.uniform(0, 0.5, 1), 0.02)
    fill = (clock.steps % (4 * BAR) >= 4 * BAR - 6) & dice.chance(0.6, 1)
    chance[:, 4] = 0.6 * fill
    chance[:, 1] = torch.where(fill, 0.4, chance[:, 1])
    chance[:, 5] = torch.where(clock.steps % (4 * BAR) == 0, 0.5, 0.0)
    chance[:, 6] = chance[:, 1] * dice.chance(0.3, 1)
    used = dice.chance(0.85, 7, 1)
    return dice.chance(chance * used, 7, len(step)) & playing(dice, clock, 0.9)


def bass(dice: Dice, clock: Clock, harmony: Harmony) -> Float[Tensor, "s t"]:
    """Roots with fifths and octaves, plucked, bowed or synthetic."""
    steps = len(clock.steps)
    onset = rhythm(dice, clock, dice.uniform(0.4, 1.6, 1, 1)) & playing(dice, clock, 0.92)
    notes = Notes(clock, onset, dice.uniform(0, 0.015, 1, steps))
    degree = harmony.chord + dice.choice((0, 0, 0, 0, 0, 4, 7, 2), 1, steps)
    low = dice.uniform(24, 33, 1, 1)
    pitch = smooth(notes.held(harmony.near(degree, low)), dice.choice((1.0, 1.0, 1.0, 20.0)))
    frequency = hertz(pitch)
    turn = turns(frequency, clock)
    fading = torch.exp(-notes.age.clamp(min=0) / dice.uniform(0.05, 0.6, 1, 1))
    bright = 100 * 10 ** dice.uniform(0, 0.8, 1, 1) * (0.3 + fading)
    wave = pulses(turn, frequency, bright, clock) + dice.uniform(0, 1, 1, 1) * torch.sin(2 * math.pi * turn)
    attack, decay, sustain = dice.uniform(0.003, 0.03, 1, 1), dice.uniform(0.2, 1.5, 1, 1), dice.uniform(0, 1, 1, 1)
    gate, release = notes.length * dice.uniform(0.5, 1.1, 1, 1), dice.uniform(0.02, 0.1, 1, 1)
    loud = notes.envelope(attack, decay, sustain, gate, release) * notes.held(10 ** dice.normal(0.1, 1, steps))
    return (wave * glide(loud, clock.hop))[:, 0]


def chords(dice: Dice, clock: Clock, harmony: Harmony) -> Float[Tensor, "s t"]:
    """Chords of four notes, struck, strummed, held or broken."""
    steps, voice = len(clock.steps), torch.arange(4, device=dice.device)[:, None]
    change = harmony.chord != harmony.chord.roll(1, -1)
    together = rhythm(dice, clock, 2 ** dice.uniform(-2.5, 0.5, 1, 1)) | change
    broken = (clock.steps // dice.choice((1, 2, 2), 1, 1) % 4) == voice
    broken = broken & ((clock.steps % 2 == 0) | dice.chance(0.5, 1, 1))
    onset = torch.where(dice.chance(0.3, 1, 1), broken, together) & playing(dice, clock, 0.9)
    strum = voice * dice.choice((0.0, 0.0, 0.008, 0.02), 1, 1) + dice.uniform(0, 0.01, 4, 1)
    notes = Notes(clock, onset, strum.expand(-1, -1, steps))
    tones = dice.choice(((0, 4, 2, 7), (0, 4, 2, 7), (0, 4, 2, 6), (0, 4, 2, 8)))[..., None]
    low = dice.uniform(45, 64, 1, 1) + 3.5 * voice
    return play(dice, clock, notes, harmony.near(harmony.chord + tones, low))


def lead(dice: Dice, clock: Clock, harmony: Harmony) -> Float[Tensor, "s t"]:
    """A melody that is not sung."""
    steps = len(clock.steps)
    onset = rhythm(dice, clock, dice.uniform(0.4, 1.8, 1, 1)) & playing(dice, clock, 0.5)
    notes = Notes(clock, onset, dice.uniform(0, 0.02, 1, steps))
    tune = harmony.pitch(melody(dice, harmony, 7))
    tune = tune + ((dice.uniform(58, 82, 1, 1) - tune.mean(-1, keepdim=True)) / 12).round() * 12
    return play(dice, clock, notes, tune)


def play(dice: Dice, clock: Clock, notes: Notes, pitch: Float[Tensor, "s v n"]) -> Float[Tensor, "s t"]:
    """The notes on an instrument of `TIMBRES`, drawn for each song."""
    voices, steps = pitch.shape[1:]
    row = dice.choice(TIMBRES, 1, 1) * torch.exp2(dice.normal(0.35, 1, 1, len(TIMBRES[0])))
    attack, decay, sustain, bright, fading, index, ratio, vibrato, breath, drive = row.unbind(-1)
    age = notes.age.clamp(min=0)
    wobble = torch.sin(2 * math.pi * dice.uniform(4, 6.5, 1, 1) * clock.time + dice.uniform(0, 6, voices, 1))
    wobble = wobble * ((age - 0.1) / 0.3).clamp(0, 1) * vibrato
    tone = smooth(notes.held(pitch), torch.where(sustain[:, 0, 0] > 0.5, dice.uniform(1, 40), 1.0))
    frequency = hertz(tone + (wobble + dice.normal(5.0, voices, 1)) / 100)
    gate, release = notes.length * dice.uniform(0.5, 1.2, 1, 1), dice.uniform(0.03, 0.3, 1, 1)
    loud = notes.envelope(attack, decay, sustain, gate, release) * notes.held(10 ** dice.normal(0.12, voices, steps))
    fall, turn = torch.exp(-age / fading), turns(frequency, clock)
    wave = pulses(turn, frequency, bright * (0.25 + 0.75 * fall), clock)
    wave = wave.addcmul_((index > 0).float(), bells(turn, ratio.round().clamp(min=1), index * fall, clock))
    wave = (wave + breath * dice.normal(1.0, 1, wave.shape[-1])).mul_(glide(loud, clock.hop)).sum(1)
    drive = drive[:, 0]
    return torch.where(drive > 0, torch.tanh(wave * drive) / drive.clamp(min=1e-3), wave)
