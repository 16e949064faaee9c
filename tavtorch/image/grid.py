"""Differences on the pixel grid, values between pixels, and the cosine transform: what every system here stands on.

Forward differences with reflecting (Neumann) borders, so that `divergence` is minus the adjoint of `gradient` and both
are diagonal in the cosine transform. Pixels are the unit of length; pixel centres are at integers; x runs along
the last axis, y along the one before it, and z, the depth of a volume or the time of a film, before that.

A tensor of five axes is a batch of volumes `(b, c, d, h, w)`, with three axes of space; any other is of pictures,
`(..., h, w)`, with two.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad

from tavtorch.constants import constants
from tavtorch.derivative import derivative_wanted
from tavtorch.memory import into, overwritable
from tavtorch.precision import exact

VOLUMES = 5
"""How many axes a batch of volumes has."""

SHORT = {"cpu": 128, "cuda": 512}
"""Pixels of a line up to which its cosine transform is a product with a matrix: on a CPU that takes less time than an
FFT does; on a GPU it is one kernel, where that takes 7, and 11 for the way back."""

FEW = 2**15
"""Pixels up to which the number of calls counts, and not the memory."""


def space(u: Tensor) -> tuple[int, ...]:
    """The axes of space of pictures, `(-2, -1)`, or of volumes, `(-3, -2, -1)`."""
    return tuple(range(-3 if u.dim() == VOLUMES else -2, 0))


def corner(u: Tensor, sides: Iterable[int]) -> Tensor:
    """The first pixels along each axis of space, so many."""
    place: tuple[Any, ...] = (..., *map(slice, sides))
    return u[place]


def gradient(
    u: Float[Tensor, "*b h w"], *, spacing: Sequence[float] | Float[Tensor, "n"] | None = None
) -> Float[Tensor, "..."]:
    """Forward differences `(u[y, x+1] - u[y, x], u[y+1, x] - u[y, x])`, zero across the last column and row.

    Args:
        u: `(..., h, w)`; an image `(b, c, h, w)` gives one vector a channel, `(b, c, 2, h, w)`; or volumes
            `(b, c, d, h, w)`.
        spacing: distances between neighbours along each axis of space, in the order of the axes of `u`; by default 1.

    Returns:
        `(..., 2, h, w)`: the components (x, y), per pixel; of volumes `(b, c, 3, d, h, w)`: (x, y, z).

    >>> gradient(torch.tensor([[0.0, 1.0, 3.0]]))[0]
    tensor([[1., 2., 0.]])
    """
    return torch.stack(differences(u, spacing), dim=space(u)[0] - 1)


def differences(u: Tensor, spacing: Sequence[float] | Tensor | None = None) -> tuple[Tensor, ...]:
    """The components of `gradient`, one image each."""
    parts = [_to_next(u, k) for k in reversed(space(u))]
    return tuple(parts) if spacing is None else _over(distances(spacing, u), parts)


def divergence(
    p: Float[Tensor, "..."], *, spacing: Sequence[float] | Float[Tensor, "n"] | None = None
) -> Float[Tensor, "..."]:
    """Minus the adjoint of `gradient`: `<gradient(u), p> = -<u, divergence(p)>` for every `u` and `p`.

    The last column of the x component and the last row of the y component do not count, since `gradient` is zero there.
    """
    return outflow(p.unbind(space(p[..., 0, :])[0] - 1), spacing)


def outflow(parts: Sequence[Tensor], spacing: Sequence[float] | Tensor | None = None) -> Tensor:
    """`divergence` of a field of which each component is an image."""
    if spacing is not None:
        parts = _over(distances(spacing, parts[0]), parts)
    ends = [_from_last(part, k) for k, part in zip(reversed(space(parts[0])), parts, strict=True)]
    total = ends[0]
    for end in ends[1:]:
        total = into(total, torch.add, total, end)
    return total


def _to_next(u: Tensor, axis: int) -> Tensor:
    """Differences to the next pixel along an axis, 0 at its end."""
    if u.numel() <= FEW or not overwritable():
        return F.pad(u.diff(dim=axis), beside(axis, 0, 1))  # what inductor fuses
    slope, steps = torch.empty_like(u), u.shape[axis] - 1
    torch.sub(u.narrow(axis, 1, steps), u.narrow(axis, 0, steps), out=slope.narrow(axis, 0, steps))
    slope.narrow(axis, steps, 1).zero_()
    return slope


def _from_last(p: Tensor, axis: int) -> Tensor:
    """Differences from the last pixel along an axis, where `p` is 0 before the first pixel and in the last one."""
    steps = p.shape[axis] - 1
    if p.numel() <= FEW or steps < 2 or not overwritable():
        return F.pad(p.narrow(axis, 0, steps), beside(axis, 1, 1)).diff(dim=axis)
    end = torch.empty_like(p)
    torch.sub(p.narrow(axis, 1, steps - 1), p.narrow(axis, 0, steps - 1), out=end.narrow(axis, 1, steps - 1))
    end.narrow(axis, 0, 1).copy_(p.narrow(axis, 0, 1))
    end.narrow(axis, steps, 1).zero_().sub_(p.narrow(axis, steps - 1, 1))
    return end


def laplacian(
    u: Float[Tensor, "*b h w"], *, spacing: Sequence[float] | Float[Tensor, "n"] | None = None
) -> Float[Tensor, "*b h w"]:
    """Laplacian `divergence(gradient(u))`, of five points in pictures and seven in volumes: the sum of the neighbours'
    differences from the pixel."""
    return outflow(differences(u, spacing), spacing)


def distances(spacing: Sequence[float] | Tensor, like: Tensor) -> tuple[Tensor, ...]:
    """Distances between neighbours, given in the order of the axes, in that of a field's components (x, y, z)."""
    return torch.as_tensor(spacing, dtype=like.dtype, device=like.device).flip(0).unbind()


