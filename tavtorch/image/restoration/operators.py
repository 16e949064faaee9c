"""What a camera does to a picture before the noise, as small linear operators with an adjoint.

    <A u, v> = <u, Aᵀ v>        for every picture u, and every v like A u

`Blur`, `Subsample` and `Mask` are operators, `A @ B` does `B` first, and `Operator` is made of any two functions.
Pictures go on beyond their borders as their mirror images, so that the cosine transform diagonalises blurs whose kernel
equals its own mirror images.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tavtorch.derivative import holds, without_derivatives
from tavtorch.image.check import check_hole
from tavtorch.image.grid import cosine_response, mirrored

Function = Callable[[Tensor], Tensor]
ROUNDS = 30
"""Steps of the power method; the norm that it finds is a little too small, and `MARGIN` makes up for it."""
MARGIN = 1.1


class Operator:
    """A linear map of pictures and its adjoint: two functions of yours, or one of the classes below.

    Args:
        apply: `A`, from `(b, c, h, w)` to what the camera gives, `(b, c, m, n)`, in float64 as well as float32; items
            and channels do not mix. Differentiable tensors that it closes over get their gradient.
        adjoint: `Aᵀ`. `restore` holds the two against each other.

    >>> half = Operator(lambda u: u[..., ::2], lambda v: torch.stack((v, 0 * v), -1).flatten(-2))
    >>> (Mask(torch.eye(4).bool()[None, None]) @ half)(torch.ones(1, 1, 4, 8))[0, 0, 0]
    tensor([0., 1., 1., 1.])
    """

    def __init__(self, apply: Function, adjoint: Function) -> None:
        self._apply, self._adjoint = apply, adjoint

    def __call__(self, u: Tensor) -> Tensor:
        return self._apply(u)

    def adjoint(self, v: Tensor) -> Tensor:
        """`Aᵀ v`."""
        return self._adjoint(v)

    def __matmul__(self, first: "Operator") -> "Operator":
        return _Product(self, first)

    @property
    def diagonal(self) -> bool:
        """Whether `power` is `AᵀA` and not only a bound."""
        return False

    def power(self, like: Float[Tensor, "b c h w"]) -> Float[Tensor, "..."]:
        """A bound of `AᵀA` that is diagonal in the cosine transform of pictures `like` this one, `(b, 1, h, w)` or 1s.

        By the power method: it is `|A|²` at every frequency.
        """
        with without_derivatives():
            u = _noise(like)
            for _ in range(ROUNDS):
                u = u / _norm(u)
                u = self.adjoint(self(u))
            return MARGIN * _norm(u)

    def check(self, like: Float[Tensor, "b c h w"]) -> None:
        """Raise unless the functions are adjoint, on pictures at random `like` this one, in double precision."""
        with without_derivatives():
            u = _noise(like.double())
            try:
                seen = self(u)
                v = _noise(seen)
                back = self.adjoint(v)
                alone = self(
                    u * (torch.arange(u[:, :, 0, 0].numel(), device=u.device) == 0).reshape(*u.shape[:2], 1, 1)
                )
            except (RuntimeError, TypeError, IndexError) as error:
                raise ValueError(
                    f"operator: fails on a float64 picture {tuple(u.shape)}, which its certificate needs: {error}"
                ) from error
            if back.shape != u.shape or seen.dtype != u.dtype or back.dtype != u.dtype:
                raise ValueError(
                    f"operator: its adjoint takes {u.dtype} {tuple(u.shape)} to {back.dtype} {tuple(back.shape)}; "
                    "expected shape and type of what the operator was applied to."
                )
            there, here = (seen * v).flatten(1).sum(1), (u * back).flatten(1).sum(1)
            size = seen.flatten(1).norm(dim=1) * v.flatten(1).norm(dim=1)
            if not holds((there - here).abs() <= 1e-9 * size):
                raise ValueError(
                    f"operator: its adjoint is none: <A u, v> = {there[0]:.6g} and <u, Aᵀv> = {here[0]:.6g} of a "
                    "random pair; torch.func.vjp(A, u)[1] gives the adjoint of a linear A."
                )
            if not holds(alone.flatten(0, 1)[1:] == 0) or not holds(seen.isfinite()):
                raise ValueError("operator: expected finite values, and each item and channel seen by itself.")


class Subsample(Operator):
    """Blur, then keep the middle of each square of `factor × factor` pixels: a picture with larger pixels.

    Args:
        factor: how many pixels become one, along both axes.
        kernel: what a bright point becomes, `(k, l)`, or one an item, `(b, 1, k, l)`; its sides are odd where `factor`
            is, else even, so that its middle is that of the square. None: the mean over the square.

    >>> Subsample(2)(torch.tensor([[[[0.0, 1.0], [1.0, 4.0]]]]))
    tensor([[[[1.5000]]]])
    """

    def __init__(self, factor: int, kernel: Float[Tensor, "*b k l"] | None = None) -> None:
        if factor < 1:
            raise ValueError(f"factor: expected a whole number >= 1, got {factor}.")
        if kernel is None:
            kernel = torch.full((factor, factor), 1 / factor**2, dtype=torch.float64)
        _check_kernel(kernel, factor)
        self.factor, self.kernel = factor, kernel if kernel.dim() == 4 else kernel[None, None]

    def __call__(self, u: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c m n"]:
        wide, kept, size = self._layout(u)
        seen = torch.fft.rfft2(_selected(u, wide), s=size) * self._spectrum(u, size)
        return _selected(torch.fft.irfft2(seen, s=size), kept)

    def adjoint(self, v: Float[Tensor, "b c m n"]) -> Float[Tensor, "b c h w"]:
        like = v.new_empty(*v.shape[:2], *(self.factor * n for n in v.shape[-2:]))
        wide, kept, size = self._layout(like)
        back = torch.fft.rfft2(_collected(v, kept, size)) * self._spectrum(v, size).conj()
        back = torch.fft.irfft2(back, s=size)[..., : len(wide[0]), : len(wide[1])]
        return _collected(back, wide, like.shape[-2:])

    def check(self, like: Tensor) -> None:
        """True by construction; sizes are checked where it is applied."""

    @property
    def diagonal(self) -> bool:
        return self.factor == 1 and self._mirrors() == 4

    def power(self, like: Float[Tensor, "b c h w"]) -> Float[Tensor, "..."]:
        """`|ĥ|²` where the kernel equals its mirror images.

        Else the squares of all four mirrored blurs together are four times the mean of `|ĥ|²` over mirrored
        frequencies; the two of a half-turn are as large, so that one of them has at most half of it. Where pixels are
        left out, those of `factor²` frequencies fold onto each other, and `|Σ ĥ û|² <= Σ |ĥ| · Σ |ĥ| |û|²`.
        """
        kernel, mirrors = self.kernel.detach().to(like), self._mirrors()
        if mirrors == 4:
            return _folded(cosine_response(kernel, like.shape[-2:]).abs(), self.factor)
        size = [2 * n - 1 for n in kernel.shape[-2:]]
        middle = [n - 1 for n in kernel.shape[-2:]]
        correlation = torch.fft.irfft2(torch.fft.rfft2(kernel, s=size).abs().square(), s=size).roll(middle, (-2, -1))
        return 4 / mirrors * cosine_response(correlation, like.shape[-2:]).clamp(min=0)

    def _mirrors(self) -> int:
        """How many of the four mirror images of the kernel equal it: 4, 2 or 1."""
        kernel = self.kernel.detach()
        near = 8 * torch.finfo(kernel.dtype).eps * kernel.abs().amax()
        same = [holds((kernel - kernel.flip(axes)).abs() <= near) for axes in ((-1,), (-2,), (-1, -2))]
        return 1 + sum(same)

    def _layout(self, u: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[int, int]]:
        """Where the pixels beyond the borders come from, which of the blurred are kept, and sizes for the transform."""
        from scipy.fft import next_fast_len  # here, so that importing tavtorch does not load scipy

        sides, f = self.kernel.shape[-2:], self.factor
        if any(k > n or n % f for k, n in zip(sides, u.shape[-2:], strict=True)):
            raise ValueError(
                f"operator: a picture of {u.shape[-2]} × {u.shape[-1]} pixels is smaller than the kernel of "
                f"{sides[0]} × {sides[1]}, or has sides that are no multiples of the factor {f}; crop one of them."
            )
        wide, kept, size = [], [], []
        for k, n in zip(sides, u.shape[-2:], strict=True):
            beyond, first = max(0, (k - f) // 2), max(0, (f - k) // 2)
            wide.append(mirrored(n, beyond, u.device))
            kept.append(k - 1 + first + f * torch.arange(n // f, device=u.device))
            size.append(next_fast_len(n + 2 * beyond, real=True))
        return (wide[0], wide[1]), (kept[0], kept[1]), (size[0], size[1])

    def _spectrum(self, like: Tensor, size: tuple[int, int]) -> Tensor:
        return torch.fft.rfft2(self.kernel.to(like), s=size)


class Blur(Subsample):
    """What a bright point becomes is `kernel`: the picture, convolved with it.

    Args:
        kernel: `(k, l)`, or one an item, `(b, 1, k, l)`, of odd sides; usually its sum is 1. Gradients reach it.

    >>> Blur(torch.full((1, 3), 1 / 3))(torch.tensor([[[[0.0, 0.0, 3.0, 0.0]]]])).round(decimals=3)
    tensor([[[[0., 1., 1., 1.]]]])
    """

    def __init__(self, kernel: Float[Tensor, "*b k l"]) -> None:
        super().__init__(1, kernel)


class Mask(Operator):
    """Pixels are missing where `hole` is True: `(b, 1, h, w)`, or `(1, 1, h, w)` for all items.

    >>> Mask(torch.tensor([[[[False, True]]]]))(torch.ones(1, 1, 1, 2))
    tensor([[[[1., 0.]]]])
    """

    def __init__(self, hole: Bool[Tensor, "b 1 h w"]) -> None:
        if hole.dim() != 4:
            raise ValueError(f"hole: expected a bool mask (b, 1, h, w), True = missing, got {tuple(hole.shape)}.")
        check_hole(hole, hole)
        self.hole = hole

    def __call__(self, u: Tensor) -> Tensor:
        if self.hole.shape[-2:] != u.shape[-2:] or len(self.hole) not in (1, len(u)):
            raise ValueError(f"operator: a mask of {tuple(self.hole.shape)} does not fit pictures {tuple(u.shape)}.")
        return u.masked_fill(self.hole.to(u.device), 0)

    def adjoint(self, v: Tensor) -> Tensor:
        return self(v)

    def check(self, like: Tensor) -> None:
        """As for `Subsample`."""

    def power(self, like: Tensor) -> Tensor:
        return like.new_ones(1, 1, 1, 1)


class _Product(Operator):
    """`second @ first`."""

    def __init__(self, second: Operator, first: Operator) -> None:
        super().__init__(lambda u: second(first(u)), lambda v: first.adjoint(second.adjoint(v)))
        self.second, self.first = second, first

    def check(self, like: Tensor) -> None:
        self.first.check(like)
        with without_derivatives():
            self.second.check(self.first(like))

    @property
    def diagonal(self) -> bool:
        return self.second.diagonal and self.first.diagonal

    def power(self, like: Tensor) -> Tensor:
        """The product of the two, where the first commutes with the bound of the second; else by its largest."""
        with without_derivatives():
            bound = self.second.power(self.first(like))
        return self.first.power(like) * (bound if self.first.diagonal else bound.amax((-2, -1), keepdim=True))


def gaussian_kernel(sigma: float, size: int | None = None) -> Float[Tensor, "k k"]:
    """A bell of standard deviation `sigma` in pixels, with sum 1.

    >>> gaussian_kernel(1.0).shape
    torch.Size([9, 9])
    """
    size = 2 * math.ceil(4 * sigma) + 1 if size is None else size
    x = torch.arange(size) - (size - 1) / 2
    bell = torch.exp(-x.square() / (2 * sigma**2))
    return bell[:, None] * bell / bell.sum().square()


def disk_kernel(radius: float) -> Float[Tensor, "k k"]:
    """A lens out of focus: a disk of this radius in pixels, with sum 1; pixels at its rim by their share within."""
    return _drawn(math.ceil(radius), lambda x, y: x.square() + y.square() <= radius**2)


def motion_kernel(length: float, angle: float = 0.0) -> Float[Tensor, "k k"]:
    """A camera that moves along a line of `length` pixels at `angle` degrees from the x axis to the y axis, sum 1."""
    turn = math.radians(angle)

    def inside(x: Tensor, y: Tensor) -> Tensor:
        along, across = math.cos(turn) * x + math.sin(turn) * y, math.cos(turn) * y - math.sin(turn) * x
        return (along.abs() <= length / 2) & (across.abs() <= 0.5)

    return _drawn(math.ceil(length / 2), inside)


def _drawn(reach: int, inside: Callable[[Tensor, Tensor], Tensor], parts: int = 15) -> Tensor:
    """A shape as the share that it has of each pixel."""
    n = 2 * reach + 1
    at = (torch.arange(n * parts) + 0.5) / parts - n / 2
    fine = inside(*torch.meshgrid(at, at, indexing="xy")).float()
    shares = fine.unflatten(0, (n, parts)).unflatten(2, (n, parts)).mean((1, 3))
    return shares / shares.sum()


def _check_kernel(kernel: Tensor, factor: int) -> None:
    shape = tuple(kernel.shape)
    if not kernel.is_floating_point() or kernel.dim() not in (2, 4) or (kernel.dim() == 4 and shape[1] != 1):
        raise ValueError(f"kernel: expected floats (k, l), or one an item (b, 1, k, l), got {kernel.dtype} {shape}.")
    if kernel.numel() == 0 or any((n - factor) % 2 for n in shape[-2:]):
        raise ValueError(
            f"kernel: expected {'odd' if factor % 2 else 'even'} sides, so that its middle is that of a pixel, got "
            f"{shape}; pad it with zeros."
        )
    if not holds(kernel.isfinite()):
        raise ValueError("kernel: some values are NaN or infinite.")
    if not holds(kernel.flatten(1 if kernel.dim() == 4 else 0).abs().amax(-1) > 0):
        raise ValueError("kernel: is zero everywhere, so that nothing is seen of the picture.")


def _selected(u: Tensor, numbers: tuple[Tensor, Tensor]) -> Tensor:
    """Rows and columns of these numbers."""
    return u.index_select(-2, numbers[0]).index_select(-1, numbers[1])


def _collected(v: Tensor, numbers: tuple[Tensor, Tensor], size: tuple[int, int] | torch.Size) -> Tensor:
    """The adjoint of `_selected` from a picture of this size."""
    rows = v.new_zeros(*v.shape[:-2], size[0], v.shape[-1]).index_add(-2, numbers[0], v)
    return v.new_zeros(*v.shape[:-2], *size).index_add(-1, numbers[1], rows)


def _folded(size: Tensor, factor: int) -> Tensor:
    """A bound of `AᵀA` for `|ĥ| = size`: at each frequency `|ĥ|` times its sum over those that look the same."""
    lengths = size.shape[-2:]
    alias = []
    for axis, n in zip((-2, -1), lengths, strict=True):
        kept = n // factor
        number = torch.arange(n, device=size.device)
        folded = torch.minimum(number % (2 * kept), 2 * kept - number % (2 * kept))
        alias.append(folded)
        gain = torch.where((folded == 0) & (number > 0), 2**0.5, 1.0) * (folded < kept) / factor**0.5
        size = size * gain.to(size).reshape((-1, 1) if axis == -2 else (-1,))
    total = _collected(size, (alias[0], alias[1]), (lengths[0] // factor + 1, lengths[1] // factor + 1))
    return size * _selected(total, (alias[0], alias[1]))


def _noise(like: Tensor) -> Tensor:
    drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return drawn.to(like)


def _norm(u: Tensor) -> Tensor:
    return u.flatten(1).norm(dim=1).clamp(min=torch.finfo(u.dtype).tiny).reshape(-1, 1, 1, 1)
