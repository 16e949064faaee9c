"""Songs parted by their non-negative factorisation: a wave a component, or what is struck and what sounds on."""

import math
from itertools import permutations
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tavtorch.audio.check import check_wave, check_window
from tavtorch.audio.separation.hpss import HERTZ, SECONDS, hpss_masks, kernel_of
from tavtorch.audio.separation.nmf import Factors, distinct_frames, nmf, nmf_split
from tavtorch.audio.sonogram import spectrum as transform
from tavtorch.audio.sonogram import waveform
from tavtorch.solve import Stop


class Components(NamedTuple):
    """What a song is made of, from low to high."""

    stems: Tensor
    """`(b, r, c, t)`: the wave of each component; they add up to the song."""
    factors: Factors
    """Their spectra `(b, f, r)` and how loud each is when, `(b, r, t)`."""


def separate_components(
    wave: Float[Tensor, "b c t"],
    sample_rate: int,
    *,
    components: int = 4,
    window: float = 0.093,
    beta: float = 1.0,
    sparsity: float = 0.0,
    generator: torch.Generator | None = None,
    stop: Stop | None = None,
) -> Components:
    """Songs into a wave for each component of `nmf`, by Wiener masks, in the order of where their spectra are highest.

    The channels are factorised by their mean, from the frames that are least alike (`distinct_frames`). More components
    than the song has notes share notes among them, fewer hold several each. Memory grows with the length: about
    `components` times eight times that of the song.

    Args:
        wave: `(b, c, t)`.
        sample_rate: in Hz.
        components: r.
        window: of the spectrum, in seconds, rounded to a power of two in samples; frames are a quarter of it apart.
        beta, sparsity, generator, stop: see `nmf`.

    >>> separate_components(torch.randn(1, 2, 8000), 8000).stems.shape
    torch.Size([1, 4, 2, 8000])
    """
    X = _spectrum(wave, sample_rate, window)
    sonogram = X.abs().mean(1)
    start = distinct_frames(sonogram, components) + 0.01 * sonogram.mean((1, 2), keepdim=True)  # zeros would stay
    factors = nmf(sonogram, components, beta=beta, sparsity=sparsity, templates=start, generator=generator, stop=stop)
    w, h = factors.templates, factors.activations
    order = w.argmax(1).argsort(1)
    w, h = w.gather(2, order[:, None].expand_as(w)), h.gather(1, order[..., None].expand_as(h))
    factors = Factors(w, h, factors.solution)
    return Components(_waves(X, nmf_split(torch.ones_like(sonogram), factors), wave.shape[-1]), factors)


def own(fit: Float[Tensor, "b n r"]) -> Int[Tensor, "b n"]:
    """Which of `r` components is each of `n` known notes, so that how well they fit adds up to the most.

    No two notes are the same one while there are enough; those for which none is left are the best of all.

    >>> own(torch.tensor([[[9.0, 8.0], [7.0, 1.0]], [[5.0, 0.0], [5.0, 4.0]]])).tolist()
    [[1, 0], [0, 1]]
    """
    n, r = fit.shape[1:]
    way = torch.tensor([*permutations(range(max(n, r)), min(n, r))], device=fit.device)
    note, part = (way, torch.arange(r)) if n > r else (torch.arange(n), way)
    note, part = note.to(fit.device).expand_as(way), part.to(fit.device).expand_as(way)
    best = fit.nan_to_num()[:, note, part].sum(2).argmax(1)
    return fit.argmax(2).scatter(1, note[best], part[best])


def separate_nmf(
    wave: Float[Tensor, "b c t"],
    sample_rate: int,
    *,
    components: int = 32,
    power: float = 4.0,
    window: float = 0.093,
    beta: float = 1.0,
    generator: torch.Generator | None = None,
    stop: Stop | None = None,
) -> Float[Tensor, "b 2 c t"]:
    """Songs into the components that sound on and those that are struck: a soft `hpss` with a memory for sounds.

    A component is struck as far as the share p of its energy that passes the percussive mask of `separate_hpss` says:
    its mask goes to the one by p^q / (p^q + (1 - p)^q), to the other by the rest. Memory grows with the length: about
    twelve times that of the song.

    Args:
        power: q; more decides harder.
        components, window, beta, generator, stop: see `separate_components`.

    Returns:
        `(b, 2, c, t)`: harmonic, percussive, as from `separate_hpss`; they add up to `wave`.

    >>> separate_nmf(torch.randn(1, 2, 8000), 8000, components=4).shape
    torch.Size([1, 2, 2, 8000])
    """
    if not 0 < power < math.inf:
        raise ValueError(f"power: expected a number > 0, got {power}; 4 is usual.")
    X = _spectrum(wave, sample_rate, window)
    sonogram = X.abs().mean(1)
    factors = nmf(sonogram, components, beta=beta, generator=generator, stop=stop)
    w, h = factors.templates, factors.activations
    mask = hpss_masks(sonogram, kernel=kernel_of(SECONDS, HERTZ, sample_rate, 2 * (X.shape[-2] - 1))).percussive
    share = ((w.mT @ mask) * h).sum(-1) / (w.sum(-2) * h.sum(-1)).clamp(min=torch.finfo(h.dtype).tiny)
    struck = torch.sigmoid(power * share.logit(eps=1e-6))
    sources = nmf_split(torch.ones_like(sonogram), factors, groups=torch.stack((1 - struck, struck), -2))
    return _waves(X, sources, wave.shape[-1])


def _spectrum(wave: Tensor, sample_rate: int, window: float) -> Tensor:
    check_wave(wave, sample_rate)
    n_fft = check_window(window, sample_rate)
    return transform(wave, n_fft=n_fft, hop=n_fft // 4)


def _waves(spectrum: Tensor, masks: Float[Tensor, "b s f k"], length: int) -> Tensor:
    """The wave that each mask leaves of a song, `(b, s, c, t)`."""
    hop = (spectrum.shape[-2] - 1) // 2
    return torch.stack([waveform(spectrum * mask[:, None], length, hop=hop) for mask in masks.unbind(1)], 1)
