"""The steps of `nmf`: updates that never let the β-divergence rise, and how far they still have to go.

Inside, a sonogram is `x (b, t, f)` with mean 1, and `x ≈ hᵀ w + FLOOR` with activations `h (b, r, t)` and templates
`w (b, r, f)`: frames are contiguous, and worked through a few at a time, so that model and ratio stay in the cache.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

FLOOR = 1e-7  # under data and model alike: where logarithms and ratios end, 140 dB down
LEAST = 1e-12  # times the mean: what falls below that would take hundreds of steps to come back
# Elements of a sonogram worked through at once: on a CPU they stay in the cache from one product to the next.
PIECE = {"cpu": 2**18, "cuda": 2**28}


class Rules(NamedTuple):
    """What is asked of a factorisation; see `nmf`."""

    beta: float
    sparsity: float
    fixed: int


def multiply(w: Tensor, h: Tensor, x: Tensor, rules: Rules) -> tuple[Tensor, Tensor]:
    """Multiplicative updates of h, then of w."""
    h = _moved(h, _relaxed(_ratio_h(w, h, x, rules), rules.beta))
    if rules.fixed == w.shape[1]:
        return w, h
    moved = _moved(w, _relaxed(_ratio_w(w, h, x, rules), rules.beta))
    return torch.cat((w[:, : rules.fixed], moved[:, rules.fixed :]), 1), h


def _moved(u: Tensor, factor: Tensor) -> Tensor:
    """`u s`, but no nearer to zero than something that could still come back.

    Where it stops short of `s`, the surrogate is lower than at 1 all the same.
    """
    return torch.maximum(u * factor, torch.minimum(u, LEAST * u.mean(2, keepdim=True)).detach())


def _relaxed(ratio: Tensor, beta: float, share: float = 0.9) -> Tensor:
    """The factor s of an update: that to the least of a surrogate, ρ, and beyond it by a share of what is allowed.

    By Jensen's inequality the objective is below a sum of functions of one factor each, equal to it at s = 1,

        G(s) = s^a / a - ρ^(a-b) s^b / b,    (a, b) = (1, β-1), (β, β-1), (β, 1)    for β < 1, between, β > 2,

    whose least is at ρ = ratio^γ. Beyond it G is flatter, so that G(s) <= G(1) as far as

        s = ρ²               for ρ < 1, or ρ > 1 if β < 0: in log s the odd part of G is sinh(a u)/a - sinh(b u)/b;
        s^c = 2 ρ^c - 1      else, c = a, or b if β < 0: the third derivative of G in s^c is negative.

    Within this the objective cannot rise, and near the end of it it falls twice as fast.
    """
    rho = ratio ** (1 / (2 - beta) if beta < 1 else 1 / (beta - 1) if beta > 2 else 1)
    c = beta - 1 if beta < 0 else max(1, beta)
    power = (rho**c).clamp(min=1)
    return torch.where(power > 1, ((1 + share) * power - share) ** (1 / c), rho * (1 - share + share * rho))


def hals(w: Tensor, h: Tensor, x: Tensor, rules: Rules) -> tuple[Tensor, Tensor]:
    """For β = 2: exact descent in one component after the other.

    Source: Cichocki & Phan, "Fast local algorithms for large scale nonnegative matrix and tensor factorizations", IEICE
    E92-A(3), 2009, doi:10.1587/transfun.E92.A.708.
    """
    h = _sweep(h, w @ x.mT - (FLOOR + _price(w, h, rules)) * w.sum(2)[..., None], w @ w.mT, 0)
    return _sweep(w, h @ x - (FLOOR + _price(w, h, rules)) * h.sum(2)[..., None], h @ h.mT, rules.fixed), h


def _sweep(u: Tensor, a: Tensor, g: Tensor, first: int, sweeps: int = 2) -> Tensor:
    """Least of `½ <u, G u> - <a, u>`, `u >= 0`, over one row of `u (b, r, n)` after the other."""
    u = u.clone(memory_format=torch.contiguous_format)
    for k in list(range(first, u.shape[1])) * sweeps:
        slope = a[:, k] - (g[:, k, None] @ u)[:, 0]
        u[:, k] = (u[:, k] + _over(slope, g[:, k, k, None])).clamp(min=0)
    return u


def objective(w: Tensor, h: Tensor, x: Tensor, rules: Rules) -> Tensor:
    """What `nmf` lets fall, of each item, in float64."""
    total = rules.sparsity * _loudness(w, h).sqrt().sum(1, dtype=torch.float64)
    for _, x_k, y in _models(w, h, x):
        total = total + _divergence(x_k, y, rules.beta).sum((1, 2), dtype=torch.float64)
    return total


def residual(w: Tensor, h: Tensor, x: Tensor, rules: Rules, bins: int) -> Tensor:
    """How far `(w, h)` is from the conditions of Karush, Kuhn & Tucker, see `nmf`, in the first so many `bins`."""
    gap = _complementary(h, _ratio_h(w, h, x, rules))
    if rules.fixed == w.shape[1]:
        return gap
    ratio = _ratio_w(w, h, x, rules)
    return torch.maximum(gap, _complementary(w[:, rules.fixed :, :bins], ratio[:, rules.fixed :, :bins]))


def _complementary(u: Tensor, ratio: Tensor) -> Tensor:
    """Root mean square of `min(u / mean u, 1 - ratio)`, for each item."""
    size = _over(u, u.mean(2, keepdim=True))
    return torch.minimum(size, 1 - ratio).clamp(min=-1).square().mean((1, 2)).sqrt()


def _ratio_h(w: Tensor, h: Tensor, x: Tensor, rules: Rules) -> Tensor:
    """`∇₋ / ∇₊` with respect to h."""
    total, price, parts = w.sum(2)[..., None], _price(w, h, rules), []
    for _, minus, plus in _slopes(w, h, x, rules.beta):
        parts.append(_over(w @ minus.mT, (total if plus is None else w @ plus.mT) + price * total))
    return torch.cat(parts, 2)


def _ratio_w(w: Tensor, h: Tensor, x: Tensor, rules: Rules) -> Tensor:
    """`∇₋ / ∇₊` with respect to w."""
    total = h.sum(2)[..., None]
    down, up = torch.zeros_like(w), (total * ((rules.beta == 1) + _price(w, h, rules))).expand_as(w)
    for h_k, minus, plus in _slopes(w, h, x, rules.beta):
        down = torch.baddbmm(down, h_k, minus)
        up = up if plus is None else torch.baddbmm(up, h_k, plus)
    return _over(down, up)


def _price(w: Tensor, h: Tensor, rules: Rules) -> Tensor | float:
    """What sparsity asks for more of a component: the slope of a tangent, which is nowhere below the root."""
    return (rules.sparsity / 2 / _loudness(w, h).sqrt())[..., None] if rules.sparsity else 0.0


def _loudness(w: Tensor, h: Tensor) -> Tensor:
    """`|w|₁ |h|₁` of each component."""
    return w.sum(2) * h.sum(2) + FLOOR


def _slopes(w: Tensor, h: Tensor, x: Tensor, beta: float) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """`h` of a few frames and the two parts of the gradient in their model y, `x y^(β-2)` and `y^(β-1)`; None for ones.

    Where no gradient is recorded all is written to one place: what was given out is good until the next.
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
    """A few frames at a time: `h`, `x` and `y = hᵀ w + FLOOR`, the floor as one component more."""
    r, count, space = h.shape[1], max(16, PIECE[x.device.type] // (len(x) * x.shape[2])), None
    w, h = torch.cat((w, torch.full_like(w[:, :1], FLOOR)), 1), torch.cat((h, torch.ones_like(h[:, :1])), 1)
    for h_k, x_k in zip(h.split(count, 2), x.split(count, 1), strict=True):
        if not torch.is_grad_enabled() and (space is None or space.shape != x_k.shape):
            space = torch.empty_like(x_k)
        yield h_k[:, :r], x_k, torch.bmm(h_k.mT, w, out=space)


def _divergence(x: Tensor, y: Tensor, beta: float) -> Tensor:
    """`d(x | y)`, see `nmf`."""
    if beta == 1:
        return x * (x / y).log() - x + y
    if beta == 0:
        return x / y - (x / y).log() - 1
    return (x**beta + ((beta - 1) * y - beta * x) * y ** (beta - 1)) / (beta * (beta - 1))


def _over(a: Tensor, b: Tensor) -> Tensor:
    """`a / b`, and 0 for what does not sound at all."""
    return a / b.clamp(min=torch.finfo(b.dtype).tiny)
