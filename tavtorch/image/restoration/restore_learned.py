"""The picture behind a linear operator in which learned filters find little, and how far from settled it is.

    E(u) = ½ |A u - f|² + λ R(u),        R(u) = Σ_c Σ_i φ_c((w_c ∗ u)_i)

With `K = AᵀA` diagonal in the cosine transform, and `1 + m <= 1 + R'' <= 1 + p` the bounds of `Experts`,

    M = K + λ m  <=  E''  <=  P = K + λ p,

and `P` bounds `E''` for every other operator too, with a bound of `AᵀA` for `K`. Where `M > 0` the energy is strongly
convex: its minimiser is unique, and at most `|M^-½ ∇E(u)| / (min M)^½` away. Where it is not, as behind a blur that
takes a frequency away, a minimiser need not be unique, and the certificate is what is left of the optimality condition,
`|P⁻¹ ∇E(u)|`: the step that gradient descent would take next.
"""

import logging

import torch
from torch import Tensor

from tavtorch.derivative import derivative_wanted, holds, with_derivative, without_derivatives
from tavtorch.image.grid import cosine_transform, inverse_cosine_transform
from tavtorch.image.restoration.experts import Experts
from tavtorch.image.restoration.operators import Operator
from tavtorch.solve import UNSETTLED, Solution, State, Stop, conjugate_gradient, iterate

log = logging.getLogger(__name__)


def minimise(
    operator: Operator, experts: Experts, f: Tensor, weight: Tensor, still: Tensor, stop: Stop, unit: Tensor
) -> Solution:
    """A minimiser of `E`, with its derivative; `gap` is the certificate above, root mean square, times `unit`.

    Accelerated gradient steps in the metric `P`, begun again where they go uphill (Nesterov 1983; O'Donoghue & Candès,
    Found. Comput. Math. 15, 2015, doi:10.1007/s10208-013-9150-3). With `H = AᵀA + λ Wᵀ φ''(W u) W`, symmetric,

        du = H⁻¹ d(Aᵀ(f - A u) - λ ∇R(u)),        u held on the right.

    Args:
        weight: λ > 0, `(b, 1, 1, 1)`.
        still: the best constant picture, from which the steps start, as far as `A` does not say more.
    """
    fixed, data, strength = experts.detach(), f.detach(), weight.detach()
    with without_derivatives():
        pulled = operator.adjoint(data)
        least, most = _bounds(operator, fixed, strength, pulled)

        def descent(g: Tensor) -> Tensor:
            return inverse_cosine_transform(cosine_transform(g) / most)

        def slope(u: Tensor, f: Tensor = data, experts: Experts = fixed, strength: Tensor = strength) -> Tensor:
            return operator.adjoint(operator(u) - f) + strength * experts.slope(u)

        def move(k: int, u: Tensor, g: Tensor, last: Tensor, t: Tensor) -> State:
            new = u - descent(g)
            uphill = (g * (new - last)).sum((1, 2, 3), keepdim=True) > 0
            later = (1 + (1 + 4 * t.square()).sqrt()) / 2
            u = new + torch.where(uphill, 0, (t - 1) / later) * (new - last)
            return u, slope(u), new, torch.where(uphill, 1, later)

        start = still + descent(operator.adjoint(data - operator(still.expand_as(pulled))))
        state = start, slope(start), start, torch.ones_like(start[:, :1, :1, :1])
        found = iterate(move, state, lambda u, g, *_: unit.flatten() * _certificate(g, least, most), stop)
    u = found.value[0]
    found = found._replace(value=u)
    attached = operator.adjoint(f - operator(u)) - weight * experts.slope(u)
    if not derivative_wanted(attached):
        return found

    def inverse(g: Tensor) -> Tensor:
        def hessian(q: Tensor) -> Tensor:
            return operator.adjoint(operator(q)) + strength * fixed.bend(u, q)

        rule = Stop(min(stop.tol, 1e-3), stop.max_iter, every=1)
        solved = conjugate_gradient(hessian, g, precondition=descent, stop=rule)
        settled = solved.gap <= 10 * rule.tol
        if not holds(settled):
            log.warning(UNSETTLED)
        return torch.where(settled.reshape(-1, 1, 1, 1), solved.value, torch.nan)

    return found._replace(value=with_derivative(attached, u, pull=inverse))


def measure(operator: Operator, experts: Experts, f: Tensor, weight: Tensor, u: Tensor) -> Tensor:
    """The certificate at `u`, root mean square, `(b,)`."""
    g = operator.adjoint(operator(u) - f) + weight * experts.slope(u)
    return _certificate(g, *_bounds(operator, experts, weight, u))


def _bounds(operator: Operator, experts: Experts, weight: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """`M` and `P`; 0 for an `M` that is not known."""
    power = operator.power(like)
    least, most = (power + weight * (bound - 1) for bound in experts.bounds(like.shape[-2:]))
    return least if operator.diagonal else torch.zeros_like(least), most


def _certificate(g: Tensor, least: Tensor, most: Tensor) -> Tensor:
    smallest = least.amin((-2, -1), keepdim=True)
    convex = smallest > 0
    divisor = torch.where(convex, (least * smallest).clamp(min=torch.finfo(g.dtype).tiny).sqrt(), most)
    return (cosine_transform(g) / divisor).square().mean((1, 2, 3)).sqrt()
