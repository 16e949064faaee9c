"""Enhancement of an image through its texture, which is where noise and detail are."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tavtorch.image.check import check_image, full_precision
from tavtorch.image.grid import cosines
from tavtorch.image.splitting.split import Split
from tavtorch.precision import exact

TILE = 256
"""Side in pixels of what `shrink` works on at once: its windows hold `size²` times as many numbers."""


def enhance(
    image: Float[Tensor, "b c h w"],
    *,
    split: Callable[[Tensor], Split],
    texture_filter: Callable[[Tensor], Tensor] | None = None,
    gain: float = 1.0,
) -> Float[Tensor, "b c h w"]:
    """Filter the texture of an image and add it to the structure again.

        v = structure + gain × filter(texture)

    Args:
        image: `(b, c, h, w)`.
        split: what parts the image, such as `split_hilbert` with its weight.
        texture_filter: the default is the median of 3 × 3 pixels, as in the course; `shrink` removes noise and keeps
            more of what is regular.
        gain: above 1 detail is raised.

    >>> enhance(torch.eye(8)[None, None], split=lambda image: Split(0 * image, image), gain=2.0).max()
    tensor(2.)
    """
    check_image(image)
    parts = split(image)
    return parts.structure + gain * (texture_filter or median)(parts.texture)


@exact()  # kornia's windows are a convolution
def median(image: Float[Tensor, "b c h w"], *, size: int = 3) -> Float[Tensor, "b c h w"]:
    """Median of `size × size` pixels, channel by channel; outside of the image the nearest border pixel goes on."""
    from kornia.filters import median_blur

    rim = size // 2
    return median_blur(F.pad(image, [rim] * 4, mode="replicate"), size)[..., rim:-rim, rim:-rim]


@exact()
def shrink(image: Float[Tensor, "b c h w"], *, threshold: float, size: int = 8) -> Float[Tensor, "b c h w"]:
    """Keep what stands out in the cosine transform of small windows, and average over all windows of a pixel.

    Noise of standard deviation σ leaves few coefficients above 2.5 to 3 σ; a pattern has few, and they are high. Memory
    is that of a few copies of the image, and 400 bytes a pixel and channel where a derivative is recorded.

    Args:
        image: `(b, c, h, w)`; outside of it the nearest border pixel goes on.
        threshold: coefficients up to it become zero.
        size: of the windows, in pixels.

    Source: Yu & Sapiro, "DCT image denoising", IPOL 1, 2011, doi:10.5201/ipol.2011.ys-dct.
    """
    check_image(image)
    if not threshold >= 0:
        raise ValueError(f"threshold: expected a number >= 0, some multiple of the noise's σ, got {threshold}.")
    full = full_precision(image)
    waves, rim = _cosines(size, full), 2 * (size - 1)
    h, w = image.shape[-2:]

    def shrunk(planes: Tensor) -> Tensor:
        padded = F.pad(planes, [size - 1] * 4, mode="replicate")
        rows = [
            [_shrunk(padded[..., y : y + TILE + rim, x : x + TILE + rim], waves, threshold) for x in range(0, w, TILE)]
            for y in range(0, h, TILE)
        ]
        return torch.cat([torch.cat(row, -1) for row in rows], -2)

    planes = full.flatten(0, 1)[:, None].split(max(1, TILE**2 // (h * w)))
    return torch.cat([shrunk(some) for some in planes]).reshape(image.shape).to(image.dtype)


def _shrunk(padded: Tensor, waves: Tensor, threshold: float) -> Tensor:
    """`shrink` of planes `(n, 1, h, w)` that have `size - 1` pixels more on each side."""
    windows = F.conv2d(padded, waves)
    kept = torch.where(windows.abs() > threshold, windows, 0)
    return F.conv_transpose2d(kept, waves, padding=waves.shape[-1] - 1) / len(waves)


def _cosines(size: int, like: Tensor) -> Float[Tensor, "{size}*{size} 1 {size} {size}"]:
    """The products of two cosines, one an output channel."""
    rows = cosines(size, like)
    return (rows[:, None, :, None] * rows[None, :, None, :]).reshape(size**2, 1, size, size)
