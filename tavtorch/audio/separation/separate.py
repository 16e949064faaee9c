"""Songs of any length, rate and channel count through a separation network."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import gcd

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tavtorch.audio.check import check_wave
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
    """Split songs into the stems that a network was trained for.

    The song is cut into segments; each is brought to the network's rate, separated, brought back, and cross-faded into
    its neighbours with weights that add up to one. Beside the song and its stems, memory is that of one segment.
    Channels go through a one-channel network one by one; a one-channel song is shown to a stereo network twice.

    Args:
        wave: `(b, c, t)`, any length from one sample up.
        sample_rate: of `wave`, in Hz.
        model: the network; it runs without dropout and is left in the mode that it was in.
        segment: length of a segment in seconds; more is faster and needs more memory.
        overlap: length of a cross-fade in seconds, less than half of a segment.
        sum_to_mixture: give what the stems leave of the mixture, such as the frequencies above the network's band, to
            the last stem, so that the stems add up to `wave`.

    Returns:
        `(b, s, c, t)` at the rate of `wave`: one wave a stem, in the order of `model.stems`.

    >>> separate(torch.randn(1, 2, 44100), 44100, UNet()).shape
    torch.Size([1, 2, 2, 44100])
    """
    _check(wave, sample_rate, segment, overlap)
    unit = sample_rate // gcd(sample_rate, model.sample_rate)  # a whole number of samples at both rates
    fade = max(1, round(overlap * sample_rate / unit)) * unit
    advance = max(fade, round((segment - overlap) * sample_rate / unit) * unit)
    stems = wave.new_zeros(wave.shape[0], len(model.stems), *wave.shape[1:])
    with _evaluating(model):
        for start, stop, weight in _segments(wave, advance, fade):
            stems[..., start:stop] += weight * _separate_once(wave[..., start:stop], sample_rate, model)
    if sum_to_mixture:
        stems[:, -1] += wave - stems.sum(1)
    return stems


def _segments(wave: Tensor, advance: int, fade: int) -> Iterator[tuple[int, int, Tensor]]:
    """Bounds and weights of the segments; a weight rises and falls over `fade` samples where there is a neighbour."""
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


def _separate_once(wave: Tensor, sample_rate: int, model: UNet) -> Tensor:
    """One segment `(b, c, t)` through the network, at its rate and with its channels, and back: `(b, s, c, t)`."""
    from torchaudio.functional import resample  # here, so that importing tavtorch does not load torchaudio

    b, c, length = wave.shape
    heard = resample(wave, sample_rate, model.sample_rate)
    if model.channels == 1:
        stems = model(heard.reshape(b * c, 1, -1)).unflatten(0, (b, c))[:, :, :, 0].transpose(1, 2)
    elif c == model.channels:
        stems = model(heard)
    else:
        stems = (
            model(heard.mean(1, keepdim=True).expand(-1, model.channels, -1))
            .mean(2, keepdim=True)
            .expand(-1, -1, c, -1)
        )
    back = resample(stems.contiguous(), model.sample_rate, sample_rate)[..., :length]
    return torch.nn.functional.pad(back, (0, length - back.shape[-1]))


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _check(wave: Tensor, sample_rate: int, segment: float, overlap: float) -> None:
    check_wave(wave, sample_rate)
    if not 0 < overlap < segment / 2:
        raise ValueError(f"overlap: expected more than 0 and less than half of segment = {segment} s, got {overlap}.")
