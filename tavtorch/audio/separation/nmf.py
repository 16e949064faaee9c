"""Non-negative matrix factorisation of a sonogram into templates (spectra) and activations (their levels over time)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from tavtorch.audio.separation.multiplicative import FLOOR, Options, hals, multiply, objective, piece, residual
from tavtorch.derivative import derivative_wanted, holds, without_derivatives
from tavtorch.precision import exact
from tavtorch.solve import Solution, Stop, implicit, iterate


class Factors(NamedTuple):
    """A factorisation `sonogram ≈ templates @ activations`, and how its descent ended."""

    templates: Tensor
    """`(..., f, r)`: the spectrum of each component; its sum is 1 unless the template was given and fixed."""
    activations: Tensor
    """`(..., r, t)`: the level of each component in each frame."""
    solution: Solution
    """For each sonogram: `value` is the objective, in float64 as powers of loud ones need; `gap` the KKT residual."""


@exact()
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

    where `s` steps past the minimum of a surrogate of D, nearly to where the surrogate is as high as before: D falls
    with every step, without a line search, and about twice as fast as with a step to the minimum. For β = 2 each step
    is exact descent in one component after another (HALS).

    `gap` is the KKT residual at the result: with the gradient split as in the update, `∇ = ∇₊ - ∇₋`, the larger of the
    root mean squares of `min(h / mean h, 1 - ∇₋/∇₊)` over the activations and of the same over the templates. It is 0
    exactly where `h >= 0`, `∇ >= 0` and `h ∇ = 0`: at a stationary point. There are many; try several starts.

    Differentiable with respect to the sonogram and the fixed templates by the implicit function theorem, at the fixed
    point of the update followed by a scaling of the templates to sum 1 (without it the scale would be free). The
    gradient is as exact as the gap is small. Entries that are 0 or converge to 0 are held fixed. If the components can
    be mixed, that is if an R other than a permutation gives `W R >= 0` and `R⁻¹ H >= 0`, only functions that such an R
    leaves unchanged, such as `W H`, have a gradient; zeros in W and H rule such an R out. Where the gradient does not
    converge, as in float32 for β = 0 where the gap is large, it is NaN. First derivatives only.

    Args:
        sonogram: magnitudes or powers `(..., f, t)`, >= 0 (not decibels); each matrix is factorised by itself.
        components: r, from 1 to the number of bins.
        beta: β; 2 fits loud bins only, 0 fits soft bins as well as loud ones, 1 lies between and suits magnitudes.
        sparsity: λ, in units of `mean(V)^(β-1)`, with m the sum of V; more silences more components, redundant ones
            first. For β = 1, 0.1 silences most redundant components, 0.3 also soft sources. (Without the root the term
            would be linear, as a part of the divergence for β = 1 is, and only scale all activations down.)
        templates: initial templates `(..., f, k)`, or the same `(f, k)` for all, k <= r; the rest is drawn at random.
        activations: initial activations, `(..., r, t)`. Zeros stay zero.
        fixed: the first so many `templates` are not changed: those of known instruments, for instance.
        generator: for the random start, which is the same for all sonograms.
        stop: default `Stop(tol=1e-3, max_iter=200)`.

    Source: Févotte & Idier, "Algorithms for nonnegative matrix factorization with the β-divergence", Neural Computation
    23(9), 2011, doi:10.1162/NECO_a_00168: their majorisation-equalisation, here in closed form. Sparsity of whole
    components: Tan & Févotte, "Automatic relevance determination in nonnegative matrix factorization with the
    β-divergence", IEEE TPAMI 35(7), 2013, doi:10.1109/TPAMI.2012.240, here with a root in place of their logarithm.

    >>> notes = torch.tensor([[1.0, 0.0], [0.5, 0.0], [0.0, 2.0]])
    >>> tune = torch.tensor([[1.0, 0.0, 2.0, 1.0], [0.0, 3.0, 0.0, 1.0]])
    >>> found = nmf(notes @ tune, 2, generator=torch.Generator().manual_seed(0))
    >>> torch.allclose(found.templates @ found.activations, notes @ tune, atol=1e-2)
    True
    """
    _check_nmf(sonogram, components, beta, sparsity, fixed, templates)
    lead, (f, t) = sonogram.shape[:-2], sonogram.shape[-2:]
    v = sonogram.reshape(-1, f, t)
    v = v.float() if v.dtype in (torch.float16, torch.bfloat16) else v  # computed in this, given back in its type

    # Scale every sonogram to mean 1, frames first; the sum of the largest float32 numbers needs float64.
    mean = v.mean((1, 2), keepdim=True, dtype=torch.float64).to(v)
    scale = torch.where(mean > 0, mean, 1)
    x = (v / scale).mT.contiguous() + FLOOR

    # Start from what was given; the rest is random.
    w, h = _random_start(v, components, generator)
    given = w[:, :0]
    if templates is not None:
        given = _broadcast_start("templates", templates, (*lead, f, templates.shape[-1])).mT.to(v)
        w = torch.cat((given, w[:, given.shape[1] :]), 1)
    if activations is not None:
        h = _broadcast_start("activations", activations, (*lead, components, t)).to(v) / scale
    h = torch.where(mean > 0, h, 0)  # silence has the solution at once

    # Descend, without a record of the steps.
    options = Options(beta, sparsity * (f * t) ** 0.5, fixed)
    with without_derivatives():
        w, h, found = _descend(w.detach(), h.detach(), x.detach(), options, stop or Stop(max_iter=200))
        w, h = _normalised(w, h, fixed)
    w, h = _with_gradient(w, h, x, given[:, :fixed], options)

    value = (found.value * scale[:, 0, 0].double() ** beta).detach()
    solution = Solution(*(part.reshape(lead) for part in (value, found.iterations, found.gap.to(v), found.converged)))
    w, h = w.mT.reshape(*lead, f, components), (h * scale).reshape(*lead, components, t)
    return Factors(w.to(sonogram.dtype), h.to(sonogram.dtype), solution)


