"""What every image operation asks of its arguments, said in one place."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tavtorch.derivative import holds
from tavtorch.image.grid import VOLUMES, space


def check_image(image: Tensor, *, volumes: bool = False) -> None:
    """Raise unless `image` is a finite floating-point batch `(b, c, h, w)` that is not empty; or `(b, c, d, h, w)`,
    where an op takes `volumes`."""
    _check_batch(image, volumes)
    if not image.is_floating_point():
        raise ValueError(f"image: expected floating point, got {image.dtype}; image.float() / 255 turns bytes into it.")
    if not holds(image.isfinite()):
        raise ValueError(
            "image: some pixels are NaN or infinite; fill them first, for instance with image.nan_to_num()."
        )


def check_hole(hole: Tensor, image: Tensor, *, volumes: bool = False) -> None:
    """Raise unless `hole` is a mask `(b, 1, h, w)` of `image` that leaves some pixels of every item."""
    _check_batch(image, volumes)
    check_device(hole, image, "hole")
    expected = (len(image), 1, *image.shape[2:])
    if hole.dtype != torch.bool or hole.shape != expected:
        raise ValueError(
            f"hole: expected a bool mask {expected}, True = missing, got {hole.dtype} {tuple(hole.shape)}."
        )
    if not holds((~hole).flatten(1).any(1)):
        kind = "volume" if image.dim() == VOLUMES else "image"
        raise ValueError(f"hole: covers a whole {kind}; leave at least one known pixel to fill it from.")


def _check_batch(image: Tensor, volumes: bool) -> None:
    if image.dim() not in ((4, VOLUMES) if volumes else (4,)) or image.numel() == 0:
        known = "a batch (b, c, h, w), or one of volumes (b, c, d, h, w)," if volumes else "a batch (b, c, h, w)"
        raise ValueError(f"image: expected {known} that is not empty, got shape {tuple(image.shape)}.")


def check_spacing(spacing: Sequence[float] | Tensor | None, image: Tensor) -> Tensor | None:
    """`spacing` as a tensor of the image's type; raise unless it has a distance for each axis of space."""
    if spacing is None:
        return None
    given = torch.as_tensor(spacing, dtype=image.dtype, device=image.device).detach()
    axes = {2: "(h, w)", 3: "(d, h, w)"}[len(space(image))]
    if given.shape != (len(space(image)),) or not holds(given >= 1e-6):
        raise ValueError(
            f"spacing: expected a distance of 1e-6 or more for each axis {axes}, got {spacing!r}; its unit is "
            "free, and infinity parts neighbours."
        )
    return given


def check_init(init: Tensor, image: Tensor) -> None:
    """Raise unless `init` is a finite image like `image`."""
    check_device(init, image, "init")
    if init.shape != image.shape or init.dtype != image.dtype or not holds(init.isfinite()):
        raise ValueError(
            f"init: expected a finite image, {image.dtype} {tuple(image.shape)}, got {init.dtype} {tuple(init.shape)}."
        )


def check_device(value: Tensor, beside: Tensor, name: str) -> None:
    """Raise unless two arguments are on one device."""
    if value.device != beside.device:
        raise ValueError(f"{name}: is on {value.device}, and what it belongs to on {beside.device}; move one by .to().")


def check_coupling(coupling: str) -> None:
    """Raise unless `coupling` is one that `total_variation` knows."""
    if coupling not in {"joint", "separate", "none"}:
        raise ValueError(f'coupling: expected "joint", "separate" or "none", got {coupling!r}.')


def spread_weight(weight: float | Tensor, image: Tensor) -> Tensor:
    """`weight` as `(b, 1, 1, 1)`, or as the map `(b, 1, h, w)` that it is; raise unless it is at least 0.

    Of volumes, `(b, 1, 1, 1, 1)`, or the map `(b, 1, d, h, w)`.
    """
    spread = spread_over(weight, image, "weight")
    if not holds((spread >= 0) & spread.isfinite()):
        raise ValueError("weight: expected finite numbers >= 0; more is smoother, 0 leaves the image as it is.")
    return spread


def spread_over(value: float | Tensor, image: Tensor, name: str) -> Tensor:
    """A number, or one an image, as `(b, 1, 1, 1)`, or the map `(b, 1, h, w)` that it is; raise if it is none."""
    b, shape = len(image), (len(image), 1, *image.shape[2:])
    spread = torch.as_tensor(value, dtype=image.dtype, device=image.device)
    if spread.shape not in {(), (b,), shape}:
        raise ValueError(
            f"{name}: expected a number, one an image ({b},) or a map {shape}, got shape {tuple(spread.shape)}."
        )
    return spread if spread.dim() > 1 else spread.expand(b).reshape(b, *(1,) * (len(shape) - 1))


def full_precision(u: Tensor) -> Tensor:
    """`u` in float32 if it is in half precision, else unchanged: ops compute in this and give the input's type back."""
    return u.float() if u.dtype in (torch.float16, torch.bfloat16) else u
