"""The update steps of `nmf`, its objective and its KKT residual.

A sonogram is `x (b, t, f)` with mean 1 here, and its model is `hᵀ w + FLOOR` with activations `h (b, r, t)` and
templates `w (b, r, f)`. Frames are contiguous and worked through a few at a time, so that model and ratio of these
frames stay in the cache.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

FLOOR = 1e-7
"""Added to data and model, so that logarithms and ratios are finite: 140 dB below the mean."""

SMALLEST = 1e-12
"""An update lowers no entry below this times its row's mean: it would need hundreds of steps to grow again."""

PIECE = {"cpu": 2**18, "cuda": 2**28}
"""Elements of a sonogram worked through at once; on a CPU they stay in the cache from one product to the next."""


def piece(device: torch.device) -> int:
    """`PIECE` of a device; any accelerator is as CUDA."""
    return PIECE["cpu" if device.type == "cpu" else "cuda"]


class Options(NamedTuple):
    """Arguments of `nmf` that the steps need; `sparsity` is λ √m, for x has mean 1."""

    beta: float
    sparsity: float
    fixed: int


def multiply(w: Tensor, h: Tensor, x: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """One multiplicative update of `h`, then of `w`; the first `fixed` templates stay."""
    h = _multiplied(h, _update_factor(_ratio_h(w, h, x, options), options.beta))
    if options.fixed == w.shape[1]:
        return w, h
    updated = _multiplied(w, _update_factor(_ratio_w(w, h, x, options), options.beta))
    if options.fixed == 0:
        return updated, h
    return torch.cat((w[:, : options.fixed], updated[:, options.fixed :]), 1), h


def _multiplied(u: Tensor, factor: Tensor) -> Tensor:
    """`u * factor`, but never below `SMALLEST` × the row's mean, from where it could not recover.

    A shortened step still lowers the surrogate.
    """
    return torch.maximum(u * factor, torch.minimum(u, SMALLEST * u.mean(2, keepdim=True)).detach())


def _update_factor(ratio: Tensor, beta: float, share: float = 0.9) -> Tensor:
    """The factor s of an update: past the minimum ρ of a surrogate, by `share` of the way that is safe.

    By Jensen's inequality the objective is below a sum of functions of one factor each, equal to it at s = 1,

        G(s) = s^a / a - ρ^(a-b) s^b / b,    (a, b) = (1, β-1), (β, β-1), (β, 1)    for β < 1, between, β > 2,

    whose minimum is at ρ = ratio^γ. Past it G is flatter, so that G(s) <= G(1) holds up to

        s = ρ²               for ρ < 1, or ρ > 1 if β < 0: in log s the odd part of G is sinh(a u)/a - sinh(b u)/b;
        s^c = 2 ρ^c - 1      else, c = a, or b if β < 0: the third derivative of G in s^c is negative.

    Up to this bound the objective cannot rise; close to the bound it falls about twice as fast as at s = ρ.
    """
    # The minimum ρ of the surrogate.
    if beta < 1:
        exponent = 1 / (2 - beta)
    elif beta > 2:
        exponent = 1 / (beta - 1)
    else:
        exponent = 1
    rho = _power(ratio, exponent)

    # The two bounds, each mixed with ρ in its own scale: of s^c and of s.
    c = beta - 1 if beta < 0 else max(1, beta)
    power = _power(rho, c).clamp(min=1)
    upper = _power((1 + share) * power - share, 1 / c)
    lower = torch.lerp(rho, rho.square(), share)
    return torch.where(power > 1, upper, lower)


def _power(x: Tensor, exponent: float) -> Tensor:
    """`x ** exponent`; for the exponent 1 it is no operation."""
    return x if exponent == 1 else x**exponent


def hals(w: Tensor, h: Tensor, x: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """Hierarchical alternating least squares, for β = 2: each row of `h`, then of `w`, to its minimum in turn.

    Source: Cichocki & Phan, "Fast local algorithms for large scale nonnegative matrix and tensor factorizations", IEICE
    E92-A(3), 2009, doi:10.1587/transfun.E92.A.708.
    """
    linear = w @ x.mT - (FLOOR + _penalty_slope(w, h, options)) * w.sum(2)[..., None]
    h = _row_descent(h, linear, w @ w.mT, 0)

    linear = h @ x - (FLOOR + _penalty_slope(w, h, options)) * h.sum(2)[..., None]
    return _row_descent(w, linear, h @ h.mT, options.fixed), h


def _row_descent(u: Tensor, linear: Tensor, gram: Tensor, first: int, sweeps: int = 2) -> Tensor:
    """Minimise `½ <u, gram u> - <linear, u>`, `u >= 0`, over the rows of `u (b, r, n)` in turn, from row `first` on."""
    u = u.clone(memory_format=torch.contiguous_format)
    step = gram.diagonal(dim1=1, dim2=2).clamp(min=torch.finfo(u.dtype).tiny).reciprocal()
    for k in list(range(first, u.shape[1])) * sweeps:
        slope = torch.baddbmm(linear[:, k, None], gram[:, k, None], u, alpha=-1)[:, 0]
        u[:, k] = torch.addcmul(u[:, k], slope, step[:, k, None]).clamp(min=0)
    return u


def objective(w: Tensor, h: Tensor, x: Tensor, options: Options) -> Tensor:
    """The objective of `nmf` for each item, `(b,)`, in float64."""
    total = options.sparsity * _mass(w, h).sqrt().sum(1, dtype=torch.float64)
    for _, x_k, y in _models(w, h, x):
        total = total + _divergence(x_k, y, options.beta).sum((1, 2), dtype=torch.float64)
    return total


def residual(w: Tensor, h: Tensor, x: Tensor, options: Options, bins: int) -> Tensor:
    """The KKT residual of `nmf` for each item, `(b,)`; of `w` only the first `bins` count, the others are padding."""
    gap = _violation(h, _ratio_h(w, h, x, options))
    if options.fixed == w.shape[1]:
        return gap
    ratio = _ratio_w(w, h, x, options)
    return torch.maximum(gap, _violation(w[:, options.fixed :, :bins], ratio[:, options.fixed :, :bins]))


def _violation(u: Tensor, ratio: Tensor) -> Tensor:
    """Root mean square of `min(u / mean u, 1 - ratio)`, for each item: 0 where `u >= 0`, `∇ >= 0` and `u ∇ = 0`."""
    size = _divided(u, u.mean(2, keepdim=True))
    return torch.minimum(size, 1 - ratio).clamp(min=-1).square().mean((1, 2)).sqrt()


def _ratio_h(w: Tensor, h: Tensor, x: Tensor, options: Options) -> Tensor:
    """`∇₋ / ∇₊` of the objective with respect to h."""
    up, parts = w.sum(2)[..., None] * ((options.beta == 1) + _penalty_slope(w, h, options)), []
    for _, minus, plus in _model_gradients(w, h, x, options.beta):
        parts.append(_divided(w @ minus.mT, up if plus is None else torch.baddbmm(up, w, plus.mT)))
    return torch.cat(parts, 2)


def _ratio_w(w: Tensor, h: Tensor, x: Tensor, options: Options) -> Tensor:
    """`∇₋ / ∇₊` of the objective with respect to w."""
    total = h.sum(2)[..., None]
    down = torch.zeros_like(w)
    up = (total * ((options.beta == 1) + _penalty_slope(w, h, options))).expand_as(w)
    for h_k, minus, plus in _model_gradients(w, h, x, options.beta):
        down = torch.baddbmm(down, h_k, minus)
        up = up if plus is None else torch.baddbmm(up, h_k, plus)
    return _divided(down, up)


def _penalty_slope(w: Tensor, h: Tensor, options: Options) -> Tensor | float:
    """Slope of the sparsity term in `|w_k|₁ |h_k|₁`, `(b, r, 1)`.

    It is the slope of a tangent of the root, which lies above the root everywhere: the objective cannot rise.
    """
    return (options.sparsity / 2 / _mass(w, h).sqrt())[..., None] if options.sparsity else 0.0


def _mass(w: Tensor, h: Tensor) -> Tensor:
    """`|w_k|₁ |h_k|₁` of each component, `(b, r)`."""
    return w.sum(2) * h.sum(2) + FLOOR


def _model_gradients(w: Tensor, h: Tensor, x: Tensor, beta: float) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """A few frames at a time: `h`, and the parts `x y^(β-2)` and `y^(β-1)` of the gradient with respect to the model y.

    None stands for a second part of ones (β = 1). Unless a gradient is recorded, each item overwrites the one before.
    """
    for h_k, x_k, y in _models(w, h, x):
        if beta == 1:
            yield h_k, x_k / y if torch.is_grad_enabled() else torch.div(x_k, y, out=y), None
        elif beta == 2:
            yield h_k, x_k, y
        else:
            plus = y ** (beta - 1)
            yield h_k, x_k * plus / y, plus


def _models(w: Tensor, h: Tensor, x: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """A few frames at a time: `h`, `x` and the model `y = hᵀ w + FLOOR`. Unless a gradient is recorded, y is reused."""
    count, floor = max(16, piece(x.device) // (len(x) * x.shape[2])), w.new_full((), FLOOR)
    memory = None
    for h_k, x_k in zip(h.split(count, 2), x.split(count, 1), strict=True):
        if not torch.is_grad_enabled() and (memory is None or memory.shape != x_k.shape):
            memory = torch.empty_like(x_k)
        yield h_k, x_k, torch.baddbmm(floor, h_k.mT, w, out=memory)


def _divergence(x: Tensor, y: Tensor, beta: float) -> Tensor:
    """`d(x | y)` of `nmf`, elementwise."""
    if beta == 1:
        return x * (x / y).log() - x + y
    if beta == 0:
        return x / y - (x / y).log() - 1
    return (x**beta + ((beta - 1) * y - beta * x) * y ** (beta - 1)) / (beta * (beta - 1))


def _divided(a: Tensor, b: Tensor) -> Tensor:
    """`a / b`, and 0 where both are 0: rows and frames that are silent."""
    return a / b.clamp(min=torch.finfo(b.dtype).tiny)
