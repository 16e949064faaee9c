"""Songs as overlapping segments that are separated one by one: what whole songs, files and streams share."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tavtorch.audio.resampling import rate_ratio, resampled
from tavtorch.audio.separation.unet import UNet


class Segments:
    """Separates a wave that comes in pieces, in the memory of one segment.

    Segment `k` holds the samples from `k advance` up to `(k + 1) advance + fade`, and before them up to `past` samples
    that the network hears only. Each is resampled to the network's rate, separated and resampled back; neighbours are
    cross-faded over `fade` samples with weights that add up to one. Where the wave ends the last segment ends.

    Args:
        model: the network.
        sample_rate: of the wave, in Hz.
        advance, fade, past: in seconds, rounded to samples that are whole at both rates.
        sum_to_mixture: whether the last stem is the wave minus the others.
    """

    def __init__(
        self, model: UNet, sample_rate: int, *, advance: float, fade: float, past: float, sum_to_mixture: bool
    ) -> None:
        self.model, self.ratio, self.sum_to_mixture = model, rate_ratio(sample_rate, model.sample_rate), sum_to_mixture
        unit = self.ratio.denominator  # samples at the rate of the wave that are whole at the network's
        self.fade = max(1, round(fade * sample_rate / unit)) * unit
        self.advance = max(self.fade, round(advance * sample_rate / unit) * unit)
        self.past = round(past * sample_rate / unit) * unit
        self._waiting: list[Tensor] = []  # samples whose stems are not all given yet, with the past before them
        self._before = 0  # how many of them are past
        self._tail: Tensor | None = None  # of the last segment, fading out

    def push(self, wave: Float[Tensor, "b c t"], *, last: bool = False) -> Iterator[Float[Tensor, "b s c _n"]]:
        """Take the next samples and give the stems that are decided by now, in order; after the `last` all are."""
        self._waiting.append(wave)
        length = sum(block.shape[-1] for block in self._waiting)
        if length > self._before + self.advance + self.fade or last:
            heard = torch.cat(self._waiting, -1) if len(self._waiting) > 1 else wave
            while heard.shape[-1] > self._before + self.advance + self.fade:
                yield self._inner(heard)
                gone = max(self._before + self.advance - self.past, 0)
                heard, self._before = heard[..., gone:], self._before + self.advance - gone
            if last and heard.shape[-1] > self._before:
                yield self._final(heard)
                heard = heard[..., :0]
            self._waiting = [heard]
        self._waiting[-1] = self._waiting[-1].clone()  # whose memory the caller may use again

    def _inner(self, heard: Tensor) -> Tensor:
        """The stems of the next `advance` samples."""
        stems = self._faded_in(heard[..., : self._before + self.advance + self.fade])
        self._tail = stems[..., self.advance :] * (1 - self._rise(stems))
        return self._completed(stems[..., : self.advance], heard)

    def _final(self, heard: Tensor) -> Tensor:
        """The stems of what is left."""
        return self._completed(self._faded_in(heard), heard)

    def _faded_in(self, segment: Tensor) -> Tensor:
        with evaluation_mode(self.model):
            stems = separate_segment(segment, self.ratio, self.model, last=not self.sum_to_mixture)[..., self._before :]
        if self._tail is None:
            return stems
        begin = stems[..., : self.fade] * self._rise(stems) + self._tail
        return torch.cat((begin, stems[..., self.fade :]), -1)

    def _completed(self, stems: Tensor, heard: Tensor) -> Tensor:
        if not self.sum_to_mixture:
            return stems
        mixture = heard[..., self._before :][..., : stems.shape[-1]]
        return torch.cat((stems, (mixture - stems.sum(1))[:, None]), 1)

    def _rise(self, stems: Tensor) -> Tensor:
        return (torch.arange(self.fade, dtype=stems.dtype, device=stems.device) + 0.5) / self.fade


def separate_segment(
    wave: Float[Tensor, "b c t"], ratio: Fraction, model: UNet, *, last: bool
) -> Float[Tensor, "b _s c t"]:
    """The stems of one segment by one call of the network, with the `last` or without it; `ratio` is the network's rate
    over that of the wave."""
    b, c, length = wave.shape
    mixture = resampled(wave, ratio)
    if model.channels == 1:
        stems = model(mixture.reshape(b * c, 1, -1)).unflatten(0, (b, c))[:, :, :, 0].transpose(1, 2)
    elif c == model.channels:
        stems = model(mixture)
    else:
        mono = mixture.mean(1, keepdim=True)
        stems = model(mono.expand(-1, model.channels, -1)).mean(2, keepdim=True).expand(-1, -1, c, -1)

    stems = stems if last else stems[:, :-1]
    # Back at the rate of the wave, a segment may be some samples too long or too short.
    back = resampled(stems.to(wave.dtype).contiguous(), 1 / ratio)[..., :length]
    return torch.nn.functional.pad(back, (0, length - back.shape[-1]))


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Within the block the model is in evaluation mode; afterwards in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
