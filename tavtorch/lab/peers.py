"""Classic implementations that others publish, called as a stranger's function is; each needs its package."""

import inspect
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor


def installed(peer: Callable[..., Any]) -> bool:
    """Whether the packages are there that its body imports."""
    packages = re.findall(r"^    (?:from|import) (\w+)", inspect.getsource(peer), re.MULTILINE)
    return all(find_spec(package) for package in packages)


def chambolle(image: Tensor) -> Tensor:
    """ROF by scikit-image; as a split, its result is the structure."""
    from skimage.restoration import denoise_tv_chambolle

    return _pictures(lambda one: denoise_tv_chambolle(one, 0.08, channel_axis=0), image)


def telea(image: Tensor, hole: Tensor) -> Tensor:
    """From the border inwards by OpenCV, in 8 bits."""
    import cv2

    missing = hole[0, 0].byte().numpy()
    return _pictures(lambda one: cv2.inpaint(_bytes(one), missing, 3, cv2.INPAINT_TELEA)[None] / np.float32(255), image)


def biharmonic(image: Tensor, hole: Tensor) -> Tensor:
    """Thin plates by scikit-image; 0.26 sometimes reads uninitialised memory, and raises an error of its matrix."""
    from skimage.restoration import inpaint_biharmonic

    def filled(one: np.ndarray) -> np.ndarray:
        return inpaint_biharmonic(one, hole[0, 0].numpy(), channel_axis=0)

    return _pictures(filled, image)


def patch_match(image: Tensor, hole: Tensor) -> Tensor:
    """PatchMatch (Barnes et al. 2009) by PyPatchMatch, in 8 bits and colour."""
    import patchmatch

    filled = []
    for one, missing in zip(image.expand(-1, 3, -1, -1), hole[:, 0], strict=True):
        found = patchmatch.inpaint(_bytes(one.movedim(0, -1).numpy()), missing.byte().numpy() * 255, patch_size=5)
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


def _bytes(pixels: np.ndarray) -> np.ndarray:
    """A grey picture `(1, h, w)` or a picture in colour `(h, w, 3)` in 8 bits."""
    return np.ascontiguousarray((pixels.clip(0, 1) * 255).round().astype(np.uint8).squeeze())
