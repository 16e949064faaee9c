"""Picture and hole → a `Filling`: the picture, and where each of its pixels was copied from."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tavtorch.image.patches import Filling
from tavtorch.lab.data.batches import Batch
from tavtorch.lab.data.files import whole
from tavtorch.lab.kinds import pictures
from tavtorch.lab.kinds.pictures import write_image
from tavtorch.lab.panels import Panel, picture
from tavtorch.solve import Solution

CAPTION = "where each pixel was copied from: colours are places in the picture"


def fillings(output: Filling) -> list[Filling]:
    """Each of the fillings that an output has of every picture."""
    several = output.value.shape[1:-3]
    return [Filling(*(part[:, k] for part in output)) for k in range(several[0])] if several else [output]


# score


def restoration(output: Filling | Solution | Tensor, batch: Batch) -> dict[str, Tensor]:
    """As `pictures.restoration`, of the first filling; other people's ops give a picture alone."""
    return pictures.restoration(_solution(fillings(output)[0]) if isinstance(output, Filling) else output, batch)


# panels


def restored(output: Filling, batch: Batch, **options: Any) -> list[Panel]:
    """As `pictures.restored`, the picture of the sources, and the other fillings, if there are any."""
    first, *others = fillings(output)
    return [*pictures.restored(_solution(first), batch, **options), *_copies(first, others)]


def removed(output: Filling, batch: Batch, **options: Any) -> list[Panel]:
    """As `pictures.removed`, and what `restored` has more."""
    first, *others = fillings(output)
    return [*pictures.removed(_solution(first), batch, **options), *_copies(first, others)]


def _copies(first: Filling, others: list[Filling]) -> list[Panel]:
    more = [Panel(f"another filling, {k} of {len(others) + 1}", picture(u.value[0])) for k, u in enumerate(others, 2)]
    return [Panel(CAPTION, picture(origins(first))), *more]


def origins(filling: Filling) -> Float[Tensor, "3 h w"]:
    """Where each pixel of a filled picture comes from, as a picture: every place has a colour of its own.

    Red grows from left to right, green from top to bottom. A known pixel has its place's colour, pale, over its grey;
    a copied one the full colour of the place that it was copied from; one that is no copy is white.
    """
    value, sources = filling.value[0].detach(), filling.sources[0, 0]
    h, w = sources.shape
    own = torch.arange(h * w, device=sources.device).reshape(h, w)
    y = sources.div(w, rounding_mode="floor").to(value.dtype) / max(h - 1, 1)
    x = (sources % w).to(value.dtype) / max(w - 1, 1)
    place = torch.stack((x, y, 1 - 0.5 * (x + y)))
    pale = 0.35 * place + 0.65 * value.mean(0).clamp(0, 1)
    return torch.where(sources == own, pale, torch.where(sources < 0, 1, place))


def _solution(filling: Filling) -> Solution:
    return Solution(*filling[:4])


# writer


def write_filled(
    path: Path, output: Filling, batch: Batch, *, suffix: str | None = None, sources: bool = False
) -> Path:
    """As `write_image`, and, if `sources`, beside it where each pixel was copied from, `<path>.sources.npz`.

    Several fillings are `1`, `2`, … in the folder `path`.
    """
    several = fillings(output)
    if len(several) > 1:
        with whole(path) as folder:
            for k, filling in enumerate(several, 1):
                write_filled(folder / str(k), filling, batch, suffix=suffix, sources=sources)
        return path
    if sources:
        write_sources(path.with_name(path.name + ".sources.npz"), output.sources)
    return write_image(path, _solution(output), batch, suffix=suffix)


def write_sources(path: Path, sources: Int64[Tensor, "1 1 h w"]) -> None:
    """`x` and `y` of each pixel's source, int32 `(h, w)`; -1 where it is no copy."""
    w = sources.shape[-1]
    flat = sources[0, 0].cpu()
    y, x = flat.div(w, rounding_mode="floor"), torch.where(flat < 0, -1, flat % w)
    with whole(path) as part, part.open("wb") as file:
        np.savez_compressed(file, x=x.to(torch.int32).numpy(), y=y.to(torch.int32).numpy())


def read_sources(path: str | Path) -> Int64[Tensor, "1 1 h w"]:
    """The file of `write_sources`, as `tavtorch.image.patches.apply` takes it."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, y = (torch.from_numpy(arrays[name].astype(np.int64)) for name in ("x", "y"))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path}: no file of sources ({error}); task.save.sources=true writes them.") from error
    return torch.where(x < 0, -1, y * x.shape[1] + x)[None, None]
