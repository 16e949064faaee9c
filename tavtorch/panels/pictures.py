"""Pictures before and after, what was taken away, and how an iteration went."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import torch
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from tavtorch.data.batches import Batch
from tavtorch.image.split import Split
from tavtorch.panels import Panel, plot, url
from tavtorch.solve import Solution, Stop

_LOOKS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200)  # steps after which a curve has a point


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
        Panel("result", picture(after[0])),
        Panel("truth", picture(batch["truth"][0])),
        Panel("result - truth, around mid-grey, × 2", picture(0.5 + 2 * (after - batch["truth"])[0])),
    ]
    if hole is None:
        panels.append(Panel("input - result, around mid-grey, × 2", picture(0.5 + 2 * (before - after)[0])))
    return [*panels, convergence(op, inputs)] if op else panels


def parts(output: Split, batch: Batch) -> list[Panel]:
    """Image, structure, and texture around mid-grey, each with its spectrum in dB, and the true parts where known."""
    image = batch["inputs"]["image"]
    images = {"image": image, "structure": output.structure, "texture, around mid-grey": 0.5 + output.texture}
    panels = [Panel(caption, picture(one[0])) for caption, one in images.items()]
    if isinstance(batch.get("truth"), dict):
        panels.append(Panel("true texture, around mid-grey", picture(0.5 + batch["truth"]["texture"][0])))
    shown = {"image": image, "structure": output.structure, "texture": output.texture}
    return panels + [Panel(f"spectrum of the {name}", spectrum_plot(one[0])) for name, one in shown.items()]


def spectrum_plot(image: Float[Tensor, "c h w"], *, depth: float = 80.0) -> str:
    """Levels in dB over the frequencies (x, y), as a data URL: 0 in the middle, `depth` dB down from the full scale."""
    levels = 20 * torch.fft.fft2(image.detach().double().cpu().mean(0), norm="forward").abs().clamp(min=1e-12).log10()
    figure = Figure(figsize=(4.4, 3.8), layout="constrained")
    axes = figure.add_subplot(xlabel="cycles a pixel, x", ylabel="cycles a pixel, y")
    drawn = axes.imshow(
        torch.fft.fftshift(levels).numpy(), extent=(-0.5, 0.5, 0.5, -0.5), vmin=-depth - 20, vmax=-20, cmap="magma"
    )
    figure.colorbar(drawn, label="dB")
    return plot(figure)


def picture(image: Float[Tensor, "c h w"]) -> str:
    """A picture, pixel by pixel, as a data URL; what lies outside of [0, 1] is cut off."""
    pixels = (image.detach().float().cpu().clamp(0, 1) * 255).round().byte().movedim(0, -1).squeeze(-1).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="png", optimize=True)
    return url("image/png", file)


def marked(
    image: Float[Tensor, "c h w"], hole: Bool[Tensor, "1 h w"], color: Sequence[float] = (1.0, 0.85, 0.2)
) -> Float[Tensor, "3 h w"]:
    """The picture with its hole painted."""
    paint = torch.tensor(color, dtype=image.dtype, device=image.device)[:, None, None]
    return torch.where(hole, paint, image)


def convergence(op: Callable[..., Any], inputs: dict[str, Any]) -> Panel:
    """The gap after so many steps, by as many runs that end there."""
    gaps = [float(op(**inputs, stop=Stop(tol=0.0, max_iter=k, every=k)).gap[0]) for k in _LOOKS]
    with matplotlib.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(5, 3.6), layout="constrained")
        axes = figure.add_subplot(xlabel="iterations", ylabel="gap")
    axes.loglog(_LOOKS, gaps, marker=".")
    axes.grid(which="major", alpha=0.3)
    return Panel("gap over the iterations", plot(figure))
