"""One loop for every iterative operation of the package.

`iterate` repeats a step until each item of the batch meets the tolerance; `implicit` differentiates a fixed point
without storing the iterations; `conjugate_gradient` does both for a linear system. `compiled` makes the steps that they
repeat fast. How a solution gets its derivative stands in `tavtorch.derivative`.
"""

import functools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

from tavtorch.derivative import (
    derivative_wanted,
    derivatives_recorded,
    holds,
    unwrapped,
    with_derivative,
    without_derivatives,
)

log = logging.getLogger(__name__)

ROUNDS = 3
"""How often conjugate gradients begin again at most, where rounding has parted the recursion from the true residual."""

UNSETTLED = (
    "The gradient of a fixed point does not converge for some items, and is NaN there. Usually the solution has not "
    "converged either: lower its tolerance, give it more steps, or solve in float64."
)

State = tuple[Any, ...]
"""Tensors, batch first, and tuples of them."""
P = ParamSpec("P")
R = TypeVar("R")

COMPILE_AFTER = 2**30
"""Elements that a `compiled` function works through before it is compiled; 0 compiles at once."""

ON_GPU = 2**21, 2**5
"""A GPU takes as long for any fewer elements than these, and works through so many times more in the same time."""

VARIANTS = 64
"""Shapes, types and settings that one function is compiled for at most; PyTorch's own limit is 8."""

THROWN_AWAY = 31 * 2**20
"""Bytes of one throw-away allocation. Freeing it raises glibc's mmap threshold, so that later tensors up to this size
are reused instead of mapped afresh each step (up to 5 times slower)."""


@dataclass(frozen=True)
class Stop:
    """When an iteration ends: the one place where stopping lives.

    Args:
        tol: an item is done once its `gap` is at or below this; which measure that is stands in each op's docstring.
        max_iter: steps after which the rest stops too, marked as not converged.
        every: steps between two evaluations of the gap; for each of them the CPU waits for a GPU once.

    An op measures its gap at the value that it returns, in double precision where sums cancel; in half precision, at
    the float32 that is then rounded. A tolerance that rounding does not allow, about 1e-6 in float32 and less far where
    values are large beside their contrast, is never met: the op goes on to `max_iter` and says `converged` False.
    """

    tol: float = 1e-3
    max_iter: int = 1000
    every: int = 10

    def __post_init__(self) -> None:
        if not self.tol >= 0:
            raise ValueError(f"tol: expected a number >= 0, got {self.tol}; 0 runs to max_iter.")
        if self.max_iter < 0:
            raise ValueError(f"max_iter: expected a whole number >= 0, got {self.max_iter}.")
        if self.every < 1:
            raise ValueError(f"every: expected a whole number >= 1, got {self.every}.")

    def for_derivative(self) -> "Stop":
        """The rule for the linear problem behind a derivative: a gap is the square of an error, a residual is not."""
        return Stop(self.tol**0.5, self.max_iter, self.every)


class Solution(NamedTuple):
    """What an iterative op returns, and how it went, item by item. Not converging is a field, not an error."""

    value: Any
    """The result, batch first."""
    iterations: Tensor
    """Steps taken until the item was done, `(b,)`, int64."""
    gap: Tensor
    """What `Stop.tol` was compared with, `(b,)`."""
    converged: Tensor
    """`gap <= tol`, `(b,)`, bool."""


def iterate(
    step: Callable[..., State],
    state: State,
    gap: Callable[..., Tensor],
    stop: Stop | None = None,
    *,
    certify: Callable[..., Tensor] | None = None,
) -> Solution:
    """Repeat `state = step(k, *state)` until `gap(*state) <= tol`, for each item by itself.

    An item that is done keeps the state that it was done with while the others go on, so that its result is the same
    alone and in any batch.

    Args:
        step: takes the number of steps so far and the state, gives the next state; it must not edit its arguments.
        state: tensors, batch first, and tuples of them.
        gap: takes the state, gives one number an item, `(b,)`; a NaN never counts as done.
        stop: see `Stop`.
        certify: as `gap`, but exact and slower. It is asked where `gap` says that an item is done, and its answer
            counts.

    Returns:
        A `Solution` whose value is the tuple of final states.

    >>> halve = iterate(lambda k, x: (x / 2,), (torch.tensor([1.0, 8.0]),), lambda x: x, Stop(tol=0.5, every=1))
    >>> halve.value[0].tolist(), halve.iterations.tolist()
    ([0.5, 0.5], [1, 4])
    """
    stop = stop or Stop()
    torch.empty(THROWN_AWAY, dtype=torch.uint8)

    def look(state: State, error: Tensor, done: Tensor) -> tuple[Tensor, Tensor, bool]:
        """The gaps, which items are done, and whether all are."""
        found = gap(*state)
        fresh = (found <= stop.tol) & ~done
        if certify is not None:
            if holds(~fresh):
                return torch.where(done, error, found), done, False
            found = torch.where(fresh, certify(*state), found)
        error = torch.where(done, error, found)
        return error, error <= stop.tol, holds(error <= stop.tol)

    first = next(_tensors(state))
    nothing = torch.zeros(len(first), dtype=torch.bool, device=first.device)
    error, done, finished = look(state, nothing.to(first.dtype), nothing)
    kept, iterations, k = state, torch.zeros_like(done, dtype=torch.int64), 0
    alone = unwrapped(done).numel() == 1  # then the loop ends when it is done
    while k < stop.max_iter and not finished:
        steps = range(k, min(k + stop.every, stop.max_iter))
        for i in steps:
            state = step(i, *state)
        k = steps.stop
        kept = state if alone else _chosen(done, kept, state)
        iterations = torch.where(done, iterations, k)
        error, done, finished = look(state, error, done)
    return Solution(kept, iterations, error, done)


