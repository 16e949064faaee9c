"""Scores of pictures, their parts, contours and forces."""

from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from tavtorch.image.contours.polygons import distance, fill
from tavtorch.image.splitting.split import Split, correlation
from tavtorch.lab.metrics.runs import went
from tavtorch.solve import Solution


def restoration(output: Tensor | Solution, batch: dict[str, Any]) -> dict[str, Tensor]:
    """How near a picture comes to its truth in [0, 1], and how near what it was made from had been.

    - `psnr`: peak signal-to-noise ratio `-10 log10 |u - truth|² / n`, in dB, of values cut off at 0 and 1;
    - `ssim`: structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861), 1 is equal;
    - `psnr_in_hole`: PSNR over the missing pixels alone, where there is a hole;
    - `iterations`, `gap`, `converged`: what a `Solution` says of itself.
    """
    inputs, truth = batch["inputs"], batch["truth"]
    value, found = (output.value, output) if isinstance(output, Solution) else (output, None)
    columns: dict[str, Tensor] = {}
    for what, image in {"input": inputs["image"], "result": value}.items():
        image = image.clamp(0, 1)
        columns[f"{what}/psnr"] = _psnr(image, truth)
        columns[f"{what}/ssim"] = _ssim(image, truth)
        if "hole" in inputs:
            hole = inputs["hole"].expand_as(image)
            share = hole.flatten(1).double().mean(1)
            columns[f"{what}/psnr_in_hole"] = _psnr(torch.where(hole, image, truth), truth) + 10 * share.log10()
    return columns | went("result", found) if found else columns


def splitting(output: Split, batch: dict[str, Any]) -> dict[str, Tensor]:
    """How far structure and texture of a picture have been parted, and how near each comes to its truth.

    - `correlation`: of structure and texture, 0 where they have nothing to do with each other;
    - `psnr`: of the texture, means apart, where its truth is known, in dB of a picture in [0, 1]; the structure's
      would be the same;
    - `iterations`, `gap`, `converged`: where the split took iterations.
    """
    columns = {"structure/correlation": correlation(output.structure, output.texture)}
    if isinstance(truth := batch.get("truth"), dict):
        apart = output.texture - truth["texture"]
        columns["texture/psnr"] = _psnr(apart - apart.mean((-2, -1), keepdim=True), torch.zeros_like(apart))
    return columns | went("structure", output.solution) if output.solution else columns


def _ssim(image: Tensor, truth: Tensor) -> Tensor:
    return cast(Tensor, structural_similarity_index_measure(image, truth, reduction="none", data_range=1.0))


def _psnr(image: Tensor, truth: Tensor) -> Tensor:
    return peak_signal_noise_ratio(image, truth, data_range=1.0, dim=(1, 2, 3), reduction="none")


def segmentation(output: Solution, batch: dict[str, Any]) -> dict[str, Tensor]:
    """How well contours `(b, n, 2)` or `(b, m, n, 2)` meet the masks of their objects, `(b, m, h, w)`.

    - `iou`: intersection over union, the mean over the objects of an image, of the result and of the start; where the
      truth is masks;
    - `iterations`, `converged`: means over the contours; a collapsed one has not converged.
    """
    size = (*batch["inputs"]["image"].shape[-2:],)
    columns = {
        f"{what}/iou": iou(fill(points, size), batch["truth"])
        for what, points in {"start": batch["inputs"]["points"], "result": output.value}.items()
        if batch["truth"].dtype == torch.bool
    }
    for field in ("iterations", "converged"):
        columns[f"result/{field}"] = getattr(output, field).float().reshape(len(output.value), -1).mean(1)
    return columns


def force(output: Tensor | Solution, batch: dict[str, Any]) -> dict[str, Tensor]:
    """How far a force reaches: the share of the pixels where it is at least a thousandth of its greatest length."""
    value = output.value if isinstance(output, Solution) else output
    length = value.norm(dim=1).flatten(1)
    columns = {"force/reach": (length > 1e-3 * length.amax(1, keepdim=True)).float().mean(1)}
    return columns | went("force", output) if isinstance(output, Solution) else columns


def iou(mask: Bool[Tensor, "b m h w"], truth: Bool[Tensor, "b m h w"]) -> Float[Tensor, "b"]:
    """Intersection over union of masks, from 0 to 1: the mean over the objects `m` of an image; 1 if both are empty.

    >>> iou(torch.tensor([[[[True, True, False]]]]), torch.tensor([[[[False, True, True]]]]))
    tensor([0.3333])
    """
    both, either = (mask & truth).sum((2, 3)), (mask | truth).sum((2, 3))
    return torch.where(either > 0, both / either, 1).mean(1)


def hausdorff(points: Float[Tensor, "b n 2"], truth: Float[Tensor, "b k 2"]) -> Float[Tensor, "b"]:
    """Greatest distance in pixels from a point of one closed contour to the other contour, edges included.

    Source: Huttenlocher, Klanderman & Rucklidge, IEEE TPAMI 15(9), 1993, doi:10.1109/34.232073.

    >>> square = torch.tensor([[[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]])
    >>> hausdorff(square + torch.tensor([3.0, 0.0]), square)
    tensor([3.])
    """
    return torch.maximum(distance(points, truth).amax(1), distance(truth, points).amax(1))
