"""What happens to music on its way to a recogniser: a room, other sounds, a phone, a codec.

Each step is a mono wave `(t,)` in and out, of the same length and rate.
"""

import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import soundfile
import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F
from torchaudio.functional import add_noise, fftconvolve

PHONE = (300.0, 3400.0)
"""Hz that a telephone passes (ITU-T G.712)."""

_GAIN = 0.7
"""Share of the differences in level, in dB, that a phone's gain control takes away."""

_GAIN_TIME, _GAIN_FLOOR = 0.5, 0.01
"""Seconds over which it measures the level, and the level below which it raises no more."""

_CODECS = {"mp3": ("MP3", "MPEG_LAYER_III", (8, 64)), "opus": ("OGG", "OPUS", (6, 256))}
"""Format and encoding of libsndfile, and its least and highest rate in kbit/s at 8 kHz mono."""

Wave = Float[Tensor, "t"]


def transmitted(
    wave: Wave,
    sample_rate: int,
    condition: Mapping[str, float],
    voices: Callable[[int], Tensor],
    generator: Generator,
) -> Wave:
    """A clip as it arrives under a condition.

    The steps of the condition are taken in the order of nature, whatever their order in it:

    - `before`: seconds of the recording before the music begins;
    - `room`: seconds in which the sound of the room falls by 60 dB;
    - `speech`, `babble`, `traffic`, `white`: another sound, at a signal-to-noise ratio in dB;
    - `phone`: from 0 (not at all) to 1, how much of a phone's gain control is in the sound that passes its band;
    - `overdriven`: dB by which the sound's level, four times its root mean square, is above what is cut off;
    - `mp3`, `opus`: kbit/s.

    Args:
        wave: the clip.
        sample_rate: in Hz.
        condition: names and values of steps.
        voices: gives that many talkers at once, as long as the clip.
        generator: of the room and the other sounds.
    """
    sounds: dict[str, Callable[[], Tensor]] = {
        "speech": lambda: voices(1),
        "babble": lambda: voices(5),
        "traffic": lambda: traffic(len(wave), sample_rate, generator),
        "white": lambda: torch.randn(len(wave), generator=generator),
    }
    steps: dict[str, Callable[[Tensor, float], Tensor]] = {
        "before": lambda wave, seconds: F.pad(wave, (round(seconds * sample_rate), 0))[: len(wave)],
        "room": lambda wave, seconds: room(wave, sample_rate, seconds, generator),
        **{name: partial(_mixed, sound) for name, sound in sounds.items()},
        "phone": lambda wave, gain: phone(wave, sample_rate, gain),
        "overdriven": overdriven,
        "mp3": lambda wave, rate: coded(wave, sample_rate, "mp3", rate),
        "opus": lambda wave, rate: coded(wave, sample_rate, "opus", rate),
    }
    if unknown := condition.keys() - steps.keys():
        raise ValueError(f"data.conditions: expected {', '.join(steps)}, got {min(unknown)!r}.")
    for name, step in steps.items():
        if name in condition:
            wave = step(wave, condition[name])
    return wave


def room(wave: Wave, sample_rate: int, seconds: float, generator: Generator) -> Wave:
    """A recording in a room, as far from the source as its direct and its reverberant sound are equally strong.

        h(t) = δ(t) + a n(t) 10^(-3 t / seconds),   n white noise,   a such that both parts have the same energy

    Args:
        wave: what is played.
        sample_rate: in Hz.
        seconds: until the reverberant sound has fallen by 60 dB: 0.4 in a living room, 1 in a hall.
        generator: of n.

    Source: Polack, "La transmission de l'énergie sonore dans les salles", thesis, Université du Maine, 1988.
    """
    if not 0.01 <= seconds <= 20:
        raise ValueError(f"data.conditions: room: expected 0.01 to 20 s, got {seconds}.")
    time = torch.arange(round(seconds * sample_rate)) / sample_rate
    tail = torch.randn(time.shape, generator=generator) * 10 ** (-3 * time / seconds)
    response = tail / tail.norm()
    response[0] += 1.0
    return fftconvolve(wave, response)[: len(wave)]


def traffic(length: int, sample_rate: int, generator: Generator) -> Wave:
    """The noise of a street: a spectrum that falls by 18 dB a decade from 50 Hz on, as cars pass every few seconds.

    Source of the spectrum: EN 1793-3, "Normalized traffic noise spectrum", without its A-weighting.
    """
    spectrum = torch.fft.rfft(torch.randn(length, generator=generator))
    frequency = torch.fft.rfftfreq(length, 1 / sample_rate)
    noise = torch.fft.irfft(spectrum * frequency.clamp(min=50.0) ** -0.9, length)
    cars = torch.randn(3 + length // (2 * sample_rate), generator=generator)
    swell = F.interpolate(8.0 * cars[None, None], length, mode="linear", align_corners=True)[0, 0]  # dB
    return noise * 10 ** (swell / 20)


def phone(wave: Wave, sample_rate: int, gain: float = 1.0) -> Wave:
    """The band of a telephone, and `gain`, 0 to 1, of its gain control, which raises what is soft."""
    frequency = torch.fft.rfftfreq(len(wave), 1 / sample_rate)
    passed = (1 + (PHONE[0] / frequency) ** 8).rsqrt() * (1 + (frequency / PHONE[1]) ** 8).rsqrt()  # Butterworth, 4
    wave = torch.fft.irfft(torch.fft.rfft(wave) * passed, len(wave))
    size = 2 * (round(_GAIN_TIME * sample_rate) // 2) + 1
    power = F.avg_pool1d(wave.square()[None, None], size, 1, size // 2, count_include_pad=False)[0, 0]
    level = (power.sqrt() / power.mean().sqrt().clamp(min=1e-9)).clamp(min=_GAIN_FLOOR)
    return wave * level ** (-_GAIN * gain)


def overdriven(wave: Wave, decibels: float) -> Wave:
    """What is left where the level, four times the root mean square, is `decibels` above what the converter takes."""
    limit = 4 * wave.square().mean().sqrt() * 10 ** (-decibels / 20)
    return torch.minimum(torch.maximum(wave, -limit), limit)


def coded(wave: Wave, sample_rate: int, codec: str, rate: float) -> Wave:
    """The wave after `rate` kbit/s of "mp3" or "opus"."""
    container, encoding, (least, most) = _CODECS[codec]
    if not least <= rate <= most:
        raise ValueError(f"data.conditions: {codec} at {sample_rate} Hz takes {least} to {most} kbit/s, got {rate}.")
    options: dict[str, Any] = {"bitrate_mode": "CONSTANT"} if codec == "mp3" else {}
    peak = wave.abs().max().clamp(min=1e-9)
    file = io.BytesIO()
    soundfile.write(
        file,
        (0.5 * wave / peak).numpy(),
        sample_rate,
        format=container,
        subtype=encoding,
        compression_level=min((most - rate) / (most - least), 0.99),  # libsndfile fails at 1 for MP3
        **options,
    )
    file.seek(0)
    decoded = torch.from_numpy(soundfile.read(file, dtype="float32")[0])[: len(wave)]
    return 2 * peak * F.pad(decoded, (0, len(wave) - len(decoded)))


def _mixed(sound: Callable[[], Tensor], clip: Wave, snr: float) -> Wave:
    """A clip and another sound, at a signal-to-noise ratio in dB; a silent clip is left as it is."""
    noise = sound()
    if not bool(clip.any()) or not bool(noise.any()):
        return clip
    return add_noise(clip, noise, torch.tensor(snr))