def distinct_frames(sonogram: Tensor, components: int) -> Tensor:
    """The frames of a sonogram that are least alike, to start the `templates` of `nmf`: `(..., f, components)`.

    By successive projection: each is the frame that is farthest from the span of those before. If every note is heard
    alone in some frame, the result is one frame of each note, and `nmf` seldom ends in a minimum that mixes notes.

    Args:
        sonogram: `(..., f, t)`, >= 0.
        components: number of frames, from 1 to the number of bins.

    Source: Gillis & Vavasis, "Fast and robust recursive algorithms for separable nonnegative matrix factorization",
    IEEE TPAMI 36(4), 2014, doi:10.1109/TPAMI.2013.226.

    >>> distinct_frames(torch.tensor([[1.0, 3.0, 0.0], [1.0, 0.0, 2.0]]), 2)
    tensor([[3., 0.],
            [0., 2.]])
    """
    _check_nmf(sonogram, components, 1.0, 0.0, 0, None)
    peak = sonogram.amax((-2, -1), keepdim=True)
    rest, frames = sonogram / torch.where(peak > 0, peak, 1), []  # squares of large numbers would overflow
    for _ in range(components):
        farthest = rest.norm(dim=-2, keepdim=True).argmax(-1, keepdim=True)
        frames.append(torch.take_along_dim(sonogram, farthest, -1))
        direction = torch.nn.functional.normalize(torch.take_along_dim(rest, farthest, -1), dim=-2)
        rest = rest - direction @ (direction.mT @ rest)
    return torch.cat(frames, -1)