def _over(along: Sequence[Tensor], parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(part / distance for part, distance in zip(parts, along, strict=True))


def beside(axis: int, before: int, after: int) -> tuple[int, ...]:
    """The argument of `F.pad` for one axis, counted from the last."""
    return (0, 0) * (-axis - 1) + (before, after)


def mirrored(length: int, more: int, device: torch.device) -> Tensor:
    """Numbers of the pixels of a line and of `more` on each side, where its mirror images are."""
    number = torch.arange(-more, length + more, device=device) % (2 * length)
    return torch.minimum(number, 2 * length - 1 - number)


def sample(image: Float[Tensor, "b c h w"], points: Float[Tensor, "b n 2"]) -> Float[Tensor, "b n c"]:
    """Values of an image or a field between its pixels, by bilinear interpolation.

    Args:
        image: `(b, c, h, w)`.
        points: `(b, n, 2)`, (x, y) in pixels; outside of the image the nearest border pixel answers.

    Returns:
        `(b, n, c)`: a field sampled on a contour is again a list of vectors.

    >>> sample(torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]]), torch.tensor([[[0.5, 0.5], [1.0, 0.0]]]))[0, :, 0]
    tensor([1.5000, 1.0000])
    """
    if image.dim() != 4 or points.dim() != 3 or image.dtype != points.dtype or not image.is_floating_point():
        got = f"{image.dtype} {tuple(image.shape)} and {points.dtype} {tuple(points.shape)}"
        raise ValueError(f"image, points: expected (b, c, h, w) and (b, n, 2) of one floating-point type, got {got}.")
    if forward_ad._current_level >= 0:  # grid_sample has no forward-mode derivative
        return _sample_by_gathering(image, points)
    h, w = image.shape[-2:]
    x, y = points.unbind(-1)
    places = torch.stack((x * (2 / max(w - 1, 1)) - 1, y * (2 / max(h - 1, 1)) - 1), dim=-1)
    values = F.grid_sample(image, places[:, None], padding_mode="border", align_corners=True)
    return values[:, :, 0].mT


def _sample_by_gathering(image: Tensor, points: Tensor) -> Tensor:
    """As `sample`, from the four pixels around each point."""
    h, w = image.shape[-2:]
    x, y = points[..., 0].clamp(0, w - 1), points[..., 1].clamp(0, h - 1)
    left, top = x.detach().floor().clamp(max=max(w - 2, 0)), y.detach().floor().clamp(max=max(h - 2, 0))

    def row(below: int) -> Tensor:
        """Values on the row of pixels above, or below, each point."""
        start = ((top + below).clamp(max=h - 1) * w + left).long()[:, None].expand(-1, image.shape[1], -1)
        pixels = image.flatten(2)
        here, beside = pixels.gather(2, start), pixels.gather(2, (start + 1).clamp(max=h * w - 1))
        return torch.lerp(here, beside, (x - left)[:, None])

    return torch.lerp(row(0), row(1), (y - top)[:, None]).mT


def cosine_transform(u: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Orthonormal cosine transform (DCT-II) along every axis of space, in which Neumann differences are diagonal.

        laplacian  ↔  -(2 - 2 cos(pi i / h)) - (2 - 2 cos(pi j / w))        at frequency (i, j)

    Source: Makhoul, "A fast cosine transform in one and two dimensions", IEEE TASSP 28(1), 1980,
    doi:10.1109/TASSP.1980.1163351.
    """
    for k in reversed(space(u)):
        u = _times(_waves_of(u, k), u, k) if _is_short(u, k) else _cosine_rows(u.transpose(k, -1)).transpose(k, -1)
    return u


def cosines(size: int, like: Tensor) -> Float[Tensor, "{size} {size}"]:
    """The rows of `cosine_transform` of a line of pixels, the slowest first; orthonormal, of the type of `like`."""
    place = torch.arange(size, device=like.device)
    turns = place[:, None] * (2 * place + 1) % (4 * size)  # whole numbers: a large angle would be rounded
    waves = torch.cos(turns.to(like.dtype) * (torch.pi / (2 * size))) * (2 / size) ** 0.5
    return torch.where(place[:, None] == 0, waves * 0.5**0.5, waves)


def inverse_cosine_transform(u: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Inverse, and adjoint, of `cosine_transform`."""
    for k in reversed(space(u)):
        if _is_short(u, k):
            u = _times(_waves_of(u, k).mT, u, k)
        else:
            u = _inverse_cosine_rows(u.transpose(k, -1)).transpose(k, -1)
    return u


def cosine_frequencies(like: Float[Tensor, "*b h w"]) -> Float[Tensor, "..."]:
    """Frequencies of the coefficients of `cosine_transform`, in cycles a pixel, from 0 to less than ½.

    Returns:
        `(2, h, w)`: (x, y); of volumes `(3, d, h, w)`: (x, y, z).

    >>> cosine_frequencies(torch.zeros(1, 4))[0]
    tensor([[0.0000, 0.1250, 0.2500, 0.3750]])
    """
    sides = [like.shape[k] for k in space(like)]
    along = [torch.arange(n, dtype=like.dtype, device=like.device) / (2 * n) for n in sides]
    return torch.stack(torch.meshgrid(*along, indexing="ij")[::-1])


def laplacian_eigenvalues(
    like: Float[Tensor, "*b h w"], *, spacing: Sequence[float] | Float[Tensor, "n"] | None = None
) -> Float[Tensor, "..."]:
    """Eigenvalues `4 sin²(π ω_x) + 4 sin²(π ω_y) …` of minus `laplacian` at the frequencies of `cosine_transform`."""
    squares = 2 - 2 * torch.cos(2 * torch.pi * cosine_frequencies(like))
    if spacing is None:
        return squares.sum(0)
    return torch.stack(_over([along.square() for along in distances(spacing, like)], squares.unbind())).sum(0)


def cosine_response(kernel: Float[Tensor, "*b k l"], size: Sequence[int]) -> Float[Tensor, "*b h w"]:
    """By how much a convolution scales the coefficients of `cosine_transform` of pictures `(h, w)`.

        Σ_xy k(x, y) cos(2π ω_x x) cos(2π ω_y y)        x and y from the middle of the kernel

    The kernel has to equal its mirror images; of another it is what their mean does. Beyond its borders a picture goes
    on as its mirror images.

    >>> cosine_response(torch.tensor([[0.25, 0.5, 0.25]]), (1, 2))
    tensor([[1.0000, 0.5000]])
    """
    waves = []
    for k, n in zip(kernel.shape[-2:], size, strict=True):
        place, number = (torch.arange(count, dtype=kernel.dtype, device=kernel.device) for count in (k, n))
        waves.append(torch.cos(math.pi / n * number[:, None] * (place - (k - 1) / 2)))
    return waves[0] @ kernel @ waves[1].mT


def fourier_frequencies(like: Float[Tensor, "*b h w"]) -> Float[Tensor, "2 h w//2+1"]:
    """Frequencies (x, y) of the coefficients of `torch.fft.rfft2`, in cycles a pixel: x from 0, y from -½ to ½.

    >>> fourier_frequencies(torch.zeros(4, 2))[1, :, 0]
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    h, w = like.shape[-2:]
    x = torch.fft.rfftfreq(w, dtype=like.dtype, device=like.device)
    y = torch.fft.fftfreq(h, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))


def _is_short(u: Tensor, axis: int) -> bool:
    """Whether a product transforms the lines along this axis; not where a derivative is recorded, for what settings
    such as TF32 will be then is not known."""
    return u.shape[axis] <= SHORT["cpu" if u.device.type == "cpu" else "cuda"] and not derivative_wanted(u)


def _waves_of(u: Tensor, axis: int) -> Tensor:
    return _kept_waves(u.shape[axis], u.dtype, u.device)


@functools.lru_cache(maxsize=64)
def _kept_waves(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`cosines`, made once."""
    with constants():
        return cosines(n, torch.empty((), dtype=dtype, device=device))


def _times(matrix: Tensor, u: Tensor, axis: int) -> Tensor:
    """The product of a matrix with the lines along one axis of `u`."""
    with exact():
        if axis == -1:
            return u @ matrix.mT
        return (matrix @ u.flatten(axis + 1)).unflatten(-1, u.shape[axis + 1 :])


def _cosine_rows(u: Tensor) -> Tensor:
    """DCT-II of the last axis by one real FFT of its even samples followed by its odd ones backwards."""
    n = u.shape[-1]
    z = torch.fft.rfft(torch.cat((u[..., ::2], u[..., 1::2].flip(-1)), dim=-1)) * _turns(n, u.dtype, u.device)[0]
    upper = -z.imag[..., 1 : (n + 1) // 2].flip(-1)  # Hermitian symmetry gives the upper half of the coefficients
    return torch.cat((z.real, upper), dim=-1)


def _inverse_cosine_rows(u: Tensor) -> Tensor:
    n = u.shape[-1]
    mirrored = F.pad(u[..., n - n // 2 :].flip(-1), (1, 0))
    back = _turns(n, u.dtype, u.device)[1]
    v = torch.fft.irfft(torch.complex(u[..., : n // 2 + 1], -mirrored) * back, n)
    out = torch.empty_like(v)
    out[..., ::2], out[..., 1::2] = v[..., : (n + 1) // 2], v[..., (n + 1) // 2 :].flip(-1)
    return out


@functools.lru_cache(maxsize=64)
def _turns(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """`s_k exp(-i pi k / 2n)` for k = 0 … n // 2, with `s_0 = sqrt(1/n)`, else `sqrt(2/n)`, and the inverse of it."""
    with constants():
        angle = torch.arange(n // 2 + 1, dtype=dtype, device=device) * (torch.pi / (2 * n))
        scale = torch.full_like(angle, (2 / n) ** 0.5)
        scale[0] = (1 / n) ** 0.5
        return torch.polar(scale, -angle), torch.polar(1 / scale, angle)
