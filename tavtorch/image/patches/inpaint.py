"""Filling holes with copies of known pixels: texture and structure continue, and an object is removed."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Shaped
from torch import Generator, Tensor

from tavtorch.image.check import check_hole, check_image, full_precision
from tavtorch.image.patches.greedy import fill_greedily
from tavtorch.image.patches.multiscale import fill_multiscale
from tavtorch.image.patches.nearest import list_patches
from tavtorch.image.patches.pixels import choose, dilated
from tavtorch.image.patches.regions import in_batches, list_regions
from tavtorch.image.patches.sources import COMPUTED, Filling, apply, continued, moved, own_pixels
from tavtorch.precision import exact
from tavtorch.solve import Solution, Stop

THIN = 4
"""Inscribed radius of a hole, in pixels, up to which a smooth filling is closer to the truth than copies."""

METHODS: dict[str, Callable[..., Solution]] = {
    "random": partial(fill_greedily, in_order=False),
    "priority": partial(fill_greedily, in_order=True),
    "multiscale": partial(fill_multiscale, turned=False),
    "turned": partial(fill_multiscale, turned=True),
}


@exact()
def inpaint_patches(
    image: Shaped[Tensor, "..."],
    hole: Shaped[Tensor, "..."],
    *,
    method: str = "multiscale",
    size: int = 7,
    exclude: Shaped[Tensor, "..."] | None = None,
    dilate: int = 0,
    search: int | str = "near",
    n: int | None = None,
    generator: Generator | None = None,
    stop: Stop | None = None,
) -> Filling:
    """Fill each missing pixel with a copy of a known one, so that every patch in the hole looks like a known patch.

        u(p) = image(φ(p)) in the hole,        φ chosen by the squared distance of the patches about p and φ(p)

    - `"random"`: from the border of the hole inwards, in random order; each patch is completed by the one most similar
      to its known part.
    - `"priority"`: the same, first where edges run into the hole and most of the patch is known.
    - `"multiscale"`: all patches of the hole together, from coarse to fine, until they agree: see `fill_multiscale`.
    - `"turned"`: the same, with patches mirrored and turned by quarters as well: for round structures.
    - `"auto"`: `inpaint_harmonic` of order 2 for images whose hole is nowhere wider than 8 pixels, where copies lose 3
      to 4 dB; otherwise `"multiscale"`.

    The gradient with respect to the image is that of the copies with φ held fixed: exact almost everywhere, since φ is
    piecewise constant. There is none with respect to the hole, nor to the values of the image in it.

    Args:
        image: `(b, c, h, w)`; its values in the hole do not count, and may be NaN.
        hole: `(b, 1, h, w)`, True where the image is missing.
        method: see above.
        size: side of a patch in pixels, odd. More follows larger structures, and finds fewer similar patches.
        exclude: `(b, 1, h, w)`, True on pixels that are kept but never copied.
        dilate: pixels by which the hole is grown first. Where the hole is a little smaller than the object to remove,
            the object's rim would otherwise be continued.
        search: pixels around a hole's bounding box among which its sources are sought. Default `"near"`: as many as the
            side of a square of the hole's area, at least 256; `"all"`: the whole picture. Holes far from each other are
            filled each for itself, so that time and memory follow the holes and not the photograph; where there is no
            source within reach, all of the picture is searched.
        n: fillings of each image to choose from; None is one. The first is as without `n`; the others start elsewhere,
            and differ as far as the picture leaves a choice: a smooth or an exact filling has none.
        generator: of the random order and candidates; an image gets the same ones in any batch.
        stop: greedy methods: `gap` is the share of the hole still missing, where the value is 0; by default the whole
            hole is filled. Multiscale: a step is one search and one vote, `gap` the root mean square of the last
            change over that of the known pixels about their mean; `max_iter` holds for each resolution, the finest
            takes 2 at most. Default: `Stop(tol=0.01, max_iter=10, every=1)`; textures rarely converge before. Of
            several holes that are filled each for itself, the most steps and the largest gap.

    Returns:
        A `Filling`: the fields of a `Solution`, with the filled image, and `sources`, the pixel that each was copied
        from; `apply(sources, image)` gives the filled image again. Known pixels outside the grown hole are those of
        `image` to the bit. With `n` each field has one more axis, its second: the value is `(b, n, c, h, w)`.

    Source: Criminisi, Pérez & Toyama, IEEE TIP 13(9), 2004, doi:10.1109/TIP.2004.833105; Wexler, Shechtman & Irani,
    IEEE TPAMI 29(3), 2007, doi:10.1109/TPAMI.2007.60; Newson, Almansa, Gousseau & Pérez, IPOL 7, 2017,
    doi:10.5201/ipol.2017.189.

    >>> stripes = torch.tensor([0.0, 1.0]).repeat(16).expand(1, 1, 24, 32)
    >>> hole = torch.zeros(1, 1, 24, 32, dtype=torch.bool); hole[..., 9:15, 9:15] = True
    >>> torch.equal(inpaint_patches(stripes, hole).value, stripes)
    True
    """
    if method not in (*METHODS, "auto"):
        raise ValueError(f"method: expected one of {', '.join(METHODS)} or auto, got {method!r}.")
    check_hole(hole, image)
    if not isinstance(dilate, int) or dilate < 0:
        raise ValueError(f"dilate: expected a whole number of pixels >= 0, got {dilate}.")
    if exclude is None:
        exclude = torch.zeros_like(hole)
    _check_options(size, exclude, search, n, hole)

    # The hole that is filled, and the rest with 0 in it.
    hole = dilated(hole, dilate)
    check_hole(hole, image)
    known = torch.where(hole, 0, image)
    check_image(known)

    fill_by_copies = partial(
        _fill_by_copies,
        known,
        fill=METHODS["multiscale" if method == "auto" else method],
        size=size,
        exclude=exclude,
        search=search,
        stop=stop,
    )
    seeds = torch.randint(
        2**62, (n or 1,), generator=generator, device=generator.device if generator else None
    ).tolist()
    fillings = []
    for k, seed in enumerate(seeds):
        one = partial(fill_by_copies, seed=seed, varied=k > 0)
        fillings.append(_fill_by_width(known, hole, one) if method == "auto" else one(hole))
    return fillings[0] if n is None else Filling(*(torch.stack(part, 1) for part in zip(*fillings, strict=True)))


def _fill_by_copies(
    known: Tensor,
    hole: Tensor,
    *,
    fill: Callable[..., Solution],
    size: int,
    exclude: Tensor,
    search: int | str,
    stop: Stop | None,
    seed: int,
    varied: bool,
) -> Filling:
    """`known`, which is 0 in the hole, with copies there, region by region."""
    usable = ~(hole | exclude)
    _check_sources(hole, usable, size)
    sources = own_pixels(hole)
    image = full_precision(known.detach())
    iterations, gap = sources.new_zeros(len(image)), image.new_zeros(len(image))
    converged = torch.ones_like(gap, dtype=torch.bool)
    for regions in in_batches(list_regions(hole, usable, size, search)):
        # All regions of one size together. `fill` sees them centred, so that 0 is the mean.
        part, part_hole, part_usable = (torch.cat([r.of(u) for r in regions]) for u in (image, hole, usable))
        mean = part.sum((2, 3), keepdim=True) / (~part_hole).sum((2, 3), keepdim=True)
        centred = torch.where(part_hole, 0, part - mean)
        with torch.autocast(image.device.type, enabled=False):  # distances in half precision would choose other copies
            found = fill(centred, part_hole, part_usable, size=size, seed=seed, stop=stop, varied=varied)

        # Their sources, as pixels of the whole picture.
        height, width = regions[0].shape
        origin = found.value.reshape(-1, 1, height, width)
        for k, region in enumerate(regions):
            i, place = region.item, region.of(sources)
            found_here = moved(origin[k : k + 1], region.top, region.left, image.shape[-1])
            place.copy_(torch.where(region.of(hole), found_here, place))
            iterations[i] = torch.maximum(iterations[i], found.iterations[k])
            gap[i] = torch.maximum(gap[i], found.gap[k])
            converged[i] &= found.converged[k]
    return Filling(apply(sources, known), iterations, gap, converged, sources)


def _fill_by_width(known: Tensor, hole: Tensor, fill_by_copies: Callable[[Tensor], Filling]) -> Filling:
    """Images whose hole is thin are filled smoothly, the others by copies, in the type of `known`."""
    is_thin = dilated(~hole, THIN).flatten(1).all(1)
    thin = hole & is_thin[:, None, None, None]
    smooth = continued(known, thin)
    value, sources = smooth.value.to(known.dtype), own_pixels(hole).masked_fill(thin, COMPUTED)
    filled = Filling(value, smooth.iterations, smooth.gap, smooth.converged, sources)
    if bool(is_thin.all()):
        return filled
    return Filling(*choose(is_thin, filled, fill_by_copies(hole & ~thin)))


def _check_options(size: int, exclude: Tensor, search: int | str, n: int | None, hole: Tensor) -> None:
    """Raise unless `size` is that of a patch, `exclude` a mask like `hole`, `search` a reach, and `n` a number."""
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
        raise ValueError(f"n: expected a whole number of fillings >= 1, got {n!r}.")
    if search not in ("near", "all") and (not isinstance(search, int) or isinstance(search, bool) or search < 1):
        raise ValueError(f"search: expected 'near', 'all' or a whole number of pixels >= 1, got {search!r}.")
    if size < 3 or size % 2 == 0:
        raise ValueError(f"size: expected an odd number of pixels >= 3, got {size}; 7 is usual.")
    if exclude.dtype != torch.bool or exclude.shape != hole.shape:
        raise ValueError(
            f"exclude: expected a bool mask {tuple(hole.shape)}, True = never copied, got {exclude.dtype} "
            f"{tuple(exclude.shape)}."
        )


def _check_sources(hole: Tensor, usable: Tensor, size: int) -> None:
    """Raise unless every image with a hole has a patch of usable pixels."""
    h, w = hole.shape[-2:]
    if size > min(h, w):
        raise ValueError(f"size: expected at most the {min(h, w)} pixels of an image {(h, w)}, got {size}; lower it.")
    has_sources = torch.tensor(list_patches(hole, usable, size).n_sources, device=hole.device) > 0
    if bool((hole.flatten(1).any(1) & ~has_sources).any()):
        raise ValueError(
            f"hole: leaves no whole patch of {size} x {size} pixels to copy from; lower size or exclude less."
        )
