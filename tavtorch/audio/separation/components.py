"""Separation of songs by NMF: one wave a component, or a harmonic and a percussive wave."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tavtorch.audio.check import check_wave, check_window
from tavtorch.audio.separation.hpss import MEDIAN_HERTZ, MEDIAN_SECONDS, hpss_masks, kernel_of
from tavtorch.audio.separation.nmf import Factors, distinct_frames, nmf
from tavtorch.audio.separation.nmf_split import nmf_split
from tavtorch.audio.sonogram import spectrum as transform
from tavtorch.audio.sonogram import waveform
from tavtorch.precision import exact
from tavtorch.solve import Stop


class Components(NamedTuple):
    """The components of a song, ordered by the frequency at which their templates are highest."""

    stems: Tensor
    """`(b, r, c, t)`: the wave of each component; they add up to the song."""
    factors: Factors
    """Templates `(b, f, r)` and activations `(b, r, k)` over k frames."""


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
    """Separate songs into one wave for each component of `nmf`, by Wiener masks (`nmf_split`).

    The magnitude that is factorised is the mean over the channels; the templates start from `distinct_frames`. With
    more components than the song has notes, some notes are spread over several components; with fewer, a component
    holds several notes. Memory grows with the length of the song: it is about `8 * components` times the song's.

    Args:
        wave: `(b, c, t)`.
        sample_rate: in Hz.
        components: r.
        window: of the spectrum, in seconds, rounded to a power of two in samples; the hop is a quarter of it.
        beta, sparsity, generator, stop: see `nmf`.

    >>> separate_components(torch.randn(1, 2, 8000), 8000).stems.shape
    torch.Size([1, 4, 2, 8000])
    """
    X = _spectrum(wave, sample_rate, window)
    sonogram = X.abs().mean(1)
    start = distinct_frames(sonogram, components) + 0.01 * sonogram.mean((1, 2), keepdim=True)  # zeros would stay zero
    factors = nmf(sonogram, components, beta=beta, sparsity=sparsity, templates=start, generator=generator, stop=stop)

    # Order the components from low to high.
    order = factors.templates.argmax(1).argsort(1)
    templates = torch.take_along_dim(factors.templates, order[:, None], 2)
    activations = torch.take_along_dim(factors.activations, order[..., None], 1)
    factors = Factors(templates, activations, factors.solution)

    masks = nmf_split(torch.ones_like(sonogram), factors)
    return Components(_masked_waves(X, masks, wave.shape[-1]), factors)


def assign(fit: Float[Tensor, "b n r"]) -> Int[Tensor, "b n"]:
    """Assign one of `r` components to each of `n` notes so that the total fit is greatest.

    Components are not shared while there are enough; a left-over note takes its best fit.

    Args:
        fit: how well each component matches each note; higher is better. NaN counts as worse than every number.

    Returns:
        The component of each note, exact, in a time that grows with the cube of `max(n, r)`.

    Source: Crouse, "On implementing 2D rectangular assignment algorithms", IEEE TAES 52(4), 2016,
    doi:10.1109/TAES.2016.140952, as in scipy.

    >>> assign(torch.tensor([[[9.0, 8.0], [7.0, 1.0]], [[5.0, 0.0], [5.0, 4.0]]])).tolist()
    [[1, 0], [0, 1]]
    """
    from scipy.optimize import linear_sum_assignment  # here, so that importing tavtorch does not load scipy

    # The solver takes finite numbers only: replace the others by values beyond the range of the rest.
    finite = fit.isfinite()
    known = torch.where(finite, fit.detach(), 0).double()
    low, high = known.amin((1, 2), keepdim=True), known.amax((1, 2), keepdim=True)
    beyond = torch.where(fit > 0, 2 * high - low + 1, 2 * low - high - 1)  # NaN > 0 is false
    known = torch.where(finite, known, beyond)

    assigned = known.argmax(2)
    for item, components in zip(known.cpu().numpy(), assigned, strict=True):
        note, component = linear_sum_assignment(item, maximize=True)
        components[torch.from_numpy(note)] = torch.from_numpy(component).to(components)
    return assigned


@exact()
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
    """Separate songs into a harmonic and a percussive part by classifying the components of `nmf`.

    Unlike `separate_hpss`, which decides in each bin, this decides once for all occurrences of a sound: with p the
    share of a component's energy that passes the percussive mask of `separate_hpss`,

        percussive weight = p^q / (p^q + (1 - p)^q),        harmonic weight = 1 - percussive weight.

    Memory grows with the length of the song: it is about 12 times the song's.

    Args:
        power: q; more brings the weights closer to 0 and 1.
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

    # The percussive share p of each component, and its weight; p^q / (p^q + (1 - p)^q) = sigmoid(q logit p).
    w, h = factors.templates, factors.activations
    kernel = kernel_of(MEDIAN_SECONDS, MEDIAN_HERTZ, sample_rate, 2 * (X.shape[-2] - 1))
    mask = hpss_masks(sonogram, kernel=kernel).percussive
    share = ((w.mT @ mask) * h).sum(-1) / (w.sum(-2) * h.sum(-1)).clamp(min=torch.finfo(h.dtype).tiny)
    percussive = torch.sigmoid(power * share.logit(eps=1e-6))

    weights = torch.stack((1 - percussive, percussive), -2)
    masks = nmf_split(torch.ones_like(sonogram), factors, groups=weights)
    return _masked_waves(X, masks, wave.shape[-1])


def _spectrum(wave: Tensor, sample_rate: int, window: float) -> Tensor:
    """Check the arguments and transform, with a hop of a quarter window."""
    check_wave(wave, sample_rate)
    n_fft = check_window(window, sample_rate)
    return transform(wave, n_fft=n_fft, hop=n_fft // 4)


def _masked_waves(spectrum: Tensor, masks: Float[Tensor, "b s f k"], length: int) -> Tensor:
    """The wave of the spectrum times each mask, `(b, s, c, t)`."""
    hop = (spectrum.shape[-2] - 1) // 2
    return torch.stack([waveform(spectrum * mask[:, None], length, hop=hop) for mask in masks.unbind(1)], 1)
