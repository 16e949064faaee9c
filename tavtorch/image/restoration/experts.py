"""The energy of a learned regulariser, a sum of penalties of filtered pictures, and its certified minimiser.

    E(u) = ½ |u - f|² + Σ_c Σ_i φ_c((w_c ∗ u)_i)        |W u| <= |u|,   φ'' >= -ρ,   ρ < 1

Pictures go on beyond their borders as their mirror images. Every filter's mirror images are filters too, with the same
penalty, so that `Σ_c a_c w_cᵀ ∗ w_c` is diagonal in the cosine transform for any numbers `a` of these families. With
`r_c` and `s_c` the least and the largest curvature of a penalty,

    M = 1 + Σ_c min(r_c, 0) |ŵ_c|²  <=  E''  <=  P = 1 + Σ_c max(s_c, 0) |ŵ_c|²,        M >= 1 - ρ,

so that the energy is strongly convex though its penalties are not: it has one minimiser, and its distance is at most
`|M^-½ ∇E(u)| / (min M)^½`. For with `d` the way to the minimiser, `|M^½ d|² <= dᵀ∇E(u) <= |M^½ d| |M^-½ ∇E(u)|`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tavtorch.derivative import derivative_wanted, with_derivative, without_derivatives
from tavtorch.image.grid import cosine_response, cosine_transform, inverse_cosine_transform, mirrored
from tavtorch.memory import into
from tavtorch.solve import Solution, State, Stop, compiled, conjugate_gradient, iterate

STRIP = {"cpu": 2**12}
"""Pixels that are filtered at once: what fits into the cache of a CPU; elsewhere `LARGE_STRIP`."""
LARGE_STRIP = 2**24
GRID = 64
"""Frequencies along an axis at which spectra are looked at."""
REMEMBERED = 3
"""Last steps that the next one is mixed from."""


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
        """The certificate: a bound of the root mean square distance from `u` to the minimiser, `(b,)`."""
        least, _ = self.bounds(u.shape[-2:])
        return _distance(_weighed(u - f + self._filtered(_slope, u), least))

    def bend(self, u: Tensor, q: Tensor) -> Tensor:
        """`Wᵀ (φ''(W u) W q)`: how `slope` changes along `q`."""
        return self._filtered(lambda z, *profile: _curvature(z[: len(z) // 2], *profile) * z[len(z) // 2 :], u, q)

    def bounds(self, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """`M` and `P` at the frequencies of `cosine_transform` for pictures of a size, `(b, c, h, w)` both."""
        if self.nearness[0, 0, 0].numel() == 1:
            curvature = torch.einsum("bclhw,lek->bcek", self.nearness, self.curvatures)
            least, most = curvature.amin(-1), curvature.amax(-1)
        else:  # of all levels that a map has
            there = self.nearness.amax((-2, -1))[..., None] > 0
            least = torch.where(there, self.curvatures.amin(-1), torch.inf).amin(2)
            most = torch.where(there, self.curvatures.amax(-1), -torch.inf).amax(2)
        strengths = torch.stack((least.clamp(max=0), most.clamp(min=0)))
        reach = self.filters.shape[-1] - 1
        middle = slice(2 * reach + 1)
        correlations = torch.fft.irfft2(spectrum(self.filters), s=(GRID, GRID)).roll((reach, reach), (-2, -1))
        kernels = torch.einsum("...e,eyx->...yx", strengths, correlations[:, middle, middle])
        below, above = cosine_response(kernels, size)
        return 1 + below, 1 + above

    def _filtered(self, response: Callable[..., Tensor], *images: Tensor) -> Tensor:
        """`Wᵀ response(W images, profile)`, in strips of rows."""
        b, c, h, w = images[0].shape
        n, device = self.filters.shape[-1], images[0].device
        more = n // 2
        rows, columns = (mirrored(length, more, device) for length in (h, w))
        wide = torch.stack(images).flatten(0, 2)[:, None, rows[:, None], columns]
        height = max(1, STRIP.get(device.type, LARGE_STRIP) // (b * c * w))
        same = self.nearness.shape[-2] == self.sigma.shape[-2] == 1
        profile, whole = self._profile(slice(None)) if same else None, None
        for top in range(0, h, height):
            bottom = min(top + height, h)
            z = F.conv2d(wide[..., top : bottom + n - 1, :], self.filters)
            z = response(z, *(profile or self._profile(slice(top, bottom))))
            part = F.fold(self.filters.flatten(1).T @ z.flatten(2), (bottom - top + n - 1, w + n - 1), n)
            if whole is None:  # made from a part, so that `vmap` knows it as one of its own
                whole = part.new_zeros(b * c, 1, h + n - 1, w + n - 1)
            whole[..., top : bottom + n - 1, :] += part
        assert whole is not None
        for axis, place in ((-2, rows), (-1, columns)):
            inside = len(place) - 2 * more
            before, middle, after = whole.split((more, inside, more), axis)
            whole = middle.index_add(axis, place[:more], before).index_add(axis, place[more + inside :], after)
        return whole.reshape(b, c, h, w)

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
    """`φ'(z)`, from the outermost knot inwards: what is within one is enough for the next, and takes its place."""
    t, total = z / a, torch.zeros_like(z)
    for k in reversed(range(len(knots))):
        t = into(t, torch.clamp, t, -knots[k], knots[k])
        total.addcmul_(change[:, k], t)
    return into(total, torch.mul, a, total)


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

    From `u = P⁻¹ f`, which smooths all, by the steps `-P⁻¹ ∇E(u)`, none of which can go too far. They are mixed with
    those before, so that `M^-½ ∇E`, whose length the certificate is, would be least if the energy were quadratic
    (Anderson, J. ACM 12, 1965, doi:10.1145/321296.321305); where it has grown all the same, the mixture starts again
    with the plain step. With `H = I + Wᵀ φ''(W u) W`, which is symmetric,

        du = H⁻¹ d(f - Wᵀ φ'(W u)),        u held on the right.
    """
    fixed, image = experts.detach(), f.detach()
    with without_derivatives():
        least, most = fixed.bounds(f.shape[-2:])

        def descent(g: Tensor) -> Tensor:
            return inverse_cosine_transform(cosine_transform(g) / most)

        def at(u: Tensor) -> tuple[Tensor, Tensor]:
            """The plain step's end, and what is to vanish."""
            g = u - image + fixed.slope(u)
            return u - descent(g), _weighed(g, least)

        def move(k: int, u: Tensor, end: Tensor, error: Tensor, ends: Tensor, errors: Tensor) -> State:
            share = _shares(errors, error)
            u = end - torch.einsum("bcm,bcmhw->bchw", share, ends)
            new, last = at(u), (end, error)
            fine = _squares(new[1]) <= _squares(error)
            ends, errors = (
                torch.where(fine[..., None], torch.cat((kept[:, :, 1:], (a - b)[:, :, None]), 2), 0)
                for kept, a, b in zip((ends, errors), new, last, strict=True)
            )
            return u, *new, ends, errors

        start = descent(image)
        nothing = torch.zeros_like(start)[:, :, None].repeat(1, 1, REMEMBERED, 1, 1)
        state = start, *at(start), nothing, nothing
        found = iterate(move, state, lambda u, end, error, *_: unit.flatten() * _distance(error), stop)
    u = found.value[0]
    found = found._replace(value=u)
    attached = f - experts.slope(u)
    if not derivative_wanted(attached):
        return found

    def inverse(g: Tensor) -> Tensor:
        rule = Stop(min(10 * stop.tol, 0.1), stop.max_iter, every=1)
        return conjugate_gradient(lambda q: q + fixed.bend(u, q), g, precondition=descent, stop=rule).value

    return found._replace(value=with_derivative(attached, u, pull=inverse))


