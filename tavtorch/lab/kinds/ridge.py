"""The learned regulariser: what it is trained with, and its filters, penalties and certificate on the page."""

import math

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from tavtorch.image.restoration.ridge import KNOTS, LEVELS, RidgeModel, ridge
from tavtorch.lab.data.batches import Batch
from tavtorch.lab.kinds.pictures import restored
from tavtorch.lab.panels import Panel, picture, plot
from tavtorch.solve import Solution, Stop

_SHOWN = 96  # pixels of the part of a picture that the certificate is checked on


def error(output: Solution, truth: Float[Tensor, "b c h w"]) -> Float[Tensor, "b"]:
    """Root mean square distance from the truth: strong noise counts more than weak, but not as much as in a square."""
    return ((output.value - truth).square().mean((1, 2, 3)) + 1e-8).sqrt()


# panels


def learned(output: Solution, batch: Batch, *, model: RidgeModel) -> list[Panel]:
    """Input, result, truth and their differences, and what made the result: filters, penalties and certificate."""
    return [
        *restored(output, batch),
        Panel(f"the {len(model.filters())} filters, each to its own contrast", picture(tiles(model.filters()))),
        penalties(model),
        certificate(model, batch),
    ]


def tiles(filters: Float[Tensor, "e 1 k k"], enlarged: int = 6) -> Float[Tensor, "1 h w"]:
    """Filters side by side around mid-grey."""
    filters = filters.detach().float().cpu()
    shown = 0.5 + 0.5 * filters / filters.abs().amax((1, 2, 3), keepdim=True)
    shown = shown.repeat_interleave(enlarged, -1).repeat_interleave(enlarged, -2)
    shown = torch.nn.functional.pad(shown, (2, 2, 2, 2), value=1.0)
    across = math.ceil(len(shown) ** 0.5 * 1.3)
    rows = [torch.cat(tuple(row), -1) for row in shown.split(across)]
    return torch.cat(
        [torch.nn.functional.pad(row, (0, rows[0].shape[-1] - row.shape[-1]), value=1.0) for row in rows], -2
    )


def penalties(model: RidgeModel) -> Panel:
    """The slope of each filter's penalty for three levels of noise; none falls faster than -ρ."""
    with matplotlib.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(6, 2.6), layout="constrained")
        axes = figure.subplots(1, 3, sharey=True)
    knots = np.array([0.0, *KNOTS, 1.3 * KNOTS[-1]])
    curvatures = torch.nn.functional.pad(model.curvatures().detach().double().cpu(), (0, 1)).numpy()
    for plane, level in zip(axes, (1, 2, 4), strict=True):
        slopes = np.concatenate((np.zeros((curvatures.shape[1], 1)), (curvatures[level] * np.diff(knots)).cumsum(1)), 1)
        plane.plot(knots, slopes.T, linewidth=0.8, alpha=0.6)
        plane.set(title=f"σ = {255 * LEVELS[level]:.0f} of 255", xlabel="answer of the filter", xlim=(0, None))
        plane.grid(alpha=0.3)
    axes[0].set_ylabel("slope of the penalty")
    return Panel("the slopes of the penalties, scaled for each filter", plot(figure))


def certificate(model: RidgeModel, batch: Batch, counts: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)) -> Panel:
    """The certified distance to the minimiser over the steps, and the true one, on the middle of the picture."""
    image = batch["inputs"]["image"][:1]
    top, left = (max(0, (n - _SHOWN) // 2) for n in image.shape[-2:])
    here = (..., slice(top, top + _SHOWN), slice(left, left + _SHOWN))
    sigma = batch["inputs"].get("sigma")
    if isinstance(sigma, Tensor) and sigma.dim() > 0:
        sigma = sigma[:1] if sigma.dim() == 1 else sigma[:1][here]
    with torch.no_grad():
        best = ridge(image[here].double(), sigma, model=model, stop=Stop(1e-7, 2000, 20)).value
        ends = [ridge(image[here], sigma, model=model, stop=Stop(0.0, k, k)) for k in counts]
    away = [float((end.value - best).square().mean().sqrt()) for end in ends]
    with matplotlib.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(4, 3.6), layout="constrained")
        axes = figure.add_subplot(xlabel="iterations", ylabel="grey levels of 255")
    axes.loglog(counts, [255 * float(end.gap[0]) for end in ends], marker=".", label="certified distance")
    axes.loglog(counts, [255 * distance for distance in away], marker=".", label="true distance to the minimiser")
    axes.axhline(0.5, color="tab:gray", linewidth=0.8)
    axes.grid(which="major", alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    return Panel("how far the minimiser is, on the middle of the picture", plot(figure))
