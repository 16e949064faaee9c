"""Force fields as arrows over their images, and contours on the way to the edges."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image
from torch import Tensor

from tavtorch.lab.data.batches import Batch
from tavtorch.lab.panels import Panel, plot, url
from tavtorch.solve import Solution

_ARROWS = 40  # along the longer side
_FRAMES = 40  # of an animation, at most
_END: dict[str, Any] = {  # to be seen on any ground
    "color": "#19e3ff", "linewidth": 1.4, "path_effects": [withStroke(linewidth=2.4, foreground="black")]
}  # fmt: skip


def field(output: Tensor | Solution, batch: Batch) -> list[Panel]:
    """Directions of a force as arrows over the image, and its length in decades."""
    force = (output.value if isinstance(output, Solution) else output)[0].detach().float().cpu()
    length = force.norm(dim=0)
    every = max(1, max(length.shape) // _ARROWS)
    there = length > 1e-6 * length.max()
    x, y = np.meshgrid(*(np.arange(0, n, every) for n in reversed(length.shape)))
    unit = (force / length.clamp(min=1e-30))[:, ::every, ::every] * there[::every, ::every]
    arrows, axes = _over(batch["inputs"]["image"][0])
    axes.quiver(x, y, *unit.numpy(), color="tab:orange", angles="xy", scale_units="xy", scale=1.2 / every, width=0.003)
    sizes = Figure(figsize=(5.4, max(1.0, 4.4 * length.shape[0] / length.shape[1])), layout="constrained")
    ground = sizes.add_subplot(xticks=[], yticks=[])
    decades = (length / length.max().clamp(min=1e-30)).clamp(min=1e-6).log10()
    sizes.colorbar(ground.imshow(decades.numpy(), vmin=-6, vmax=0, cmap="viridis"), label="length, decades of the most")
    return [Panel("direction of the force", plot(arrows)), Panel("length of the force", plot(sizes))]


def contours(output: Solution, batch: Batch, *, op: Callable[..., Solution]) -> list[Panel]:
    """Start and end of the contours over the image, the truth in another colour where it is known, and the way there.

    Args:
        op: run again to see the contours on the way.
    """
    inputs, image = batch["inputs"], batch["inputs"]["image"][0]
    figure, axes = _over(image)
    known = "truth" in batch and batch["truth"].dtype == torch.bool
    if known:
        for mask in batch["truth"][0].float().cpu().numpy():
            axes.contour(mask, levels=[0.5], colors="tab:green", linewidths=1)
    _draw(axes, inputs["points"][0], color="white", linewidth=1, linestyle="--")
    _draw(axes, output.value[0], **_END)
    history: list[Tensor] = []
    op(**inputs, history=history)
    return [
        Panel(
            "start (dashed), end (cyan) and truth (green)" if known else "start (dashed) and end",
            plot(figure),
        ),
        Panel("the way there", animation(image, [points[0] for points in history])),
    ]


def animation(image: Float[Tensor, "c h w"], history: Sequence[Tensor], *, milliseconds: int = 80) -> str:
    """Contours over the image, one picture after the other, as the data URL of a film."""
    chosen = np.unique(np.linspace(0, len(history) - 1, min(_FRAMES, len(history))).round().astype(int))
    frames = []
    for i in chosen:
        figure, axes = _over(image)
        _draw(axes, history[i], **_END)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=70)
        frames.append(Image.open(file).convert("RGB"))
    file = io.BytesIO()
    pauses = [milliseconds] * (len(frames) - 1) + [1500]
    frames[0].save(file, "webp", save_all=True, append_images=frames[1:], duration=pauses, loop=0, quality=75)
    return url("image/webp", file)


def _over(image: Float[Tensor, "c h w"]) -> tuple[Figure, Axes]:
    """A figure of the image, to draw on."""
    h, w = image.shape[-2:]
    figure = Figure(figsize=(5.2, max(1.0, 5.2 * h / w)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    pixels = image.detach().float().cpu().clamp(0, 1).movedim(0, -1).squeeze(-1).numpy()
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1)
    return figure, axes


def _draw(axes: Axes, points: Tensor, **style: Any) -> None:
    """Closed contours `(n, 2)` or `(m, n, 2)`."""
    for contour in points.detach().float().cpu().reshape(-1, *points.shape[-2:]).numpy():
        axes.plot(*np.concatenate((contour, contour[:1])).T, **style)