def _weighed(g: Tensor, least: Tensor) -> Tensor:
    """`(M min M)^-½ g`, in the cosine transform; its length bounds the distance to the minimiser."""
    return cosine_transform(g) / (least * least.amin((-2, -1), keepdim=True)).sqrt()


def _distance(error: Tensor) -> Tensor:
    return error.square().mean((1, 2, 3)).sqrt()


def _squares(a: Tensor) -> Tensor:
    return a.square().sum((-2, -1), keepdim=True)


def _shares(changes: Tensor, error: Tensor) -> Tensor:
    """The least-squares solution `x` of `Σ_m x_m changes_m = error`, `(b, c, m)`; of no change there is none."""
    changes = changes.flatten(3).double()
    products = changes @ changes.mT
    size = products.diagonal(dim1=-2, dim2=-1).clamp(min=1e-300).sqrt()
    cosines = products / size[..., None] / size[..., None, :]
    damped = cosines + 1e-9 * torch.eye(len(size[0, 0]), dtype=cosines.dtype, device=cosines.device)
    seen = (changes @ error.flatten(2).double()[..., None])[..., 0] / size
    return (torch.linalg.solve_ex(damped, seen)[0] / size).to(error.dtype)


def spectrum(filters: Tensor) -> Tensor:
    """`|ŵ|²` of filters `(e, 1, k, k)` at the frequencies of the grid, `(e, …)`."""
    return torch.fft.rfft2(filters[:, 0], s=(GRID, GRID)).abs().square()


def between_grid(size: int) -> float:
    """How many times larger than on the grid a sum of `|ŵ|²` can be between its points, for filters of `size` pixels.

    Along each axis it is a trigonometric polynomial of degree `size - 1`: Ehlich & Zeller, Math. Z. 86, 1964,
    doi:10.1007/BF01111276.
    """
    return math.cos(math.pi * (size - 1) / GRID) ** -2
