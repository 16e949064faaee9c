"""Non-negative matrix factorisation: a sonogram as a few spectra that swell and fade, and the sources made of them."""

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from tavtorch.audio.separation.multiplicative import FLOOR, PIECE, Rules, hals, multiply, objective, residual
from tavtorch.solve import Solution, Stop, implicit, iterate


class Factors(NamedTuple):
    """A factorisation `sonogram ≈ templates @ activations`, and how it went."""

    templates: Tensor
    """`(..., f, r)`: the spectrum of each component; it adds up to 1 unless it was given and fixed."""
    activations: Tensor
    """`(..., r, t)`: how loud the component is when."""
    solution: Solution
    """For each sonogram: `value` is the objective, `gap` the KKT residual."""


def nmf(
    sonogram: Tensor,
    components: int,
    *,
    beta: float = 1.0,
    sparsity: float = 0.0,
    templates: Tensor | None = None,
    activations: Tensor | None = None,
    fixed: int = 0,
    generator: torch.Generator | None = None,
    stop: Stop | None = None,
) -> Factors:
    """Factorise `V ≈ W H`, all non-negative, by descent of

        D(W, H) = sum_ft d(V | W H) + λ sum_k (m |w_k|₁ |h_k|₁)^½,    d(x | y) = x log(x / y) - x + y    for β = 1,

    or the β-divergence: ½ (x - y)² for β = 2 (Euclidean), x/y - log(x/y) - 1 for β = 0 (Itakura-Saito), in general
    (x^β + (β - 1) y^β - β x y^(β-1)) / (β (β - 1)). Each step is a multiplicative update of H, then of W,

        H ← H ∘ s(Wᵀ(V ∘ Y^(β-2)) / (Wᵀ Y^(β-1) + λ/2 (m |w_k|₁ / |h_k|₁)^½)),    Y = W H,

    in which `s` goes beyond the least of a surrogate of D nearly to where that is as high as before: D falls with every
    step, without being looked at, and about twice as fast. For β = 2 it is exact descent in each component (HALS).

    `gap` is the KKT residual at the result: with `∇₊ - ∇₋` the gradient parted as in the update, the larger of the root
    mean squares of `min(h / mean h, 1 - ∇₋/∇₊)` over the activations and of the same over the templates. It is zero
    just where `h >= 0`, `∇ >= 0` and `h ∇ = 0`: at a stationary point, of which there are many. Start from several.

    Differentiable with respect to the sonogram and fixed templates by the implicit function theorem, at the fixed point
    of the update with templates that add up to 1, which takes away the freedom of scale: as exact as the gap is small.
    What is at zero, or on its way there, is taken to stay. Where components may also be mixed, `W R` and `R⁻¹ H` both
    >= 0, only what does not change with R, such as `W H`, has a gradient; zeros in W and H are what tells them apart.
    First derivatives only.

    Args:
        sonogram: magnitudes or powers `(..., f, t)`, >= 0 (not decibels); each matrix is factorised by itself.
        components: r, from 1 to the number of bins.
        beta: β; 2 hears the loud only, 0 the soft as well as the loud, 1 stands between and suits magnitudes.
        sparsity: λ, in units of `mean(V)^(β-1)`, with m the sum of V: more leaves fewer components sounding, which are
            the less redundant; for β = 1, 0.1 silences most that are, and 0.3 soft sources too. (Without the root it
            would at β = 1 only make all softer, for there the divergence has that linear term itself.)
        templates: to start from, `(..., f, k)`, or the same `(f, k)` for all, k <= r; the rest is drawn at random.
        activations: to start from, `(..., r, t)`. What starts at zero remains zero.
        fixed: so many of the `templates` stay as they are: known instruments, the other components learn the rest.
        generator: of the random start, one for all sonograms.
        stop: default `Stop(tol=1e-3, max_iter=200)`.

    Source: Févotte & Idier, "Algorithms for nonnegative matrix factorization with the β-divergence", Neural Computation
    23(9), 2011, doi:10.1162/NECO_a_00168, whose majorisation-equalisation this is, with points in closed form. Sparsity
    of whole components: Tan & Févotte, "Automatic relevance determination in nonnegative matrix factorization with the
    β-divergence", IEEE TPAMI 35(7), 2013, doi:10.1109/TPAMI.2012.240, here with a root for their logarithm.

    >>> notes = torch.tensor([[1.0, 0.0], [0.5, 0.0], [0.0, 2.0]])
    >>> tune = torch.tensor([[1.0, 0.0, 2.0, 1.0], [0.0, 3.0, 0.0, 1.0]])
    >>> found = nmf(notes @ tune, 2, generator=torch.Generator().manual_seed(0))
    >>> torch.allclose(found.templates @ found.activations, notes @ tune, atol=1e-2)
    True
    """
    _check(sonogram, components, beta, sparsity, fixed, templates)
    lead, (f, t) = sonogram.shape[:-2], sonogram.shape[-2:]
    v = sonogram.reshape(-1, f, t)
    mean = v.mean((1, 2), keepdim=True)
    scale = torch.where(mean > 0, mean, 1)
    x = (v / scale).mT.contiguous() + FLOOR
    w, h = _start(v, components, generator)
    if templates is not None:
        given = _given("templates", templates, (*lead, f, templates.shape[-1]))
        w = torch.cat((given.mT, w[:, given.shape[-1] :]), 1)
    if activations is not None:
        h = _given("activations", activations, (*lead, components, t)) / scale
    rules = Rules(beta, sparsity * (f * t) ** 0.5, fixed)
    with torch.no_grad():
        w, h, found = _descend(w.detach(), h.detach(), x.detach(), rules, stop or Stop(max_iter=200))
        w, h = _normalised(w, h, fixed)
    kept = w if templates is None else torch.cat((given.mT[:, :fixed], w[:, fixed:]), 1)

    def again(w: Tensor, h: Tensor) -> Tensor:
        return torch.cat(_normalised(*multiply(torch.cat((kept[:, :fixed], w[:, fixed:]), 1), h, x, rules), fixed), 2)

    if x.requires_grad or kept.requires_grad:
        found_at = torch.cat((w, h), 2)
        with torch.no_grad():  # nearer to zero than its factor is to one
            size = torch.cat((w / w.mean(2, keepdim=True), h / h.mean(2, keepdim=True)), 2)
            silent = ~(size * found_at > (again(w, h) - found_at).abs())

        def told(u: Tensor) -> Tensor:
            return torch.where(silent, found_at, again(*torch.where(silent, found_at, u).split((f, t), 2)))

        w, h = implicit(told, found_at).split((f, t), 2)
    value = (found.value * scale[:, 0, 0] ** beta).to(v).detach()
    solution = Solution(*(part.reshape(lead) for part in (value, found.iterations, found.gap.to(v), found.converged)))
    return Factors(w.mT.reshape(*lead, f, components), (h * scale).reshape(*lead, components, t), solution)


