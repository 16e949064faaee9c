"""Picture and points → contours: a `Solution` with points `(b, n, 2)` or `(b, m, n, 2)`."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from PIL import Image
from torch import Tensor

from tavtorch.image.contours.polygons import distance, fill
from tavtorch.lab.data.batches import Batch
from tavtorch.lab.data.files import Picture, whole, write_picture
from tavtorch.lab.panels import Panel, image_figure, plot, url
from tavtorch.solve import Solution

_FRAMES = 40  # of an animation, at most
_END: dict[str, Any] = {  # visible on any picture
    "color": "#19e3ff", "linewidth": 1.4, "path_effects": [withStroke(linewidth=2.4, foreground="black")]
}  # fmt: skip

# score


def segmentation(output: Solution, batch: Batch) -> dict[str, Tensor]:
    """How well contours enclose the masks of their objects, `(b, m, h, w)`.

    - `iou`: intersection over union, the mean over the objects of an image, of the result and of the start, if the
      truth is masks;
    - `iterations`, `converged`: means over the contours of an image; a collapsed one has not converged.
    """
    size = (*batch["inputs"]["image"].shape[-2:],)
    columns = {
        f"{part}/iou": iou(fill(points, size), batch["truth"])
        for part, points in {"start": batch["inputs"]["points"], "result": output.value}.items()
        if batch["truth"].dtype == torch.bool
    }
    for field in ("iterations", "converged"):
        columns[f"result/{field}"] = getattr(output, field).float().reshape(len(output.value), -1).mean(1)
    return columns


def followed(output: Solution, batch: Batch) -> dict[str, Tensor]:
    """How well contours follow their objects through films `(b, c, t, h, w)`, whose masks are `(b, t, h, w)`.

    - `iou`: intersection over union, the mean and the least over the frames;
    - `iterations`, `converged`: means over the frames.
    """
    size = (*batch["truth"].shape[-2:],)
    masks = fill(output.value.flatten(0, 1), size).unflatten(0, output.value.shape[:2])
    scores = iou(masks.flatten(0, 1), batch["truth"].flatten(0, 1)[:, None]).unflatten(0, masks.shape[:2])
    columns = {"result/iou": scores.mean(1), "result/least iou": scores.amin(1)}
    for field in ("iterations", "converged"):
        columns[f"result/{field}"] = getattr(output, field).float().flatten(1).mean(1)
    return columns


def iou(mask: Bool[Tensor, "b m h w"], truth: Bool[Tensor, "b m h w"]) -> Float[Tensor, "b"]:
    """Intersection over union of masks, from 0 to 1: the mean over the objects `m` of an image; 1 if both are empty.

    >>> iou(torch.tensor([[[[True, True, False]]]]), torch.tensor([[[[False, True, True]]]]))
    tensor([0.3333])
    """
    return each_iou(mask, truth).mean(1)


def each_iou(mask: Bool[Tensor, "b m h w"], truth: Bool[Tensor, "b m h w"]) -> Float[Tensor, "b m"]:
    """As `iou`, of each object."""
    both, either = (mask & truth).sum((2, 3)), (mask | truth).sum((2, 3))
    return torch.where(either > 0, both / either, 1)


def hausdorff(points: Float[Tensor, "b n 2"], truth: Float[Tensor, "b k 2"]) -> Float[Tensor, "b"]:
    """Greatest distance in pixels from a point of one closed contour to the other contour, edges included.

    Source: Huttenlocher, Klanderman & Rucklidge, IEEE TPAMI 15(9), 1993, doi:10.1109/34.232073.

    >>> square = torch.tensor([[[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]])
    >>> hausdorff(square + torch.tensor([3.0, 0.0]), square)
    tensor([3.])
    """
    return torch.maximum(distance(points, truth).amax(1), distance(truth, points).amax(1))


# panels


def contours(output: Solution, batch: Batch, *, op: Callable[..., Solution]) -> list[Panel]:
    """Start and end of the contours over the image, the true outlines if known, and an animation of the iterations.

    Args:
        op: run again to record the iterates.
    """
    inputs, image = batch["inputs"], batch["inputs"]["image"][0]
    figure, axes = image_figure(image)
    known = "truth" in batch and batch["truth"].dtype == torch.bool
    if known:
        for mask in batch["truth"][0].float().cpu().numpy():
            axes.contour(mask, levels=[0.5], colors="tab:green", linewidths=1)
    _draw(axes, inputs["points"][0], color="white", linewidth=1, linestyle="--")
    _draw(axes, output.value[0], **_END)
    history: list[Tensor] = []
    op(**inputs, history=history)
    caption = "start (dashed), end (cyan) and truth (green)" if known else "start (dashed) and end"
    return [
        Panel(caption, plot(figure)),
        Panel("the way there", animation(image, [points[0] for points in history])),
    ]


def film(output: Solution, batch: Batch, *, op: Callable[..., Solution] | None = None) -> list[Panel]:
    """The contours of a film over its frames, and where the object went."""
    frames, contours = batch["inputs"]["frames"][0], output.value[0]
    figure, axes = image_figure(frames[:, -1])
    for points in contours:
        _draw(axes, points, color="white", linewidth=0.6)
    _draw(axes, contours[-1], **_END)
    return [
        Panel("the film, with the contours", animation(list(frames.unbind(1)), list(contours), milliseconds=160)),
        Panel("the last frame, and the contours of all", plot(figure)),
    ]


def animation(
    image: Float[Tensor, "c h w"] | Sequence[Tensor], history: Sequence[Tensor], *, milliseconds: int = 80
) -> str:
    """Contours over the image, or each over its own, at most 40 of them, as the data URL of an animation."""
    chosen = np.unique(np.linspace(0, len(history) - 1, min(_FRAMES, len(history))).round().astype(int))
    frames = []
    for i in chosen:
        figure, axes = image_figure(image if isinstance(image, Tensor) else image[i])
        _draw(axes, history[i], **_END)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=70)
        frames.append(Image.open(file).convert("RGB"))
    file = io.BytesIO()
    durations = [milliseconds] * (len(frames) - 1) + [1500]
    frames[0].save(file, "webp", save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=75)
    return url("image/webp", file)


def _draw(axes: Axes, points: Tensor, **style: Any) -> None:
    """Closed contours `(n, 2)` or `(m, n, 2)`."""
    for contour in points.detach().float().cpu().reshape(-1, *points.shape[-2:]).numpy():
        axes.plot(*np.concatenate((contour, contour[:1])).T, **style)


# writer


def write_contours(path: Path, output: Solution, batch: Batch) -> Path:
    """In the folder `path`: `contour.csv`, one line (x, y) in pixels per point, and `mask.png`, white inside.

    Returns:
        The folder.
    """
    mask = fill(output.value, (*batch["inputs"]["image"].shape[-2:],)).any(1)
    with whole(path) as folder:
        write_picture(folder / "mask.png", Picture(mask.float()))
        points = output.value[0].reshape(-1, 2).cpu().numpy()
        np.savetxt(folder / "contour.csv", points, fmt="%.3f", delimiter=",", header="x,y", comments="")
    return path
