"""Picture → structure and texture: a `Split`."""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from tavtorch.image.splitting.split import Split, correlation
from tavtorch.lab.data.batches import Batch
from tavtorch.lab.data.files import Picture, whole, write_picture
from tavtorch.lab.kinds.pictures import psnr
from tavtorch.lab.kinds.solutions import convergence_scores
from tavtorch.lab.panels import Panel, picture, plot

_CELLS = 128  # along a side of a drawn spectrum, few enough for a single frequency to be visible

# score


def splitting(output: Split, batch: Batch) -> dict[str, Tensor]:
    """How independent structure and texture of a picture are, and how similar the texture is to its truth.

    - `correlation`: of structure and texture, 0 if they have nothing in common;
    - `psnr`: of the texture without its mean, if its truth is known, in dB of a picture in [0, 1]; that of the
      structure would be the same;
    - `iterations`, `gap`, `converged`: of an iterative split.
    """
    columns = {"structure/correlation": correlation(output.structure, output.texture)}
    if isinstance(truth := batch.get("truth"), dict):
        error = output.texture - truth["texture"]
        columns["texture/psnr"] = psnr(error - error.mean((-2, -1), keepdim=True), torch.zeros_like(error))
    return columns | convergence_scores(output, "structure")


# panels


def parts(output: Split, batch: Batch) -> list[Panel]:
    """Image, structure, and texture around mid-grey, each with its spectrum in dB, and the true texture if known."""
    image = batch["inputs"]["image"]
    panels = [
        Panel("image", picture(image[0])),
        Panel("structure", picture(output.structure[0]), before="image"),
        Panel("texture, around mid-grey", picture(0.5 + output.texture[0])),
    ]
    if isinstance(truth := batch.get("truth"), dict):
        panels.append(Panel("true texture, around mid-grey", picture(0.5 + truth["texture"][0])))
    shown = {"image": image, "structure": output.structure, "texture": output.texture}
    return panels + [Panel(f"spectrum of the {name}", spectrum_plot(one[0])) for name, one in shown.items()]


def spectrum_plot(image: Float[Tensor, "c h w"], *, depth: float = 80.0) -> str:
    """Levels in dB over the frequencies (x, y), with 0 in the centre, down to `depth` dB below full scale."""
    levels = 20 * torch.fft.fft2(image.detach().double().cpu().mean(0), norm="forward").abs().clamp(min=1e-12).log10()
    cell = math.ceil(max(levels.shape) / _CELLS)
    cells = F.max_pool2d(torch.fft.fftshift(levels)[None], cell, ceil_mode=True)[0]
    figure = Figure(figsize=(4.4, 3.8), layout="constrained")
    axes = figure.add_subplot(xlabel="cycles a pixel, x", ylabel="cycles a pixel, y")
    drawn = axes.imshow(cells.numpy(), extent=(-0.5, 0.5, 0.5, -0.5), vmin=-depth - 20, vmax=-20, cmap="magma")
    figure.colorbar(drawn, label="dB")
    return plot(figure)


# writer


def write_parts(path: Path, output: Split, batch: Batch, *, suffix: str | None = None) -> Path:
    """`structure` and `texture`, around mid-grey, as two pictures in the folder `path`, which is returned.

    Args:
        suffix: of the format that is written: `.png`, `.tif`, …; without one, that of the picture's file.
    """
    (file,) = batch["file"]
    with whole(path) as folder:
        for name, image in {"structure": output.structure, "texture": 0.5 + output.texture}.items():
            picture = Picture(image[0], file["alpha"], file["levels"], file["about"])
            write_picture(folder / f"{name}{suffix or file['suffix']}", picture)
    return path