def distinct_frames(sonogram: Tensor, components: int) -> Tensor:
    """The frames of a sonogram that are least alike, a start for the `templates` of `nmf`: `(..., f, components)`.

    By successive projections: the frame that is farthest from the span of those before, again and again. Where every
    note sounds once by itself these are the notes, and `nmf` seldom ends in a minimum that mixes them.

    Args:
        sonogram: `(..., f, t)`, >= 0.
        components: how many, from 1 to the number of bins.

    Source: Gillis & Vavasis, "Fast and robust recursive algorithms for separable nonnegative matrix factorization",
    IEEE TPAMI 36(4), 2014, doi:10.1109/TPAMI.2013.226.

    >>> distinct_frames(torch.tensor([[1.0, 3.0, 0.0], [1.0, 0.0, 2.0]]), 2)
    tensor([[3., 0.],
            [0., 2.]])
    """
    _check(sonogram, components, 1.0, 0.0, 0, None)
    left, frames = sonogram, []
    for _ in range(components):
        farthest = left.norm(dim=-2, keepdim=True).argmax(-1, keepdim=True).expand(*left.shape[:-1], 1)
        frames.append(sonogram.gather(-1, farthest))
        away = torch.nn.functional.normalize(left.gather(-1, farthest), dim=-2)
        left = left - away @ (away.mT @ left)
    return torch.cat(frames, -1)