def implicit(
    step: Callable[[Tensor], Tensor], value: Tensor, *, stop: Stop | None = None, worst: float = 1e-2
) -> Tensor:
    """Give a fixed point `u = step(u)` the gradient that the implicit function theorem says it has.

    With `u = T(u, θ)` and `g` the gradient that arrives at `u`,

        dL/dθ = (∂T/∂θ)ᵀ w,        w = g + (∂T/∂u)ᵀ w,

    and `w` is itself a fixed point, found by the same loop. Memory is that of one step, however many found `u`.

    Args:
        step: `T(·, θ)`, a contraction near `value`; θ is whatever differentiable tensors it closes over.
        value: the fixed point, batch first; items must not mix in `step`.
        stop: for the adjoint loop; `gap` is `|g + Jᵀw - w| / |g|`. Default: `Stop(tol=1e-6)`, as far as float32 goes.
        worst: where the gap is above it at the end the derivative is NaN, and the log says what to do; infinity takes
            what a few steps give.

    Returns:
        `value`, unchanged to the bit, with that derivative, in reverse and in forward mode. First derivatives only.

    Source: Krantz & Parks, "The Implicit Function Theorem", 2002, doi:10.1007/978-1-4612-0059-8; in learning: Bai,
    Kolter & Koltun, "Deep equilibrium models", NeurIPS 2019, arXiv:1909.01377.

    >>> a = torch.tensor([2.0], requires_grad=True)
    >>> root = implicit(lambda u: (u + a / u) / 2, a.detach().sqrt())      # Heron: du/da = 1 / (2 sqrt(a))
    >>> root.sum().backward(); round(a.grad.item(), 6)
    0.353553
    """
    value = value.detach()
    if not derivatives_recorded():
        return value
    attached = step(value)
    if not derivative_wanted(attached):
        return value
    stop = stop or Stop(tol=1e-6)
    pull_once = torch.func.vjp(step, value)[1]

    def fixed_point(apply: Callable[[Tensor], Tensor], g: Tensor) -> Tensor:
        """`w = g + apply(w)`."""
        scale = _norm(g).clamp(min=torch.finfo(g.dtype).tiny)
        found = iterate(lambda k, w: (g + apply(w),), (g,), lambda w: _norm(g + apply(w) - w) / scale, stop)
        settled = found.gap <= max(worst, stop.tol)
        if not holds(settled):
            log.warning(UNSETTLED)
        return torch.where(_over(settled, g), found.value[0], torch.nan)

    def pull(g: Tensor) -> Tensor:
        return fixed_point(lambda w: pull_once(w)[0], g)

    def push(t: Tensor) -> Tensor:
        push_once = torch.func.vjp(lambda w: pull_once(w)[0], value)[1]  # forward mode does not nest
        return fixed_point(lambda w: push_once(w)[0], t)

    return with_derivative(attached, value, pull=pull, push=push)


def conjugate_gradient(
    operator: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    precondition: Callable[[Tensor], Tensor] | None = None,
    start: Tensor | None = None,
    measure: Callable[[Tensor], Tensor] | None = None,
    stop: Stop | None = None,
) -> Solution:
    """Solve `A u = b`, A symmetric and positive definite, for each item of a batch by itself.

    The derivative, in reverse and in forward mode, is exact and needs no memory of the iterations: with `g` the
    gradient that arrives at `u` and `w = A⁻¹ g`,

        dL/db = w,        dL/dθ = -wᵀ (∂A/∂θ) u.

    Second derivatives are an error unless `A` is constant.

    Args:
        operator: `A(·, θ)`; θ is whatever differentiable tensors it closes over. Items must not mix in it.
        b: right-hand side, batch first.
        precondition: close to `A⁻¹`; it may vary a little from step to step (Polak-Ribière).
        start: first guess; without one, zero.
        measure: gives the gap at `u`, `(b,)`; by default `|b - A u| / |b|`.
        stop: `gap` is what `measure` gives at the result. Default: `Stop(tol=1e-6, every=1)`.

    Source: Hestenes & Stiefel, "Methods of conjugate gradients for solving linear systems", 1952,
    doi:10.6028/jres.049.044; flexible: Notay, SIAM J. Sci. Comput. 22(4), 2000, doi:10.1137/S1064827599362314.

    >>> d = torch.tensor([[1.0, 4.0]], requires_grad=True)
    >>> u = conjugate_gradient(lambda u: d * u, torch.ones(1, 2)).value
    >>> u.sum().backward(); d.grad.tolist()                                           # d(1/d) = -1/d²
    [[-1.0, -0.0625]]
    """
    stop = stop or Stop(tol=1e-6, every=1)
    with without_derivatives():
        found = _solve(operator, b.detach(), precondition, None if start is None else start.detach(), measure, stop)
    found = Solution(*(part.detach() for part in found))
    if not derivatives_recorded():
        return found
    product = operator(found.value)
    residual = b - product  # about zero, but not its derivative
    if not derivative_wanted(residual):
        return found

    def inverse(g: Tensor) -> Tensor:
        return conjugate_gradient(operator, g, precondition=precondition, stop=stop).value

    once = derivative_wanted(product)  # where only b varies the solution is linear in it
    return found._replace(value=with_derivative(residual, found.value, pull=inverse, once=once))


