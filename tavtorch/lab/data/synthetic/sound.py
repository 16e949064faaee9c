"""The sound of generated music: oscillators, glides, equalisers, rooms and compressors, for many songs at once."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tavtorch.lab.data.synthetic.score import Clock, Dice


def hertz(semitones: Tensor) -> Tensor:
    """Frequency of a MIDI number; 69 is 440 Hz."""
    return 440 * torch.exp2((semitones - 69) / 12)


def glide(control: Float[Tensor, "*b k"], hop: int) -> Float[Tensor, "*b t"]:
    """Linear interpolation between control frames: `k` frames become `(k - 1) * hop` samples."""
    ramp = torch.arange(hop, device=control.device) / hop
    return torch.addcmul(control[..., :-1, None], control.diff(dim=-1)[..., None], ramp).flatten(-2)


def smooth(control: Float[Tensor, "s v k"], frames: Float[Tensor, "s"], longest: int = 60) -> Float[Tensor, "s v k"]:
    """Moving average with a Hann window of `frames` control frames, another for each song."""
    offset = torch.arange(-longest, longest + 1, device=control.device) / frames[:, None].clamp(1, longest)
    window = torch.where(offset.abs() < 1, 1 + torch.cos(math.pi * offset), 0.0)
    window = window / window.sum(-1, keepdim=True)
    padded = F.pad(control, (longest, longest), mode="replicate").transpose(0, 1)
    return F.conv1d(padded, window[:, None], groups=len(control)).transpose(0, 1)


def drift(dice: Dice, frames: Tensor, *shape: int) -> Float[Tensor, "s v k"]:
    """Noise of unit power, smoothed over about `frames` control frames."""
    return smooth(dice.normal(1.0, *shape), frames) * (0.75 * frames[:, None, None]).sqrt()


def turns(frequency: Float[Tensor, "*b k"], clock: Clock) -> Float[Tensor, "*b t"]:
    """Phase of an oscillator in turns, in [0, 1); summed in float64, which a long song needs."""
    phase = glide(frequency, clock.hop).cumsum(-1, dtype=torch.float64) / clock.rate
    return phase.frac_().float()


def pulses(turn: Float[Tensor, "*b t"], frequency: Tensor, brightness: Tensor, clock: Clock) -> Float[Tensor, "*b t"]:
    """All harmonics of a note, at level `exp(-f / brightness)`, in closed form (Moorer, JAES 24(9), 1976).

        sum_{k >= 1} a^k cos(k p) = a (cos p - a) / (1 - 2 a cos p + a^2),    a = exp(-frequency / brightness)

    Harmonics above half of the sample rate alias; brightness is limited to a ninth of the rate, which keeps them small.
    """
    a = glide(torch.exp(-frequency / brightness.clamp(max=clock.rate / 9)), clock.hop)
    cosine = (2 * math.pi * turn).cos_()
    below = torch.addcmul(1 + a * a, a, cosine, value=-2)
    return cosine.sub_(a).mul_(a).div_(below)


def bells(turn: Float[Tensor, "*b t"], ratio: Tensor, index: Tensor, clock: Clock) -> Float[Tensor, "*b t"]:
    """Frequency modulation: electric pianos, mallets, brass (Chowning, JAES 21(7), 1973)."""
    inner = (2 * math.pi * ratio * turn).sin_().mul_(glide(index, clock.hop))
    return inner.add_(turn, alpha=2 * math.pi).sin_()


def equaliser(dice: Dice, clock: Clock, samples: int, parts: int) -> Float[Tensor, "s i f"]:
    """Random gains over the bins of `rfft`: three peaks or dips of about 4 dB, and a high-pass at 10 to 100 Hz."""
    coarse = torch.linspace(0, clock.rate / 2, 2048, device=dice.device)
    octave = torch.log2(coarse.clamp(min=20) / 1000)
    centre, width = dice.uniform(-4, 3, parts, 3, 1), dice.uniform(0.3, 1.5, parts, 3, 1)
    gain = (dice.normal(4.0, parts, 3, 1) * torch.exp(-(((octave - centre) / width) ** 2))).sum(2)
    lowest = 10 * 10 ** dice.uniform(0, 1, 1, 1)
    cut = coarse**2 / (coarse**2 + lowest**2)
    return F.interpolate(10 ** (gain / 20) * cut, size=samples // 2 + 1, mode="linear", align_corners=True)


def room(dice: Dice, clock: Clock, samples: int, wet: Float[Tensor, "s"], echo: Tensor) -> Float[Tensor, "s r"]:
    """Impulse response: direct sound, echoes an eighth note apart, and noise that decays by 60 dB in 0.2 to 2.5 s."""
    length = min(samples, 2 * clock.rate)
    time = torch.arange(length, device=dice.device) / clock.rate
    fade, delay = 0.2 * 12 ** dice.uniform(0, 1, 1), dice.uniform(0, 0.04, 1)
    tail = dice.normal(1.0, length) * torch.exp(-6.9 * time / fade) * (time > delay)
    dull = F.avg_pool1d(tail[:, None], 3, 1, 1)[:, 0]  # walls absorb high frequencies
    tail = dull / dull.norm(dim=-1, keepdim=True) * wet[:, None]
    tail[:, 0] = 1
    for repeat in (1, 2, 3):
        delay_samples = (repeat * 2 * clock.step[:, 0] * clock.rate).long()
        tail.scatter_add_(1, delay_samples.clamp(max=length - 1), echo[:, None] ** repeat)
    return tail


def into_room(waves: Float[Tensor, "s i t"], curves: Tensor, response: Float[Tensor, "s r"]) -> Float[Tensor, "s t"]:
    """Instruments filtered by their equalisers and mixed in one room. The convolution is circular: songs go on."""
    samples = waves.shape[-1]
    mixed = (torch.fft.rfft(waves) * curves).sum(1)
    return torch.fft.irfft(mixed * torch.fft.rfft(response, n=samples), n=samples)


def level(wave: Float[Tensor, "s t"], hop: int) -> Float[Tensor, "s"]:
    """Root mean square over the frames within 30 dB of the loudest."""
    power = wave[:, : wave.shape[1] // hop * hop].unflatten(1, (-1, hop)).square().mean(-1)
    sounding = power > 1e-3 * power.amax(1, keepdim=True)
    return ((power * sounding).sum(1) / sounding.sum(1).clamp(min=1)).sqrt()


def compress(wave: Float[Tensor, "s t"], amount: Float[Tensor, "s"], hop: int) -> Float[Tensor, "s t"]:
    """Compressor: gain `(loudness + floor) ^ -amount`, over about 50 ms."""
    frames = F.avg_pool1d(wave.abs()[:, None], 4 * hop, 4 * hop, ceil_mode=True, count_include_pad=False)
    frames = F.avg_pool1d(F.pad(frames, (1, 2), mode="replicate"), 3, 1)
    loud = frames + 0.1 * frames.amax(-1, keepdim=True) + 1e-6
    gain = glide(loud ** -amount[:, None, None], 4 * hop)[:, 0]
    return wave * gain[:, : wave.shape[1]]
