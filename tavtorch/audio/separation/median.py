"""The exact running median along one axis, from minima and maxima of shifted views, without copying any window."""

import functools
import itertools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.solve import compiled

PIECE = {"cpu": 2**17, "cuda": 2**22}
"""Elements worked through at once: on a CPU their sorted runs stay in the cache, and on a GPU a window of 61 values,
with 84 copies of each, takes 1.4 GB."""


def running_median(x: Float[Tensor, "*b f t"], size: int, *, dim: int) -> Float[Tensor, "*b f t"]:
    """Median of the `size` values around each value, along one axis.

    Beyond its ends the signal is mirrored with the last value repeated (`c b a | a b c`), as often as needed, as in
    scipy's `median_filter(mode="reflect")`. The gradient of a median goes to the value that is the median; values that
    tie share it equally.

    Args:
        x: `(..., f, t)`.
        size: length of the window, odd.
        dim: -1 (time) or -2 (frequency).

    >>> running_median(torch.tensor([[1.0, 9.0, 2.0, 3.0, 0.0]]), 3, dim=-1)
    tensor([[1., 2., 3., 2., 0.]])
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size: expected an odd number of values >= 1, got {size}; an even window has no middle.")
    return _RunningMedian.apply(x, size, dim)


class _RunningMedian(torch.autograd.Function):
    """Saves the values and their medians for derivatives, not the minima and maxima in between."""

    @staticmethod
    def forward(x: Tensor, size: int, dim: int) -> Tensor:
        return _in_pieces(_padded(x, size, dim), size, dim).reshape(x.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        x, ctx.size, ctx.dim = inputs
        ctx.save_for_backward(x, output)
        ctx.save_for_forward(x, output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        x, median = ctx.saved_tensors
        dim, n = ctx.dim, g.shape[ctx.dim]

        # The gradient that each of the values gets that are the median of a window.
        is_median = _are_medians(_padded(x, ctx.size, dim), median, ctx.size, dim)
        share = g / sum(is_median)
        source = _mirrored(n, ctx.size // 2, g.device)
        padded_gradient = torch.zeros_like(g).index_select(dim, source)
        for i, tied in enumerate(is_median):
            padded_gradient.narrow(dim, i, n).add_(share * tied)

        # A mirrored value passes its gradient on to the value that it is a copy of.
        return torch.zeros_like(g).index_add(dim, source, padded_gradient), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        """The mean of the tangents of the values that are the median."""
        x, median = ctx.saved_tensors
        dim, n = ctx.dim, tangent.shape[ctx.dim]
        is_median = _are_medians(_padded(x, ctx.size, dim), median, ctx.size, dim)
        padded = _padded(tangent, ctx.size, dim)
        total = torch.zeros_like(tangent)
        for i, tied in enumerate(is_median):
            total = total + padded.narrow(dim, i, n) * tied
        return total / sum(is_median)

    @staticmethod
    def vmap(info: Any, dims: Any, x: Tensor, size: int, dim: int) -> tuple[Tensor, int]:
        """The axis is counted from the end: a mapped axis is one more in front."""
        return _RunningMedian.apply(x.movedim(dims[0], 0), size, dim), 0


def _padded(x: Tensor, size: int, dim: int) -> Tensor:
    """`x` mirrored at both ends, by half a window."""
    return x.index_select(dim, _mirrored(x.shape[dim], size // 2, x.device))


def _are_medians(padded: Tensor, median: Tensor, size: int, dim: int) -> list[Tensor]:
    """For each place in a window, where the value there is the median of its window."""
    return [padded.narrow(dim, i, median.shape[dim]) == median for i in range(size)]


def _mirrored(n: int, border: int, device: torch.device) -> Tensor:
    """Indices `-border ... n + border - 1` reflected into `0 ... n - 1`."""
    index = torch.arange(-border, n + border, device=device) % (2 * n)
    return torch.minimum(index, 2 * n - 1 - index)


def _in_pieces(padded: Tensor, size: int, dim: int) -> Tensor:
    """Medians of all windows of `padded`, computed in pieces of about `PIECE` elements."""
    piece = PIECE["cpu" if padded.device.type == "cpu" else "cuda"]  # any accelerator is as CUDA
    f, t = padded.shape[-2:]

    # Along time: some rows at a time, of whichever item.
    if dim == -1:
        rows = padded.reshape(1, -1, t).split(max(1, piece // t), dim=-2)
        return torch.cat([_median(row, size, dim) for row in rows], dim=-2)

    # Along frequency: some items at a time, and of a large item some columns, a multiple of the vector length.
    items = padded.reshape(-1, f, t).split(max(1, piece // (f * t)))
    width = max(64, piece // f // 64 * 64)
    return torch.cat([torch.cat([_median(part, size, dim) for part in item.split(width, -1)], -1) for item in items])


@compiled
def _median(x: Tensor, size: int, dim: int) -> Tensor:
    """Median of every window of `size = 2 h + 1` values that lies in `x`.

    A window is two runs of `h` values and one more value c. With the runs sorted, `a` and `b`, the h-th and the
    (h+1)-th smallest of their 2 h values are

        low = max_i min(a_i, b_{h-1-i}),        high = min_i max(a_i, b_{h-1-i}),

    for the minima are the `h` smaller values and the maxima the `h` larger ones. The median is that of `low`, c and
    `high`. Windows share their runs: the run `b` of one window is the run `a` of the window `h` positions later.
    """
    h, n = size // 2, x.shape[dim] - size + 1
    last = x.narrow(dim, 2 * h, n)
    if h == 0:
        return last.clone()

    runs = _sorted_runs(x, h, dim)
    a, b = _shifted(runs, 0, n, dim), _shifted(runs, h, n, dim)
    pairs = list(zip(a, reversed(b), strict=True))
    low = functools.reduce(torch.maximum, [torch.minimum(one, other) for one, other in pairs])
    high = functools.reduce(torch.minimum, [torch.maximum(one, other) for one, other in pairs])
    return torch.minimum(torch.maximum(low, last), high)


def _sorted_runs(x: Tensor, size: int, dim: int) -> list[Tensor]:
    """`size` tensors: the smallest, the second smallest, ... of every `size` successive values of `x`.

    A run of even length is merged from two of half its length, one of odd length from a run and one more value.
    """
    if size == 1:
        return [x]
    first = size - 1 if size % 2 else size // 2
    runs, n = _sorted_runs(x, first, dim), x.shape[dim] - size + 1
    return _merged(_shifted(runs, 0, n, dim), _shifted([x] if size % 2 else runs, first, n, dim))


def _merged(a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
    """Odd-even merge of two sorted lists of any lengths (Batcher, AFIPS 1968, doi:10.1145/1468075.1468121)."""
    if not a or not b:
        return a + b
    if len(a) == len(b) == 1:
        return [torch.minimum(a[0], b[0]), torch.maximum(a[0], b[0])]
    even, odd = _merged(a[::2], b[::2]), _merged(a[1::2], b[1::2])
    pairs = [(torch.minimum(u, v), torch.maximum(u, v)) for u, v in zip(odd, even[1:], strict=False)]
    return [even[0], *itertools.chain(*pairs), *even[len(odd) + 1 :], *odd[len(even) - 1 :]]


def _shifted(views: list[Tensor], by: int, length: int, dim: int) -> list[Tensor]:
    """Views of `length` positions of each tensor, from position `by` on."""
    return [view.narrow(dim, by, length) for view in views]