def _solve(
    operator: Callable[[Tensor], Tensor],
    b: Tensor,
    precondition: Callable[[Tensor], Tensor] | None,
    start: Tensor | None,
    measure: Callable[[Tensor], Tensor] | None,
    stop: Stop,
) -> Solution:
    """Flexible conjugate gradients, begun again where the residual of the recursion has left the true one behind."""
    scale = _norm(b).clamp(min=torch.finfo(b.dtype).tiny)

    def conditioned(r: Tensor) -> Tensor:
        return precondition(r) if precondition else r

    def step(k: int, u: Tensor, r: Tensor, p: Tensor, rz: Tensor) -> State:
        q = operator(p)
        length = _over(_ratio(rz, _dot(p, q)), p)
        u, old, r = torch.where(length > 0, u + length * p, u), r, r - length * q
        z = conditioned(r)
        rz_next = torch.where(length.flatten() > 0, _dot(z, r), 0)
        return u, r, z + _over(_ratio(_dot(z, r - old), rz), p) * p, rz_next

    u = torch.zeros_like(b) if start is None else start
    r = b if start is None else b - operator(start)
    gap, iterations = _norm(r) / scale, torch.zeros(len(b), dtype=torch.int64, device=b.device)
    behind = gap > stop.tol
    for _ in range(ROUNDS):
        z = conditioned(r)
        found = iterate(
            step,
            (u, r, z, _dot(r, z)),
            lambda u, r, p, rz, behind=behind: torch.where(behind & (rz > 0), _norm(r) / scale, 0),  # else broken down
            stop,
        )
        u, iterations = found.value[0], iterations + found.iterations
        r = b - operator(u)
        gap = measure(u) if measure else _norm(r) / scale
        behind = behind & found.converged & (gap > stop.tol)
        if holds(~behind):
            break
    return Solution(u, iterations, gap, gap <= stop.tol)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a pure function of tensors: it runs eagerly until it has worked enough for `torch.compile` to pay.

    A small job never waits for the compiler, a long one soon runs fused. Where there is no compiler, or it fails, the
    function stays eager and the log says so once; `TORCH_COMPILE_DISABLE=1` keeps the compiler out. Where a derivative
    is wanted the function runs eagerly. Numbers that change from call to call are to be passed as 0-d tensors.
    """
    fast: Callable[P, R] | None = None
    worked = 0.0

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal fast, worked
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        tensors = list(_tensors((*args, *kwargs.values())))
        work = max((tensor.numel() for tensor in tensors), default=0)
        on_cpu = all(tensor.device.type == "cpu" for tensor in tensors)
        worked += work if on_cpu else max(work, ON_GPU[0]) / ON_GPU[1]
        if worked > COMPILE_AFTER and not derivative_wanted(*tensors):
            fast = fast or _compiled_anew(function)
            try:
                return fast(*args, **kwargs)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # compilers fail in many ways; wrong arguments fail again below
                fast = function
                log.info("%s runs eagerly: torch.compile failed (%s).", function.__name__, str(error).split("\n")[0])
        return function(*args, **kwargs)

    return run


def _compiled_anew(function: Callable[P, R]) -> Callable[P, R]:
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, VARIANTS)
    return torch.compile(function)


def _tensors(values: tuple[Any, ...]) -> Iterator[Tensor]:
    """The tensors of a state, or of arguments."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple):
            yield from _tensors(value)


def _chosen(done: Tensor, old: State, new: State) -> State:
    """For the items that are done the old state, for the others the new one."""
    return tuple(
        torch.where(_over(done, b), a, b) if isinstance(b, Tensor) else _chosen(done, a, b)
        for a, b in zip(old, new, strict=True)
    )


def _norm(u: Tensor) -> Tensor:
    return u.reshape(len(u), -1).norm(dim=1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).reshape(len(a), -1).sum(1)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """`a / b`, and 0 unless `b` is positive: a system that is solved already, or breaks down, stays as it is."""
    return torch.where(b > 0, a / b, 0)


def _over(mask: Tensor, like: Tensor) -> Tensor:
    """`(b,)` spread over the axes of `like`."""
    return mask.reshape(-1, *(1,) * (like.dim() - 1))
