"""Wiener masks from the factors of `nmf`: one spectrum for each component or group of components."""

import torch
from torch import Tensor

from tavtorch.audio.separation.nmf import Factors
from tavtorch.precision import exact


@exact()
def nmf_split(spectrum: Tensor, factors: Factors, *, groups: Tensor | None = None, power: float = 1.0) -> Tensor:
    """Split a spectrum by Wiener masks into one spectrum for each component or group; they add up to `spectrum`.

        X_s = X y_s^p / sum_s y_s^p,        y_s = sum_k g_sk w_k h_k

    Args:
        spectrum: `(..., f, t)`, complex or real, whose sonogram was factorised.
        factors: of `nmf`.
        groups: `(s, r)` or `(..., s, r)`, weights g >= 0: 1 where component k belongs to source s, 0 elsewhere. None
            makes each component a source.
        power: p: 1 for sonograms of magnitude or power; more brings the masks closer to 0 and 1.

    Returns:
        `(..., s, f, t)`; where every source is silent, they get equal parts.

    Source: Févotte, Bertin & Durrieu, "Nonnegative matrix factorization with the Itakura-Saito divergence", Neural
    Computation 21(3), 2009, doi:10.1162/neco.2008.04-08-771.

    >>> factors = nmf(torch.rand(2, 6, 9), 3)
    >>> nmf_split(torch.ones(2, 6, 9), factors, groups=torch.tensor([[1.0, 0, 1], [0, 1.0, 0]])).shape
    torch.Size([2, 2, 6, 9])
    """
    w, h = factors.templates, factors.activations
    if spectrum.shape != (*h.shape[:-2], w.shape[-2], h.shape[-1]):
        raise ValueError(
            f"spectrum: expected {(*h.shape[:-2], w.shape[-2], h.shape[-1])}, the shape of the sonogram that was "
            f"factorised, got {tuple(spectrum.shape)}."
        )
    groups = torch.eye(h.shape[-2]) if groups is None else groups
    groups = groups.to(h)
    if groups.dim() < 2 or groups.shape[-1] != h.shape[-2]:
        raise ValueError(f"groups: expected (s, {h.shape[-2]}), a row for a source, got {tuple(groups.shape)}.")

    # Divide by the loudest source before taking the power, so that small numbers do not underflow.
    sources = (w.unsqueeze(-3) * groups.unsqueeze(-2)) @ h.unsqueeze(-3)
    loudest = sources.amax(-3, keepdim=True).detach()
    sources = (sources / torch.where(loudest > 0, loudest, 1) + (loudest == 0)) ** power
    return spectrum.unsqueeze(-3) * (sources / sources.sum(-3, keepdim=True))
