"""Separation of a stream while it plays."""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.audio.check import check_samples, check_wave
from tavtorch.audio.resampling import rate_ratio
from tavtorch.audio.separation.segments import Segments
from tavtorch.audio.separation.unet import UNet
from tavtorch.weights import of_the_package


class Separator:
    """Separates a stream block by block: `separator(wave, sample_rate)` gives the stems of all that is decided.

    Sample for sample the stems follow the stream; those of a sample are there when `delay` seconds of it came after it,
    or before. The network hears again and again the `past` before what it gives, which makes `1.5 (past + delay) /
    delay` times the work of `separate` on the whole. Memory is that of one such piece.

        separator = Separator()
        for wave in blocks:
            play(separator(wave, 44100))
        play(separator.flush())

    Args:
        model: see `separate`.
        delay: in seconds, at most, beside the time of the computation. The stems are better with more, for the network
            hears what comes; they are given in steps of two thirds of it.
        past: in seconds.
        sum_to_mixture: see `separate`.

    >>> separator = Separator()
    >>> [separator(torch.zeros(1, 2, 4410), 44100).shape[-1] for _ in range(10)], separator.flush().shape[-1]
    ([0, 0, 0, 0, 0, 0, 0, 21168, 0, 0], 22932)
    """

    def __init__(
        self, model: UNet | None = None, *, delay: float = 0.75, past: float = 4.0, sum_to_mixture: bool = True
    ) -> None:
        if not 0.1 <= delay < math.inf:
            raise ValueError(f"delay: expected seconds, 0.1 or more, got {delay}; 0.75 is usual.")
        if not 0 <= past < math.inf:
            raise ValueError(f"past: expected seconds, 0 or more, got {past}; 4 is usual.")
        self.model, self.delay, self.past, self.sum_to_mixture = model, delay, past, sum_to_mixture
        self._segments: Segments | None = None

    def __call__(self, wave: Float[Tensor, "b c t"], sample_rate: int) -> Float[Tensor, "b s c n"]:
        """Take the next samples, any number of them, and give the stems of `n` samples, often of none.

        Raises:
            ValueError: the stream changes its rate, channels, type or device; `flush` ends it, and another can begin.
        """
        if wave.dim() == 3 and wave.shape[-1] == 0:
            check_samples(wave)
        else:
            check_wave(wave, sample_rate)
        form = {
            "rate": sample_rate, "songs and channels": tuple(wave.shape[:2]), "type": wave.dtype, "device": wave.device
        }  # fmt: skip
        if self._segments is None:
            self._segments = self._begun(sample_rate, wave.device)
            stems = len(self._segments.model.stems)
            self._form, self._none = form, wave.new_zeros(wave.shape[0], stems, wave.shape[1], 0)
        for name, value in form.items():
            if value != self._form[name]:
                raise ValueError(
                    f"wave: the stream changes its {name} from {self._form[name]} to {value}; call flush() to end it, "
                    "or take a Separator for each."
                )
        return self._joined(self._segments.push(wave))

    def flush(self) -> Float[Tensor, "b s c n"]:
        """End the stream: the stems of its last samples. What comes after begins another stream."""
        if self._segments is None:
            raise ValueError("flush: no stream has begun.")
        stems = self._joined(self._segments.push(self._none[:, 0], last=True))
        self._segments = None
        return stems

    def _begun(self, sample_rate: int, device: torch.device) -> Segments:
        model, fade = self.model or of_the_package(UNet.pretrained, device), self.delay / 3
        unit = rate_ratio(sample_rate, model.sample_rate).denominator / sample_rate  # s, to which both are rounded
        segments = Segments(
            model,
            sample_rate,
            advance=self.delay - fade - 2 * unit,
            fade=fade,
            past=self.past,
            sum_to_mixture=self.sum_to_mixture,
        )
        least = (segments.advance + segments.fade + 1) / sample_rate
        if least > self.delay:
            raise ValueError(f"delay: expected {least:.3g} s or more at {sample_rate} Hz, got {self.delay}.")
        return segments

    def _joined(self, parts: Iterable[Tensor]) -> Tensor:
        return torch.cat((self._none, *parts), -1)
