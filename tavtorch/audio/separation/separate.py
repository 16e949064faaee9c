"""Separation of songs of any length, sample rate and number of channels by a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tavtorch.audio.check import check_wave
from tavtorch.audio.resampling import rate_ratio, resampled
from tavtorch.audio.separation.unet import UNet


def separate(
    wave: Float[Tensor, "b c t"],
    sample_rate: int,
    model: UNet,
    *,
    segment: float = 12.0,
    overlap: float = 1.0,
    sum_to_mixture: bool = True,
) -> Float[Tensor, "b s c t"]:
    """Separate songs into the stems that a network was trained for.

    The song is cut into overlapping segments. Each is resampled to the network's rate, separated and resampled back;
    then the segments are cross-faded with weights that add up to one. Beside the song and its stems, memory is that of
    one segment. A one-channel network separates each channel by itself; a stereo network gets the channels of a stereo
    song, and for any other song the mean of its channels twice.

    The two rates are related by `rate_ratio`: at unusual rates, such as 44,101 Hz, the network hears the song up to
    0.05 % too high or too low. The stems are exact at the rate of the song.

    Args:
        wave: `(b, c, t)`, any length from one sample up.
        sample_rate: of `wave`, in Hz.
        model: the network; it runs in evaluation mode and is left in the mode that it was in.
        segment: length of a segment in seconds; more is faster and needs more memory.
        overlap: length of a cross-fade in seconds, less than half of a segment.
        sum_to_mixture: add the difference between the song and the sum of the stems, such as the frequencies above the
            network's band, to the last stem, so that the stems add up to `wave`.

    Returns:
        `(b, s, c, t)` at the rate of `wave`: one wave for each stem, in the order of `model.stems`.

    >>> separate(torch.randn(1, 2, 44100), 44100, UNet()).shape
    torch.Size([1, 2, 2, 44100])
    """
    check_wave(wave, sample_rate)
    if not 0 < overlap < segment / 2:
        raise ValueError(f"overlap: expected more than 0 and less than half of segment = {segment} s, got {overlap}.")

    # Segments start at multiples of `unit` samples, which are a whole number of samples at the network's rate too.
    ratio = rate_ratio(sample_rate, model.sample_rate)
    unit = ratio.denominator
    fade = max(1, round(overlap * sample_rate / unit)) * unit
    advance = max(fade, round((segment - overlap) * sample_rate / unit) * unit)

    stems = wave.new_zeros(wave.shape[0], len(model.stems), *wave.shape[1:])
    with _evaluation_mode(model):
        for start, stop, weight in _segments(wave, advance, fade):
            stems[..., start:stop] += weight * _separate_segment(wave[..., start:stop], ratio, model)
            if sum_to_mixture:
                done = slice(start, stop if stop == wave.shape[-1] else start + advance)  # no other segment reaches it
                stems[:, -1, :, done] += wave[..., done] - stems[..., done].sum(1)
    return stems


def _segments(wave: Tensor, advance: int, fade: int) -> Iterator[tuple[int, int, Tensor]]:
    """Start, stop and weights of each segment; the weights rise and fall over `fade` samples at inner boundaries."""
    length = wave.shape[-1]
    rise = (torch.arange(fade, dtype=wave.dtype, device=wave.device) + 0.5) / fade
    for start in range(0, max(length - fade, 1), advance):
        stop = min(start + advance + fade, length)
        weight = wave.new_ones(stop - start)
        if start > 0:
            weight[:fade] = rise
        if stop < length:
            weight[-fade:] = 1 - rise
        yield start, stop, weight


def _separate_segment(wave: Tensor, ratio: Fraction, model: UNet) -> Tensor:
    """The stems `(b, s, c, t)` of one segment `(b, c, t)`; `ratio` is the network's rate over that of the wave."""
    b, c, length = wave.shape
    mixture = resampled(wave, ratio)
    if model.channels == 1:
        stems = model(mixture.reshape(b * c, 1, -1)).unflatten(0, (b, c))[:, :, :, 0].transpose(1, 2)
    elif c == model.channels:
        stems = model(mixture)
    else:
        mono = mixture.mean(1, keepdim=True)
        stems = model(mono.expand(-1, model.channels, -1)).mean(2, keepdim=True).expand(-1, -1, c, -1)

    # Back at the rate of the wave, a segment may be some samples too long or too short.
    back = resampled(stems.contiguous(), 1 / ratio)[..., :length]
    return torch.nn.functional.pad(back, (0, length - back.shape[-1]))


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Within the block the model is in evaluation mode; afterwards in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
