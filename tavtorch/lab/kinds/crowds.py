"""Picture and a start for each object of a crowd → contours; what the network is trained with, and what it sees."""

import colorsys

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from tavtorch.image.contours.crowd import CrowdModel, probabilities
from tavtorch.image.contours.polygons import fill, many
from tavtorch.image.contours.region import enclosed
from tavtorch.lab.data.batches import Batch
from tavtorch.lab.kinds.contours import contours, each_iou, segmentation
from tavtorch.lab.panels import Panel, picture
from tavtorch.solve import Solution

_TURN = 0.618034  # of the circle of colours, from one object to the next: neighbours in the list differ


def error(
    output: Solution | tuple[Solution | None, Float[Tensor, "b m h w"]], truth: Bool[Tensor, "b m h w"]
) -> Float[Tensor, "b"]:
    """1 - the intersection over union of the contours and their objects, both exact, so that it can be differentiated.

    A contour that has collapsed shows no way out: it counts as 1, without a gradient. In training the network gives its
    probabilities too, and their cross entropy, over four times the object's area, shows the way; alone, where it gives
    no contours.
    """
    if isinstance(output, Solution):
        return _missed(output, truth.to(output.value.dtype)).mean(1)
    found, known = output
    mask = truth.to(known.dtype)
    entropy = F.binary_cross_entropy(known.clamp(0, 1), mask, reduction="none").sum((2, 3))
    lost = entropy / (4 * mask.sum((2, 3))).clamp(min=1)
    return (lost if found is None else lost + _missed(found, mask)).mean(1)


def _missed(found: Solution, mask: Float[Tensor, "b m h w"]) -> Float[Tensor, "b m"]:
    """1 - the intersection over union of each contour and its object."""
    points = many(found.value)
    parts = enclosed(mask.flatten(0, 1)[:, None], points.flatten(0, 1)[:, None])
    both, area = (part.reshape(mask.shape[:2]) for part in parts)
    missed = 1 - both / (area + mask.sum((2, 3)) - both).clamp(min=1)
    return torch.where(found.gap.reshape(missed.shape).isfinite(), missed, 1.0)


# score


def crowded(output: Solution, batch: Batch) -> dict[str, Tensor]:
    """As `segmentation`, and the least IoU of a picture's objects, and the share of its contours that collapsed."""
    mask = fill(output.value, (*batch["truth"].shape[-2:],))
    return segmentation(output, batch) | {
        "result/least iou": each_iou(mask, batch["truth"]).amin(1),
        "result/collapsed": output.gap.isinf().float().reshape(len(mask), -1).mean(1),
    }


# panels


def crowd(output: Solution, batch: Batch, *, model: CrowdModel) -> list[Panel]:
    """As `contours`, and what the network takes for each object, each in a colour of its own."""
    inputs = batch["inputs"]
    with torch.no_grad():
        known = probabilities(inputs["image"][:1], inputs["points"][:1], model)[0]
    hues = [colorsys.hsv_to_rgb(k * _TURN % 1, 0.75, 1.0) for k in range(len(known))]
    colors = torch.tensor(hues, dtype=known.dtype, device=known.device)
    seen = torch.einsum("mhw,mc->chw", known, colors) / known.sum(0).clamp(min=1)
    return [*contours(output, batch, op=model), Panel("what the network takes for each object", picture(seen))]
