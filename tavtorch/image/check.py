"""What every image operation asks of its arguments, said in one place."""

import torch
from torch import Tensor

from tavtorch.derivative import holds


def check_image(image: Tensor) -> None:
    """Raise unless `image` is a finite floating-point batch `(b, c, h, w)` that is not empty."""
    _check_batch(image)
    if not image.is_floating_point():
        raise ValueError(f"image: expected floating point, got {image.dtype}; image.float() / 255 turns bytes into it.")
    if not holds(image.isfinite()):
        raise ValueError(
            "image: some pixels are NaN or infinite; fill them first, for instance with image.nan_to_num()."
        )


def check_hole(hole: Tensor, image: Tensor) -> None:
    """Raise unless `hole` is a mask `(b, 1, h, w)` of `image` that leaves some pixels of every item."""
    _check_batch(image)
    expected = (len(image), 1, *image.shape[-2:])
    if hole.dtype != torch.bool or hole.shape != expected:
        raise ValueError(
            f"hole: expected a bool mask {expected}, True = missing, got {hole.dtype} {tuple(hole.shape)}."
        )
    if not holds((~hole).flatten(1).any(1)):
        raise ValueError("hole: covers a whole image; leave at least one known pixel to fill it from.")


def _check_batch(image: Tensor) -> None:
    if image.dim() != 4 or image.numel() == 0:
        raise ValueError(f"image: expected a batch (b, c, h, w) that is not empty, got shape {tuple(image.shape)}.")


def check_init(init: Tensor, image: Tensor) -> None:
    """Raise unless `init` is a finite image like `image`."""
    if init.shape != image.shape or init.dtype != image.dtype or not holds(init.isfinite()):
        raise ValueError(
            f"init: expected a finite image, {image.dtype} {tuple(image.shape)}, got {init.dtype} {tuple(init.shape)}."
        )


def check_coupling(coupling: str) -> None:
    """Raise unless `coupling` is one that `total_variation` knows."""
    if coupling not in {"joint", "separate", "none"}:
        raise ValueError(f'coupling: expected "joint", "separate" or "none", got {coupling!r}.')


def spread_weight(weight: float | Tensor, image: Tensor) -> Tensor:
    """`weight` as `(b, 1, 1, 1)`, or as the map `(b, 1, h, w)` that it is; raise unless it is at least 0."""
    spread = spread_over(weight, image, "weight")
    if not holds((spread >= 0) & spread.isfinite()):
        raise ValueError("weight: expected finite numbers >= 0; more is smoother, 0 leaves the image as it is.")
    return spread


def spread_over(value: float | Tensor, image: Tensor, name: str) -> Tensor:
    """A number, or one an image, as `(b, 1, 1, 1)`, or the map `(b, 1, h, w)` that it is; raise if it is none."""
    b, _, h, w = image.shape
    spread = torch.as_tensor(value, dtype=image.dtype, device=image.device)
    if spread.shape not in {(), (b,), (b, 1, h, w)}:
        raise ValueError(
            f"{name}: expected a number, one an image ({b},) or a map {(b, 1, h, w)}, got shape {tuple(spread.shape)}."
        )
    return spread if spread.dim() == 4 else spread.expand(b).reshape(b, 1, 1, 1)


def full_precision(u: Tensor) -> Tensor:
    """`u` in float32 if it is in half precision, else unchanged: ops compute in this and give the input's type back."""
    return u.float() if u.dtype in (torch.float16, torch.bfloat16) else u
