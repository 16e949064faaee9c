"""Classic implementations that others publish, called as a stranger's function is; each needs its package."""

import inspect
import re
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

_TRIES = 20


def installed(peer: Callable[..., Any]) -> bool:
    """Whether the packages are there that its body imports."""
    packages = re.findall(r"^    (?:from|import) (\w+)", inspect.getsource(peer), re.MULTILINE)
    return all(find_spec(package) for package in packages)


def chambolle(image: Tensor) -> Tensor:
    """ROF by scikit-image; as a split, its result is the structure."""
    from skimage.restoration import denoise_tv_chambolle

    return _pictures(lambda one: denoise_tv_chambolle(one, 0.08, channel_axis=0), image)


def biharmonic(image: Tensor, hole: Tensor) -> Tensor:
    """Thin plates by scikit-image, asked again where 0.26 reads uninitialised memory and fails."""
    from skimage.restoration import inpaint_biharmonic

    def filled(one: np.ndarray) -> np.ndarray:
        return inpaint_biharmonic(one, hole[0, 0].numpy(), channel_axis=0)

    for _ in range(_TRIES):
        with suppress(ValueError):
            return _pictures(filled, image)
    raise RuntimeError(
        "scikit-image's inpaint_biharmonic fails on this picture; benchmark(..., peer=False) does without."
    )


def patch_match(image: Tensor, hole: Tensor) -> Tensor:
    """PatchMatch by Vacavant's PyPatchMatch, in 8 bits and colour."""
    import patchmatch

    filled = []
    for one, missing in zip(image.expand(-1, 3, -1, -1), hole[:, 0], strict=True):
        pixels = (one.movedim(0, -1).clamp(0, 1) * 255).round().byte().numpy()
        found = patchmatch.inpaint(pixels, missing.byte().numpy() * 255, patch_size=5)
        filled.append(torch.from_numpy(found / np.float32(255)).movedim(-1, 0)[: image.shape[1]])
    return torch.stack(filled)


def active_contour(image: Tensor, points: Tensor) -> Tensor:
    """A snake by scikit-image on the blurred picture."""
    from skimage.filters import gaussian
    from skimage.segmentation import active_contour as snake

    found = points.clone()
    for b, picture in enumerate(image.mean(1).numpy()):
        smooth = gaussian(picture, 3, preserve_range=False)
        for place in np.ndindex(tuple(points.shape[1:-2])):
            start = points[(b, *place)].numpy()[:, ::-1]
            end = snake(smooth, start, alpha=0.015, beta=10.0, gamma=0.001)
            found[(b, *place)] = torch.from_numpy(end[:, ::-1].copy())
    return found


def two_medians(wave: Tensor, sample_rate: int) -> Tensor:
    """The voice by two stages of medians, without training (ours)."""
    from tavtorch.audio.separation import separate_voice

    return separate_voice(wave, sample_rate)


def median_filtering(wave: Tensor, sample_rate: int) -> Tensor:
    """The rest and the drums by librosa."""
    import librosa

    parts = [librosa.effects.hpss(one.numpy()) for one in wave.flatten(0, 1)]
    return torch.from_numpy(np.array(parts)).unflatten(0, wave.shape[:2]).transpose(1, 2)


def _pictures(op: Callable[[np.ndarray], np.ndarray], image: Tensor) -> Tensor:
    """Applied to each picture `(c, h, w)` of a batch."""
    return torch.stack([torch.from_numpy(op(one)).to(image.dtype) for one in image.numpy()])
