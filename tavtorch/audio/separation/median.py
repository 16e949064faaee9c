"""The running median along one axis, exact, from minima and maxima of shifted views: no window is ever laid out."""

import functools
import itertools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.solve import compiled

# Elements of a piece worked through at once: on a CPU its sorted runs stay in the cache.
PIECE = {"cpu": 2**17, "cuda": 2**26}


def running_median(x: Float[Tensor, "*b f t"], size: int, *, dim: int) -> Float[Tensor, "*b f t"]:
    """Median of the `size` values around each one, along `dim`, the last axis (-1) or the one before it (-2).

    Beyond its ends the signal is mirrored, the last value repeated (`c b a | a b c`), as often as needed, as in scipy's
    `median_filter(mode="reflect")`. The gradient goes to the values that are the median, in equal parts where they tie.

    Args:
        x: `(..., f, t)`.
        size: odd.

    >>> running_median(torch.tensor([[1.0, 9.0, 2.0, 3.0, 0.0]]), 3, dim=-1)
    tensor([[1., 2., 3., 2., 0.]])
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size: expected an odd number of values >= 1, got {size}; an even window has no middle.")
    return _RunningMedian.apply(x, size, dim)


class _RunningMedian(torch.autograd.Function):
    """Keeps the values and their medians, not the network between them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, dim: int) -> Tensor:
        padded = x.index_select(dim, _mirrored(x.shape[dim], size // 2, x.device))
        median = _in_pieces(padded, size, dim).reshape(x.shape)
        ctx.save_for_backward(padded, median)
        ctx.size, ctx.dim = size, dim
        return median

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        (padded, median), dim, n = ctx.saved_tensors, ctx.dim, g.shape[ctx.dim]
        hits = [padded.narrow(dim, i, n) == median for i in range(ctx.size)]
        share = g / sum(hits)
        pulled = torch.zeros_like(padded)
        for i, hit in enumerate(hits):
            pulled.narrow(dim, i, n).add_(share * hit)
        return torch.zeros_like(g).index_add(dim, _mirrored(n, ctx.size // 2, g.device), pulled), None, None


def _mirrored(n: int, border: int, device: torch.device) -> Tensor:
    """Indices `-border ... n + border - 1` folded back into `0 ... n - 1`."""
    index = torch.arange(-border, n + border, device=device) % (2 * n)
    return torch.minimum(index, 2 * n - 1 - index)


def _in_pieces(padded: Tensor, size: int, dim: int) -> Tensor:
    """Medians of the windows of `padded`, a piece that fits the cache after the other."""
    piece = PIECE[padded.device.type]
    f, t = padded.shape[-2:]
    if dim == -1:
        rows = padded.reshape(1, -1, t).split(max(1, piece // t), dim=-2)
        return torch.cat([_median(row, size, dim) for row in rows], dim=-2)
    items = padded.reshape(-1, f, t).split(max(1, piece // (f * t)))
    width = max(64, piece // f // 64 * 64)  # whole vectors
    return torch.cat([torch.cat([_median(part, size, dim) for part in item.split(width, -1)], -1) for item in items])


@compiled
def _median(x: Tensor, size: int, dim: int) -> Tensor:
    """Median of every window of `size = 2 h + 1` values that lies in `x`.

    Of two sorted runs `a` and `b` of `h` values, the h-th and the next of all are

        low = max_i min(a_i, b_{h-1-i}),        high = min_i max(a_i, b_{h-1-i}),

    since the minima are the `h` smaller values and the maxima the `h` larger. With one value `c` more the median is
    that of `low`, `c` and `high`. All windows share the runs: one window's `b` is the `a` of another, `h` further on.
    """
    h, n = size // 2, x.shape[dim] - size + 1
    last = x.narrow(dim, 2 * h, n)
    if h == 0:
        return last.clone()
    runs = _sorted_runs(x, h, dim)
    pairs = list(zip(_shifted(runs, 0, n, dim), reversed(_shifted(runs, h, n, dim)), strict=True))
    low = functools.reduce(torch.maximum, [torch.minimum(a, b) for a, b in pairs])
    high = functools.reduce(torch.minimum, [torch.maximum(a, b) for a, b in pairs])
    return torch.minimum(torch.maximum(low, last), high)


def _sorted_runs(x: Tensor, size: int, dim: int) -> list[Tensor]:
    """`size` tensors: the least, the next, ... of every `size` successive values; each run merged from two shorter."""
    if size == 1:
        return [x]
    first = size - 1 if size % 2 else size // 2
    runs, n = _sorted_runs(x, first, dim), x.shape[dim] - size + 1
    return _merged(_shifted(runs, 0, n, dim), _shifted([x] if size % 2 else runs, first, n, dim))


def _merged(a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
    """Odd-even merge of two sorted lists, of any lengths (Batcher, AFIPS 1968, doi:10.1145/1468075.1468121)."""
    if not a or not b:
        return a + b
    if len(a) == len(b) == 1:
        return [torch.minimum(a[0], b[0]), torch.maximum(a[0], b[0])]
    even, odd = _merged(a[::2], b[::2]), _merged(a[1::2], b[1::2])
    pairs = [(torch.minimum(u, v), torch.maximum(u, v)) for u, v in zip(odd, even[1:], strict=False)]
    return [even[0], *itertools.chain(*pairs), *even[len(odd) + 1 :], *odd[len(even) - 1 :]]


def _shifted(views: list[Tensor], by: int, length: int, dim: int) -> list[Tensor]:
    return [view.narrow(dim, by, length) for view in views]
