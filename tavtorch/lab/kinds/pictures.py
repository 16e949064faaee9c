"""Picture → picture: `(b, c, h, w)` to the same, or a `Solution` of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from tavtorch.lab.data.batches import Batch
from tavtorch.lab.data.files import Picture, write_picture
from tavtorch.lab.data.volumes import write_volume
from tavtorch.lab.kinds.solutions import convergence_scores, value_of
from tavtorch.lab.panels import Panel, picture, plot
from tavtorch.precision import exact
from tavtorch.solve import Solution, Stop

_POINTS = 14  # of a convergence curve

# score


def restoration(output: Tensor | Solution, batch: Batch) -> dict[str, Tensor]:
    """Similarity of the result, and of the op's input, to a truth in [0, 1].

    An input of larger pixels is scored as its bicubic interpolation.

    - `psnr`: peak signal-to-noise ratio `-10 log10 |u - truth|² / n`, in dB, of values clipped to [0, 1];
    - `ssim`: structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861), 1 is equal;
    - `psnr_in_hole`: PSNR over the missing pixels only, if there is a hole;
    - `iterations`, `gap`, `converged`: of a `Solution`.
    """
    inputs, truth = batch["inputs"], batch["truth"]
    columns: dict[str, Tensor] = {}
    for part, image in {"input": enlarged(inputs["image"], truth), "result": value_of(output)}.items():
        image = image.clamp(0, 1)
        columns[f"{part}/psnr"] = psnr(image, truth)
        columns[f"{part}/ssim"] = ssim(image, truth)
        if "hole" in inputs:
            hole = inputs["hole"].expand_as(image)
            share = hole.flatten(1).double().mean(1)
            columns[f"{part}/psnr_in_hole"] = psnr(torch.where(hole, image, truth), truth) + 10 * share.log10()
    return columns | convergence_scores(output, "result")


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """In dB, for a range of 1."""
    return peak_signal_noise_ratio(image, truth, data_range=1.0, dim=(1, 2, 3), reduction="none")


@exact()
def ssim(image: Tensor, truth: Tensor) -> Tensor:
    """For a range of 1; 1 is equal."""
    return cast(Tensor, structural_similarity_index_measure(image, truth, reduction="none", data_range=1.0))


# panels


def restored(output: Tensor | Solution, batch: Batch, *, op: Callable[..., Any] | None = None) -> list[Panel]:
    """Input, result, truth, and the differences between them.

    Args:
        op: an iterative op whose convergence is plotted too.
    """
    inputs = batch["inputs"]
    after = value_of(output)
    before = enlarged(inputs["image"], after)
    hole = inputs.get("hole")
    panels = [
        Panel("input", picture(before[0] if hole is None else marked(before[0], hole[0]))),
        Panel("result", picture(after[0]), before="input"),
        Panel("truth", picture(batch["truth"][0])),
        Panel("result - truth, around mid-grey, × 2", picture(0.5 + 2 * (after - batch["truth"])[0])),
    ]
    if hole is None:
        panels.append(Panel("input - result, around mid-grey, × 2", picture(0.5 + 2 * (before - after)[0])))
    return [*panels, *convergence_panels(op, inputs, output)]


def removed(output: Tensor | Solution, batch: Batch, *, op: Callable[..., Any] | None = None) -> list[Panel]:
    """A picture with an object in it, the object marked, and the picture without it; `op` as in `restored`."""
    inputs = batch["inputs"]
    panels = [
        Panel("before", picture(batch["truth"][0])),
        Panel("what is taken away", picture(marked(inputs["image"][0], inputs["hole"][0]))),
        Panel("after", picture(value_of(output)[0]), before="before"),
    ]
    return [*panels, *convergence_panels(op, inputs, output)]


def enlarged(image: Float[Tensor, "b c m n"], like: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The picture at the size of another, by bicubic interpolation; unchanged if it has it."""
    size = like.shape[-2:]
    return image if image.shape[-2:] == size else F.interpolate(image, size=size, mode="bicubic")


def marked(
    image: Float[Tensor, "c h w"], hole: Bool[Tensor, "1 h w"], color: Sequence[float] = (1.0, 0.85, 0.2)
) -> Float[Tensor, "3 h w"]:
    """The picture with its hole in one colour."""
    paint = torch.tensor(color, dtype=image.dtype, device=image.device)[:, None, None]
    return torch.where(hole, paint, image)


def convergence(op: Callable[..., Any], inputs: dict[str, Any], *, steps: int = 200) -> Panel:
    """Gap and distance to the last result over the iterations, from runs that are stopped after so many of them."""
    counts = np.unique(np.geomspace(1, steps, _POINTS).round().astype(int)).tolist()
    ends = [op(**inputs, stop=Stop(tol=0.0, max_iter=k, every=k)) for k in counts]
    last = ends[-1].value[0]
    distances = [float((end.value[0] - last).norm() / last.norm()) for end in ends[:-1]]

    with matplotlib.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(4, 3.6), layout="constrained")
        axes = figure.add_subplot(xlabel="iterations")
    axes.loglog(counts, [float(end.gap[0]) for end in ends], marker=".", label="gap: energy above the least, at most")
    axes.loglog(counts[:-1], distances, marker=".", label="relative distance to the last picture")
    axes.grid(which="major", alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    return Panel("the way to the result", plot(figure))


def convergence_panels(op: Callable[..., Any] | None, inputs: dict[str, Any], output: Any) -> list[Panel]:
    """`convergence` of the op, if there is one."""
    return [convergence(op, inputs, steps=max(200, int(output.iterations[0])))] if op else []


# writer


def write_image(path: Path, output: Tensor | Solution, batch: Batch, *, suffix: str | None = None) -> Path:
    """A picture, or a volume, as what it comes from: bit depth, transparency, metadata and, without `suffix`, format.

    Args:
        suffix: of the format that is written: `.png`, `.tif`, …

    Returns:
        The file, `<path>.png`, …; a folder for the slices of one.
    """
    (file,) = batch["file"]
    if "slices" in file:
        return write_volume(path, value_of(output)[0], file, suffix=suffix)
    suffix = suffix or file["suffix"]
    path = path if path.suffix == suffix else path.with_name(path.name + suffix)
    write_picture(path, Picture(value_of(output)[0], file["alpha"], file["levels"], file["about"]))
    return path
