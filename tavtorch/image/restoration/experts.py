"""The energy of a learned regulariser, a sum of penalties of filtered pictures, and its certified minimiser.

    E(u) = ½ |u - f|² + Σ_c Σ_i φ_c((w_c ∗ u)_i)        |W u| <= |u|,   φ'' >= -ρ,   ρ < 1

Pictures go on beyond their borders as their mirror images. Every filter's mirror images are filters too, with the same
penalty, so that each of the four mirrored copies of `u` has a quarter of what the filters give: `|W u| <= |u|` where
`Σ_c |ŵ_c|² <= 1`. The energy is strongly convex then though its penalties are not: it has one minimiser, and
`|∇E(u)| / (1 - ρ)` bounds the distance to it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tavtorch.derivative import derivative_wanted, with_derivative, without_derivatives
from tavtorch.solve import Solution, State, Stop, compiled, conjugate_gradient, iterate

STRIP = {"cpu": 2**12}
"""Pixels that are filtered at once: what fits into the cache of a CPU; elsewhere `LARGE_STRIP`."""
LARGE_STRIP = 2**24
GRID = 64
"""Frequencies along an axis at which spectra are looked at."""


class Experts(NamedTuple):
    """Filters and penalties. `φ'` is odd, linear between knots, and constant beyond the last one:

        φ'(t) = a Σ_k (s_k - s_{k+1}) clamp(t / a, -τ_k, τ_k),        a = σ exp(scale),

    with the curvature `s_k` up to the knot `a τ_k`. `s` and the scale depend on σ.
    """

    filters: Tensor
    """`w`, `(e, 1, k, k)`, k odd."""
    curvatures: Tensor
    """`s`, for some levels of noise, `(levels, e, knots)`, at least -ρ."""
    scale: Tensor
    """`(levels, e)`."""
    knots: tuple[float, ...]
    """`τ`."""
    nearness: Tensor
    """Of σ to each level, at least 0 and 1 in all, `(b, c, levels, 1, 1)` or `(b, c, levels, h, w)`."""
    sigma: Tensor
    """σ, `(b, c, 1, 1)` or `(b, c, h, w)`."""
    rho: float

    def detach(self) -> "Experts":
        """The same without a derivative."""
        return self._each(Tensor.detach)

    def double(self) -> "Experts":
        """The same in double precision."""
        return self._each(Tensor.double)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Experts":
        tensors: dict[str, Any] = {
            name: change(part) for name, part in self._asdict().items() if isinstance(part, Tensor)
        }
        return self._replace(**tensors)

    def slope(self, u: Tensor) -> Tensor:
        """`Wᵀ φ'(W u)`."""
        return self._filtered(_fast_slope, u)

    def distance(self, u: Tensor, f: Tensor) -> Tensor:
        """The certificate `|∇E(u)| / (1 - ρ)` over the root of the number of values, `(b,)`."""
        return _distance(u - f + self._filtered(_slope, u), self.rho)

    def bend(self, u: Tensor, q: Tensor) -> Tensor:
        """`Wᵀ (φ''(W u) W q)`: how `slope` changes along `q`."""
        return self._filtered(lambda z, *profile: _curvature(z[: len(z) // 2], *profile) * z[len(z) // 2 :], u, q)

    def largest(self) -> Tensor:
        """A bound of the largest eigenvalue of `E''`, `(b, c, 1, 1)`."""
        most = self.nearness.amax((-2, -1)) @ self.curvatures.amax(-1).clamp(min=0)
        power = most @ spectrum(self.filters).flatten(1)
        return 1 + (between_grid(self.filters.shape[-1]) * power.amax(-1))[..., None, None]

    def _filtered(self, response: Callable[..., Tensor], *images: Tensor) -> Tensor:
        """`Wᵀ response(W images, profile)`, in strips of rows."""
        b, c, h, w = images[0].shape
        n, device = self.filters.shape[-1], images[0].device
        rows, columns = (mirrored(length, n // 2, device) for length in (h, w))
        wide = torch.stack([u.index_select(-2, rows).index_select(-1, columns) for u in images]).flatten(0, 2)[:, None]
        height = max(1, STRIP.get(device.type, LARGE_STRIP) // (b * c * w))
        parts = []
        for top in range(0, h, height):
            bottom = min(top + height, h)
            z = F.conv2d(wide[..., top : bottom + n - 1, :], self.filters)
            z = response(z, *self._profile(slice(top, bottom)))
            part = F.fold(self.filters.flatten(1).T @ z.flatten(2), (bottom - top + n - 1, w + n - 1), n)
            parts.append(F.pad(part, (0, 0, top, h - bottom)))
        whole = sum(parts[1:], parts[0]).reshape(b, c, h + n - 1, w + n - 1)
        folded = torch.zeros_like(whole[..., :h, :]).index_add(-2, rows, whole)
        return torch.zeros_like(folded[..., :w]).index_add(-1, columns, folded)

    def _profile(self, strip: slice) -> tuple[Tensor, Tensor, tuple[float, ...]]:
        """`a`, `(b c, e, …)`, and `s_k - s_{k+1}`, `(b c, knots, e, …)`, on some rows."""
        near, sigma = self.nearness.flatten(0, 1), self.sigma.flatten(0, 1)[:, None]
        if sigma.shape[-2] > 1:
            near, sigma = near[..., strip, :], sigma[..., strip, :]
        change = self.curvatures - F.pad(self.curvatures[..., 1:], (0, 1))
        table = torch.cat((self.scale[..., None], change), -1)
        mixed = torch.einsum("nlhw,lek->nkehw", near, table)
        return sigma * mixed[:, 0].exp(), mixed[:, 1:], self.knots


def _slope(z: Tensor, a: Tensor, change: Tensor, knots: tuple[float, ...]) -> Tensor:
    """`φ'(z)`."""
    t = z / a
    total = change[:, 0] * t.clamp(-knots[0], knots[0])
    for k, knot in enumerate(knots[1:], 1):
        total = torch.addcmul(total, change[:, k], t.clamp(-knot, knot))
    return a * total


_fast_slope = compiled(_slope)


@compiled
def _curvature(z: Tensor, a: Tensor, change: Tensor, knots: tuple[float, ...]) -> Tensor:
    """`φ''(z)`."""
    t, s = (z / a).abs(), change.flip(1).cumsum(1).flip(1)
    total = torch.zeros_like(t)
    for k in reversed(range(len(knots))):
        total = torch.where(t < knots[k], s[:, k], total)
    return total


def minimise(experts: Experts, f: Tensor, stop: Stop, unit: Tensor) -> Solution:
    """The minimiser of `E`, with its derivative; `gap` is `Experts.distance`, times `unit`, `(b, 1, 1, 1)`.

    Accelerated gradient steps, begun again where they go uphill (Nesterov 1983; O'Donoghue & Candès, Found. Comput.
    Math. 15, 2015, doi:10.1007/s10208-013-9150-3). With `H = I + Wᵀ φ''(W u) W`, which is symmetric,

        du = H⁻¹ d(f - Wᵀ φ'(W u)),        u held on the right.
    """
    fixed, image = experts.detach(), f.detach()
    with without_derivatives():
        step = 1 / fixed.largest()
        start = image, fixed.slope(image), image, torch.ones_like(image[:, :1, :1, :1])

        def move(k: int, u: Tensor, g: Tensor, last: Tensor, t: Tensor) -> State:
            new = u - step * g
            uphill = (g * (new - last)).sum((1, 2, 3), keepdim=True) > 0
            later = (1 + (1 + 4 * t.square()).sqrt()) / 2
            u = new + torch.where(uphill, 0, (t - 1) / later) * (new - last)
            return u, u - image + fixed.slope(u), new, torch.where(uphill, 1, later)

        found = iterate(move, start, lambda u, g, *_: unit.flatten() * _distance(g, fixed.rho), stop)
    u = found.value[0]
    found = found._replace(value=u)
    attached = f - experts.slope(u)
    if not derivative_wanted(attached):
        return found

    def inverse(g: Tensor) -> Tensor:
        rule = Stop(min(10 * stop.tol, 0.1), stop.max_iter, every=1)
        return conjugate_gradient(lambda q: q + fixed.bend(u, q), g, stop=rule).value

    return found._replace(value=with_derivative(attached, u, pull=inverse))


def _distance(g: Tensor, rho: float) -> Tensor:
    return g.square().mean((1, 2, 3)).sqrt() / (1 - rho)


def spectrum(filters: Tensor) -> Tensor:
    """`|ŵ|²` of filters `(e, 1, k, k)` at the frequencies of the grid, `(e, …)`."""
    return torch.fft.rfft2(filters[:, 0], s=(GRID, GRID)).abs().square()


def between_grid(size: int) -> float:
    """How many times larger than on the grid a sum of `|ŵ|²` can be between its points, for filters of `size` pixels.

    Along each axis it is a trigonometric polynomial of degree `size - 1`: Ehlich & Zeller, Math. Z. 86, 1964,
    doi:10.1007/BF01111276.
    """
    return math.cos(math.pi * (size - 1) / GRID) ** -2


def mirrored(length: int, more: int, device: torch.device) -> Tensor:
    """Numbers of the pixels of a line and of `more` on each side, where its mirror images are."""
    number = torch.arange(-more, length + more, device=device) % (2 * length)
    return torch.minimum(number, 2 * length - 1 - number)
