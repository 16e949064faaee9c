"""Picture → force field: `(b, 2, h, w)`, components (x, y), or a `Solution` of it."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from tavtorch.lab.data.batches import Batch
from tavtorch.lab.data.files import whole
from tavtorch.lab.kinds.solutions import convergence_scores, value_of
from tavtorch.lab.panels import Panel, image_figure, plot
from tavtorch.solve import Solution

_ARROWS = 40  # along the longer side

# score


def force(output: Tensor | Solution, batch: Batch) -> dict[str, Tensor]:
    """`reach`: the fraction of the pixels where the force is at least a thousandth of its greatest length."""
    length = value_of(output).norm(dim=1).flatten(1)
    reach = (length > 1e-3 * length.amax(1, keepdim=True)).float().mean(1)
    return {"force/reach": reach} | convergence_scores(output, "force")


# panels


def field(output: Tensor | Solution, batch: Batch) -> list[Panel]:
    """Directions of a force as arrows over the image, and its length in decades."""
    vectors = value_of(output)[0].detach().float().cpu()
    length = vectors.norm(dim=0)
    every = max(1, max(length.shape) // _ARROWS)
    there = length > 1e-6 * length.max()
    x, y = np.meshgrid(*(np.arange(0, n, every) for n in reversed(length.shape)))
    unit = (vectors / length.clamp(min=1e-30))[:, ::every, ::every] * there[::every, ::every]
    arrows, axes = image_figure(batch["inputs"]["image"][0])
    axes.quiver(x, y, *unit.numpy(), color="tab:orange", angles="xy", scale_units="xy", scale=1.2 / every, width=0.003)

    sizes = Figure(figsize=(5.4, max(1.0, 4.4 * length.shape[0] / length.shape[1])), layout="constrained")
    ground = sizes.add_subplot(xticks=[], yticks=[])
    decades = (length / length.max().clamp(min=1e-30)).clamp(min=1e-6).log10()
    sizes.colorbar(ground.imshow(decades.numpy(), vmin=-6, vmax=0, cmap="viridis"), label="length, decades of the most")
    return [Panel("direction of the force", plot(arrows)), Panel("length of the force", plot(sizes))]


# writer


def write_field(path: Path, output: Tensor | Solution, batch: Batch) -> Path:
    """The field `(2, h, w)` as `<path>.npy`, which is returned."""
    path = path.with_name(f"{path.name}.npy")
    with whole(path) as part, part.open("wb") as file:
        np.save(file, value_of(output)[0].cpu().numpy())
    return path
