"""The steps of `nmf`: updates that never let the β-divergence rise, and how far they still have to go.

Inside, a sonogram is `x (b, t, f)` with mean 1, and `x ≈ h @ w + FLOOR` with activations `h (b, t, r)` and templates
`w (b, r, f)`: frames are contiguous, and what stays in the cache is a few of them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from tavtorch.solve import State

FLOOR = 1e-7  # under data and model alike: where logarithms and ratios end, 140 dB down
# Elements of a sonogram worked through at once: on a CPU they stay in the cache from one product to the next.
PIECE = {"cpu": 2**17, "cuda": 2**28}


class Rules(NamedTuple):
    """What is asked of a factorisation; see `nmf`."""

    beta: float
    sparsity: float
    fixed: int


def multiply(w: Tensor, h: Tensor, x: Tensor, rules: Rules) -> State:
    """The objective at `(w, h)`, and the multiplicative updates of h, then of w. `x (b, t, f)`, `h (b, t, r)`."""
    beta, sparsity, fixed = rules
    exponent = 1 / (2 - beta) if beta < 1 else 1 / (beta - 1) if beta > 2 else 1.0
    found = []
    for w_i, h_i, x_i in _items(x, w, h, x):
        objective, new = _penalty(w_i, h_i, sparsity), list[Tensor]()
        minus, plus = torch.zeros_like(w_i), torch.zeros_like(w_i)
        for h_k, x_k in _frames(h_i, x_i):
            y = _model(w_i, h_k)
            n, p = _slopes(x_k, y, beta)
            objective = objective + _divergence(x_k, y, n, p, beta)
            down = _back(p, w_i.mT) + sparsity * w_i.sum(2)[:, None]
            h_k = h_k * _ratio(n @ w_i.mT, down) ** exponent
            n, p = _slopes(x_k, _model(w_i, h_k), beta)
            new, minus, plus = [*new, h_k], minus + h_k.mT @ n, plus + _forth(h_k.mT, p)
        h_i = torch.cat(new, 1)
        moved = w_i * _ratio(minus, plus + sparsity * h_i.sum(1)[..., None]) ** exponent
        found.append((objective, torch.cat((w_i[:, :fixed], moved[:, fixed:]), 1), h_i))
    objective, w, h = (torch.cat(parts) for parts in zip(*found, strict=True))
    return objective, w, h


def hals(w: Tensor, h: Tensor, x: Tensor, rules: Rules) -> State:
    """The objective at `(w, h)` for β = 2, and exact descent in one component after the other.

    Source: Cichocki & Phan, "Fast local algorithms for large scale nonnegative matrix and tensor factorizations", IEICE
    E92-A(3), 2009, doi:10.1587/transfun.E92.A.708.
    """
    _, sparsity, fixed = rules
    sounds = w.sum(2)[..., None]
    a, g = (x @ w.mT).mT - FLOOR * sounds, w @ w.mT
    fit = (g.double() * (h.mT @ h)).sum((1, 2)) - 2 * (a.double() * h.mT).sum((1, 2))
    objective = (x - FLOOR).square().sum((1, 2), dtype=torch.float64) / 2 + fit / 2 + _penalty(w, h, sparsity)
    h = _sweep(h.mT, a - sparsity * sounds, g, 0).mT
    a = h.mT @ x - (FLOOR + sparsity) * h.sum(1)[..., None]
    return objective, _sweep(w, a, h.mT @ h, fixed), h


def _sweep(u: Tensor, a: Tensor, g: Tensor, first: int, sweeps: int = 2) -> Tensor:
    """Least of `½ <u, G u> - <a, u>`, `u >= 0`, over one row of `u (b, r, n)` after the other."""
    rows = list(u.unbind(1))
    for k in list(range(first, len(rows))) * sweeps:
        slope = a[:, k] - (g[:, k, None] @ torch.stack(rows, 1))[:, 0]
        rows[k] = (rows[k] + _ratio(slope, g[:, k, k, None])).clamp(min=0)
    return torch.stack(rows, 1)


def residual(w: Tensor, h: Tensor, x: Tensor, rules: Rules) -> Tensor:
    """How far `(w, h)` is from the conditions of Karush, Kuhn & Tucker; see `nmf`."""
    beta, sparsity, fixed = rules
    found = []
    for w_i, h_i, x_i in _items(x, w, h, x):
        sides, minus, plus = [], torch.zeros_like(w_i), torch.zeros_like(w_i)
        for h_k, x_k in _frames(h_i, x_i):
            n, p = _slopes(x_k, _model(w_i, h_k), beta)
            sides.append(_ratio(n @ w_i.mT, _back(p, w_i.mT) + sparsity * w_i.sum(2)[:, None]))
            minus, plus = minus + h_k.mT @ n, plus + _forth(h_k.mT, p)
        worst = [_complementary(h_i.mT, torch.cat(sides, 1).mT)]
        if fixed < w.shape[1]:
            ratio = _ratio(minus, plus + sparsity * h_i.sum(1)[..., None])
            worst.append(_complementary(w_i[:, fixed:], ratio[:, fixed:]))
        found.append(torch.stack(worst).amax(0))
    return torch.cat(found)


def _complementary(u: Tensor, ratio: Tensor) -> Tensor:
    """Root mean square of `min(u / mean u, 1 - ratio)`, for each item."""
    size = _ratio(u, u.mean(2, keepdim=True))
    return torch.minimum(size, 1 - ratio).clamp(min=-1).square().mean((1, 2)).sqrt()


def _model(w: Tensor, h: Tensor) -> Tensor:
    return (h @ w).add_(FLOOR)


def _slopes(x: Tensor, y: Tensor, beta: float) -> tuple[Tensor, Tensor | None]:
    """The two parts of the gradient in y, `x y^(β-2)` and `y^(β-1)`; None for ones, which need no products."""
    if beta == 1:
        return x / y, None
    if beta == 2:
        return x, y
    plus = y ** (beta - 1)
    return x * plus / y, plus


def _divergence(x: Tensor, y: Tensor, minus: Tensor, plus: Tensor | None, beta: float) -> Tensor:
    """β-divergence of each item, from its slopes."""
    if plus is None:
        logs = x.reshape(len(x), 1, -1) @ minus.log().reshape(len(x), -1, 1)
        return logs[:, 0, 0].double() + y.sum((1, 2)).double() - x.sum((1, 2)).double()
    if beta == 0:
        ratio = x / y
        return (ratio - ratio.log() - 1).sum((1, 2), dtype=torch.float64)
    terms = x**beta + ((beta - 1) * plus - beta * minus) * y
    return terms.sum((1, 2), dtype=torch.float64) / (beta * (beta - 1))


def _penalty(w: Tensor, h: Tensor, sparsity: float) -> Tensor:
    return sparsity * (w.sum(2).double() * h.sum(1).double()).sum(1)


def _back(plus: Tensor | None, wt: Tensor) -> Tensor:
    return wt.sum(1, keepdim=True) if plus is None else plus @ wt


def _forth(ht: Tensor, plus: Tensor | None) -> Tensor:
    return ht.sum(2, keepdim=True) if plus is None else ht @ plus


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """`a / b`, and 0 for what does not sound at all."""
    return a / b.clamp(min=torch.finfo(b.dtype).tiny)


def _items(x: Tensor, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    count = max(1, PIECE[x.device.type] // (x.shape[1] * x.shape[2]))
    return zip(*(tensor.split(count) for tensor in tensors), strict=True)


def _frames(h: Tensor, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    count = max(16, PIECE[x.device.type] // (len(x) * x.shape[2]))
    return zip(h.split(count, 1), x.split(count, 1), strict=True)
