"""Pictures before and after, what was taken away, and how an iteration went."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from torch import Tensor

from tavtorch.image.splitting.split import Split
from tavtorch.lab.data.batches import Batch
from tavtorch.lab.panels import Panel, picture, plot
from tavtorch.solve import Solution, Stop

_DOTS = 128  # a side of a drawn spectrum: one wave alone is to be seen
_LOOKS = 14  # points of a curve


def restored(output: Tensor | Solution, batch: Batch, *, op: Callable[..., Any] | None = None) -> list[Panel]:
    """Input, result, truth, and the differences between them.

    Args:
        op: an iterative op whose road to the result is drawn too.
    """
    inputs = batch["inputs"]
    before, after = inputs["image"], output.value if isinstance(output, Solution) else output
    hole = inputs.get("hole")
    panels = [
        Panel("input", picture(before[0] if hole is None else marked(before[0], hole[0]))),
        Panel("result", picture(after[0]), before="input"),
        Panel("truth", picture(batch["truth"][0])),
        Panel("result - truth, around mid-grey, × 2", picture(0.5 + 2 * (after - batch["truth"])[0])),
    ]
    if hole is None:
        panels.append(Panel("input - result, around mid-grey, × 2", picture(0.5 + 2 * (before - after)[0])))
    return [*panels, *_way(op, inputs, output)]


def removed(output: Tensor | Solution, batch: Batch, *, op: Callable[..., Any] | None = None) -> list[Panel]:
    """A picture with an object in it, what is taken away, and the picture without; `op` as in `restored`."""
    inputs, after = batch["inputs"], output.value if isinstance(output, Solution) else output
    panels = [
        Panel("before", picture(batch["truth"][0])),
        Panel("what is taken away", picture(marked(inputs["image"][0], inputs["hole"][0]))),
        Panel("after", picture(after[0]), before="before"),
    ]
    return [*panels, *_way(op, inputs, output)]


def parts(output: Split, batch: Batch) -> list[Panel]:
    """Image, structure, and texture around mid-grey, each with its spectrum in dB, and the true parts where known."""
    image = batch["inputs"]["image"]
    panels = [
        Panel("image", picture(image[0])),
        Panel("structure", picture(output.structure[0]), before="image"),
        Panel("texture, around mid-grey", picture(0.5 + output.texture[0])),
    ]
    if isinstance(batch.get("truth"), dict):
        panels.append(Panel("true texture, around mid-grey", picture(0.5 + batch["truth"]["texture"][0])))
    shown = {"image": image, "structure": output.structure, "texture": output.texture}
    return panels + [Panel(f"spectrum of the {name}", spectrum_plot(one[0])) for name, one in shown.items()]


def spectrum_plot(image: Float[Tensor, "c h w"], *, depth: float = 80.0) -> str:
    """Levels in dB over the frequencies (x, y), as a data URL: 0 in the middle, `depth` dB down from the full scale."""
    levels = 20 * torch.fft.fft2(image.detach().double().cpu().mean(0), norm="forward").abs().clamp(min=1e-12).log10()
    seen = F.max_pool2d(torch.fft.fftshift(levels)[None], math.ceil(max(levels.shape) / _DOTS), ceil_mode=True)[0]
    figure = Figure(figsize=(4.4, 3.8), layout="constrained")
    axes = figure.add_subplot(xlabel="cycles a pixel, x", ylabel="cycles a pixel, y")
    drawn = axes.imshow(seen.numpy(), extent=(-0.5, 0.5, 0.5, -0.5), vmin=-depth - 20, vmax=-20, cmap="magma")
    figure.colorbar(drawn, label="dB")
    return plot(figure)


def marked(
    image: Float[Tensor, "c h w"], hole: Bool[Tensor, "1 h w"], color: Sequence[float] = (1.0, 0.85, 0.2)
) -> Float[Tensor, "3 h w"]:
    """The picture with its hole painted."""
    paint = torch.tensor(color, dtype=image.dtype, device=image.device)[:, None, None]
    return torch.where(hole, paint, image)


def convergence(op: Callable[..., Any], inputs: dict[str, Any], *, steps: int = 200) -> Panel:
    """The duality gap after so many steps, by as many runs that end there, and how far that result is from the last."""
    looks = np.unique(np.geomspace(1, steps, _LOOKS).round().astype(int)).tolist()
    ends = [op(**inputs, stop=Stop(tol=0.0, max_iter=k, every=k)) for k in looks]
    last = ends[-1].value[0]
    away = [float((end.value[0] - last).norm() / last.norm()) for end in ends[:-1]]
    with matplotlib.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(4, 3.6), layout="constrained")
        axes = figure.add_subplot(xlabel="iterations")
    axes.loglog(looks, [float(end.gap[0]) for end in ends], marker=".", label="gap: energy above the least, at most")
    axes.loglog(looks[:-1], away, marker=".", label="relative distance to the last picture")
    axes.grid(which="major", alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    return Panel("the way to the result", plot(figure))


def _way(op: Callable[..., Any] | None, inputs: dict[str, Any], output: Any) -> list[Panel]:
    return [convergence(op, inputs, steps=max(200, int(output.iterations[0])))] if op else []