def _descend(w: Tensor, h: Tensor, x: Tensor, options: Options, stop: Stop) -> tuple[Tensor, Tensor, Solution]:
    """The last `(w, h)`, and a `Solution` of the objective; as many items at once as the cache holds."""
    update, f = hals if options.beta == 2 else multiply, x.shape[2]
    aligned = (0, -f % 16)  # pads the bins to whole vectors: with few components the products are 3 times as fast

    def descend(w: Tensor, h: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        padded = pad(x, aligned, value=FLOOR)
        silent = x.amax((1, 2)) <= FLOOR  # and the activations 0: stationary, though the ratio 0 / 0 does not say so

        def gap(w: Tensor, h: Tensor) -> Tensor:
            return residual(w, h, padded, options, f).masked_fill(silent, 0)

        found = iterate(lambda k, w, h: update(w, h, padded, options), (pad(w, aligned), h), gap, stop)
        w, h = found.value[0][..., :f], found.value[1]
        return w, h, objective(w, h, x, options), *found[1:]

    count = max(1, piece(x.device) // (x.shape[1] * f))
    parts = [descend(*part) for part in zip(w.split(count), h.split(count), x.split(count), strict=True)]
    w, h, *rest = (torch.cat(part) for part in zip(*parts, strict=True))
    return w, h, Solution(*rest)


def _with_gradient(w: Tensor, h: Tensor, x: Tensor, fixed: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """`w` and `h` unchanged, with a gradient to `x` and to the `fixed` templates: see `nmf`."""
    if not derivative_wanted(x, fixed):
        return w, h
    sizes = w.shape[2], h.shape[2]
    found = torch.cat((w, h), 2)
    silent = ~h.any(2).any(1)[:, None, None]  # items without activations are held fixed; their slopes are 0 / 0

    def update(w: Tensor, h: Tensor) -> Tensor:
        w = torch.cat((fixed, w[:, options.fixed :]), 1)
        h = torch.where(silent, 1, h)
        return torch.cat(_normalised(*multiply(w, h, x, options), options.fixed), 2)

    # Entries whose relative size is at most their relative change in one more step are on their way to zero.
    with without_derivatives():
        size = torch.cat((w / w.mean(2, keepdim=True), h / h.mean(2, keepdim=True)), 2)
        vanishing = silent | ~(size * found > (update(w, h) - found).abs())

    def step(u: Tensor) -> Tensor:
        return torch.where(vanishing, found, update(*torch.where(vanishing, found, u).split(sizes, 2)))

    w, h = implicit(step, found).split(sizes, 2)
    return w, h


def _normalised(w: Tensor, h: Tensor, fixed: int) -> tuple[Tensor, Tensor]:
    """Templates of sum 1, except the fixed ones; the activations are scaled by what the templates lose."""
    total = w.sum(2)
    total = torch.where((total > 0) & (torch.arange(w.shape[1], device=w.device) >= fixed), total, 1)
    return w / total[..., None], h * total[..., None]


def _random_start(v: Tensor, components: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Random templates in (0, 1] and activations in (0, 2 / components]; the same for every item of a batch."""
    b, f, t = v.shape
    device = v.device if generator is None else generator.device
    w = 1 - torch.rand(components, f, generator=generator, device=device, dtype=v.dtype)
    h = 1 - torch.rand(components, t, generator=generator, device=device, dtype=v.dtype)
    return w.to(v.device).expand(b, -1, -1), 2 * h.to(v.device).expand(b, -1, -1) / components


def _broadcast_start(name: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Initial values for every sonogram, `(b, m, n)`; `shape` is `(..., m, n)` and `value` broadcasts to it."""
    try:
        expanded = value.expand(shape)
    except RuntimeError:
        raise ValueError(f"{name}: expected a shape that broadcasts to {shape}, got {tuple(value.shape)}.") from None
    if not holds((value >= 0) & value.isfinite()):
        raise ValueError(f"{name}: expected finite numbers >= 0; take the absolute value of a spectrum.")
    return expanded.reshape(-1, *shape[-2:])


def _check_nmf(
    sonogram: Tensor, components: int, beta: float, sparsity: float, fixed: int, templates: Tensor | None
) -> None:
    if sonogram.dim() < 2 or sonogram.numel() == 0 or not sonogram.is_floating_point():
        raise ValueError(
            f"sonogram: expected real numbers (..., f, t) with frames in it, got {sonogram.dtype} of shape "
            f"{tuple(sonogram.shape)}; take the magnitude of a spectrum, leave out empty batches."
        )
    if not holds(sonogram.isfinite()):
        raise ValueError("sonogram: some values are NaN or infinite; clean the recording first.")
    if not holds(sonogram >= 0):
        raise ValueError("sonogram: expected magnitudes or powers >= 0, got negative values; decibels will not do.")
    if not 1 <= components <= sonogram.shape[-2]:
        raise ValueError(f"components: expected 1 to the number of bins, {sonogram.shape[-2]}, got {components}.")
    if not math.isfinite(beta):
        raise ValueError(f"beta: expected a finite number, got {beta}; 2, 1 and 0 are usual.")
    if not 0 <= sparsity < math.inf:
        raise ValueError(f"sparsity: expected a number >= 0, got {sparsity}; 0 asks for none.")
    columns = 0 if templates is None else templates.shape[-1]
    if columns > components or (templates is not None and templates.dim() < 2):
        raise ValueError(f"templates: expected (..., f, k) with k <= {components} components, got {columns} columns.")
    if not 0 <= fixed <= columns:
        raise ValueError(f"fixed: expected 0 to the number of given templates, {columns}, got {fixed}.")
