"""Filling holes with copies of what is known: texture and structure go on, an object leaves no trace."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Generator, Tensor

from tavtorch.image.check import check_hole, check_image
from tavtorch.image.patches.greedy import fill_greedily
from tavtorch.image.patches.multiscale import fill_multiscale
from tavtorch.image.patches.nearest import copies, dilated, list_patches
from tavtorch.image.restoration.harmonic import inpaint_harmonic
from tavtorch.solve import Solution, Stop

THIN = 4
"""Pixels of a hole's inscribed radius up to which a smooth filling is nearer to the truth than any copy."""

FILLS: dict[str, Callable[..., Solution]] = {
    "random": partial(fill_greedily, in_order=False),
    "priority": partial(fill_greedily, in_order=True),
    "multiscale": partial(fill_multiscale, turned=False),
    "turned": partial(fill_multiscale, turned=True),
}


def inpaint_patches(
    image: Shaped[Tensor, "..."],
    hole: Shaped[Tensor, "..."],
    *,
    method: str = "multiscale",
    size: int = 7,
    exclude: Shaped[Tensor, "..."] | None = None,
    dilate: int = 0,
    generator: Generator | None = None,
    stop: Stop | None = None,
) -> Solution:
    """Fill each missing pixel with a copy of a known one, so that every patch in the hole looks like one elsewhere.

        u(p) = image(φ(p)) in the hole,        φ(p) from the squared distance of the patches about p and φ(p)

    - `"random"`: from a random pixel of the hole's border inwards, each patch from the one most like its known part.
    - `"priority"`: the same, where edges run in and most is known first.
    - `"multiscale"`: all patches of the hole together, from coarse to fine, until they agree: see `fill_multiscale`.
    - `"turned"`: the same, from patches that are mirrored or turned by quarters as well: for what is round.
    - `"auto"`: multiscale, but `inpaint_harmonic` of order 2 where the hole is nowhere wider than 2 x 4 pixels: there
      copies lose 3 to 4 dB.

    The gradient with respect to the image is that of the copies, φ held: exact almost everywhere, since φ is piecewise
    constant; there is none with respect to the hole, nor to what the image has in it.

    Args:
        image: `(b, c, h, w)`; what it has in the hole does not count, and may be NaN.
        hole: `(b, 1, h, w)`, True where the image is missing.
        method: see above.
        size: pixels a side of a patch, odd; more follows larger structures, and finds fewer like them.
        exclude: `(b, 1, h, w)`, True on pixels that are kept but never copied.
        dilate: pixels by which the hole grows first: the rim of an object that the hole just misses grows back into it.
        generator: of the random order and tries; an image gets the same ones in any batch.
        stop: greedy methods: `gap` is the share of the hole still missing (left 0 if it ends before), by default none.
            Multiscale: `gap` is the root mean square of the last change, over that of the known pixels about their
            mean, and a step searches and votes once; `max_iter` holds for each resolution, the finest takes 2 at most.
            Default: `Stop(tol=0.01, max_iter=10, every=1)`; textures rarely come to rest before.

    Returns:
        A `Solution` with the filled image; known pixels outside of the grown hole are those of `image` to the bit.

    Source: Criminisi, Pérez & Toyama, IEEE TIP 13(9), 2004, doi:10.1109/TIP.2004.833105; Wexler, Shechtman & Irani,
    IEEE TPAMI 29(3), 2007, doi:10.1109/TPAMI.2007.60; Newson, Almansa, Gousseau & Pérez, IPOL 7, 2017,
    doi:10.5201/ipol.2017.189.

    >>> stripes = torch.tensor([0.0, 1.0]).repeat(16).expand(1, 1, 24, 32)
    >>> hole = torch.zeros(1, 1, 24, 32, dtype=torch.bool); hole[..., 9:15, 9:15] = True
    >>> torch.equal(inpaint_patches(stripes, hole).value, stripes)
    True
    """
    if method not in (*FILLS, "auto"):
        raise ValueError(f"method: expected one of {', '.join(FILLS)} or auto, got {method!r}.")
    check_hole(hole, image)
    if not isinstance(dilate, int) or dilate < 0:
        raise ValueError(f"dilate: expected a whole number of pixels >= 0, got {dilate}.")
    hole = dilated(hole, dilate)
    check_hole(hole, image)
    known = torch.where(hole, 0, image)
    check_image(known)
    if method == "auto":
        return _by_width(known, hole, size=size, exclude=exclude, generator=generator, stop=stop)
    usable = _check_sources(hole, size, exclude)
    mean = known.sum((2, 3), keepdim=True) / (~hole).sum((2, 3), keepdim=True)
    centred = torch.where(hole, 0, known - mean).detach()
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device if generator else None))
    found = FILLS[method](centred, hole, usable, size=size, seed=seed, stop=stop)
    return found._replace(value=torch.where(hole, copies(known, found.value), image))


def _by_width(image: Tensor, hole: Tensor, **options: Any) -> Solution:
    """The images whose hole is thin smoothly, the others by patches."""
    thin = dilated(~hole, THIN).flatten(1).all(1)
    wide = ~thin[:, None, None, None]
    smooth = inpaint_harmonic(image, hole & ~wide, order=2)
    if bool(thin.all()):
        return smooth
    copied = inpaint_patches(image, hole & wide, **options)
    parts = zip(smooth, copied, strict=True)
    return Solution(*(torch.where(thin.reshape(-1, *(1,) * (a.dim() - 1)), a, b) for a, b in parts))


def _check_sources(hole: Tensor, size: int, exclude: Tensor | None) -> Tensor:
    """The pixels that may be copied; raise unless some make up a whole patch wherever there is a hole."""
    h, w = hole.shape[-2:]
    if size < 3 or size % 2 == 0:
        raise ValueError(f"size: expected an odd number of pixels >= 3, got {size}; 7 is usual.")
    if size > min(h, w):
        raise ValueError(f"size: expected at most the {min(h, w)} pixels of an image {(h, w)}, got {size}; lower it.")
    if exclude is None:
        exclude = torch.zeros_like(hole)
    if exclude.dtype != torch.bool or exclude.shape != hole.shape:
        raise ValueError(
            f"exclude: expected a bool mask {tuple(hole.shape)}, True = never copied, got {exclude.dtype} "
            f"{tuple(exclude.shape)}."
        )
    usable = ~(hole | exclude)
    some = torch.tensor(list_patches(hole, usable, size).n_sources, device=hole.device) > 0
    if bool((hole.flatten(1).any(1) & ~some).any()):
        raise ValueError(
            f"hole: leaves no whole patch of {size} x {size} pixels to copy from; lower size or exclude less."
        )
    return usable