def nmf_split(spectrum: Tensor, factors: Factors, *, groups: Tensor | None = None, power: float = 1.0) -> Tensor:
    """One spectrum a component, or a group of them, by Wiener masks: they add up to `spectrum`.

        X_s = X y_s^p / sum_s y_s^p,        y_s = sum_k g_sk w_k h_k

    Args:
        spectrum: `(..., f, t)`, complex or real, whose sonogram was factorised.
        factors: of `nmf`.
        groups: `(s, r)` or `(..., s, r)`: 1 where component k belongs to source s; none means each by itself.
        power: p: 1 for sonograms of magnitude or power, more is harder.

    Returns:
        `(..., s, f, t)`; where nothing sounds in any source, all get the same.

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
    groups = torch.eye(h.shape[-2], dtype=h.dtype, device=h.device) if groups is None else groups.to(h)
    if groups.dim() < 2 or groups.shape[-1] != h.shape[-2]:
        raise ValueError(f"groups: expected (s, {h.shape[-2]}), a row for a source, got {tuple(groups.shape)}.")
    sources = (w.unsqueeze(-3) * groups.unsqueeze(-2)) @ h.unsqueeze(-3)
    loudest = sources.amax(-3, keepdim=True).detach()
    sources = (sources / torch.where(loudest > 0, loudest, 1) + (loudest == 0)) ** power
    return spectrum.unsqueeze(-3) * (sources / sources.sum(-3, keepdim=True))


def _descend(w: Tensor, h: Tensor, x: Tensor, rules: Rules, stop: Stop) -> tuple[Tensor, Tensor, Solution]:
    """The last `(w, h)`, and how it went. Small items go together, large ones alone: as many as a cache holds."""
    update, f = hals if rules.beta == 2 else multiply, x.shape[2]
    aligned = (0, -f % 16)  # silent bins up to whole vectors: products of few components are thrice as fast

    def descend(w: Tensor, h: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        whole = pad(x, aligned, value=FLOOR)
        gap = partial(residual, x=whole, rules=rules, bins=f)
        found = iterate(lambda k, w, h: update(w, h, whole, rules), (pad(w, aligned), h), gap, stop)
        w, h = found.value[0][..., :f], found.value[1]
        return w, h, objective(w, h, x, rules), *found[1:]

    count = max(1, PIECE[x.device.type] // (x.shape[1] * f))
    parts = [descend(*part) for part in zip(w.split(count), h.split(count), x.split(count), strict=True)]
    w, h, *rest = (torch.cat(part) for part in zip(*parts, strict=True))
    return w, h, Solution(*rest)


def _normalised(w: Tensor, h: Tensor, fixed: int) -> tuple[Tensor, Tensor]:
    """Templates that add up to 1, but for the fixed ones; the activations take the loudness."""
    total = w.sum(2)
    total = torch.where((total > 0) & (torch.arange(w.shape[1], device=w.device) >= fixed), total, 1)
    return w / total[..., None], h * total[..., None]


def _start(v: Tensor, components: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Random templates and activations in (0, 1], the same for every item, so that it never depends on its batch."""
    (b, f, t), device = v.shape, v.device if generator is None else generator.device
    w, h = (
        1 - torch.rand(components, n, generator=generator, device=device, dtype=v.dtype).to(v.device) for n in (f, t)
    )
    return w.expand(b, -1, -1), 2 * h.expand(b, -1, -1) / components


def _given(name: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A start of a given shape `(b, ...)`; leading dimensions that it lacks are repeated."""
    try:
        whole = value.expand(shape)
    except RuntimeError:
        raise ValueError(f"{name}: expected a shape that broadcasts to {shape}, got {tuple(value.shape)}.") from None
    if not bool((value >= 0).all()) or not bool(value.isfinite().all()):
        raise ValueError(f"{name}: expected finite numbers >= 0; take the absolute value of a spectrum.")
    return whole.reshape(-1, *shape[-2:])


def _check(
    sonogram: Tensor, components: int, beta: float, sparsity: float, fixed: int, templates: Tensor | None
) -> None:
    if sonogram.dim() < 2 or sonogram.numel() == 0 or not sonogram.is_floating_point():
        raise ValueError(
            f"sonogram: expected real numbers (..., f, t) with frames in it, got {sonogram.dtype} of shape "
            f"{tuple(sonogram.shape)}; take the magnitude of a spectrum, leave out empty batches."
        )
    if not bool(sonogram.isfinite().all()):
        raise ValueError("sonogram: some values are NaN or infinite; clean the recording first.")
    if bool((sonogram < 0).any()):
        raise ValueError("sonogram: expected magnitudes or powers >= 0, got negative values; decibels will not do.")
    if not 1 <= components <= sonogram.shape[-2]:
        raise ValueError(f"components: expected 1 to the number of bins, {sonogram.shape[-2]}, got {components}.")
    if not math.isfinite(beta):
        raise ValueError(f"beta: expected a finite number, got {beta}; 2, 1 and 0 are usual.")
    if not 0 <= sparsity < math.inf:
        raise ValueError(f"sparsity: expected a number >= 0, got {sparsity}; 0 asks for none.")
    columns = 0 if templates is None else templates.shape[-1] if templates.dim() > 1 else components + 1
    if columns > components:
        raise ValueError(f"templates: expected (..., f, k) with k <= {components} components, got {columns} columns.")
    if not 0 <= fixed <= columns:
        raise ValueError(f"fixed: expected 0 to the number of given templates, {columns}, got {fixed}.")
