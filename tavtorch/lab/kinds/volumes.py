"""Volume → volume: `(b, c, d, h, w)` to the same, or a `Solution` of it; scored and shown as the pictures in it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from tavtorch.lab.data.batches import Batch
from tavtorch.lab.kinds.pictures import convergence_panels, psnr, restored, ssim
from tavtorch.lab.kinds.solutions import convergence_scores, value_of
from tavtorch.lab.panels import Panel, picture
from tavtorch.solve import Solution

# score


def restoration(output: Tensor | Solution, batch: Batch) -> dict[str, Tensor]:
    """`psnr` and `ssim` of each frame, as of pictures, in the mean of a film; `iterations`, `gap` and `converged`."""
    truth = batch["truth"]
    columns: dict[str, Tensor] = {}
    for part, volume in {"input": batch["inputs"]["image"], "result": value_of(output)}.items():
        for name, score in {"psnr": psnr, "ssim": ssim}.items():
            each = score(_frames(volume).clamp(0, 1), _frames(truth))
            columns[f"{part}/{name}"] = each.reshape(len(truth), -1).mean(1)
    return columns | convergence_scores(output, "result")


def _frames(volume: Tensor) -> Tensor:
    return volume.transpose(1, 2).flatten(0, 1)


# panels


def middle(output: Tensor | Solution, batch: Batch, *, op: Callable[..., Any] | None = None) -> list[Panel]:
    """The panels of the middle picture, and the middle row over the depth, or over time; `op` as in `restored`."""
    volumes: dict[str, Any] = {
        "input": batch["inputs"]["image"],
        "result": value_of(output),
        "truth": batch["truth"],
    }
    d, h = volumes["truth"].shape[2:4]
    frame = {name: volume[:, :, d // 2] for name, volume in volumes.items()}
    panels = restored(frame["result"], Batch(errors={}, inputs={"image": frame["input"]}, truth=frame["truth"]))
    rows = {name: volume[0, :, :, h // 2].repeat_interleave(4, 1) for name, volume in volumes.items()}
    captions = {name: f"{name}: the middle row in every picture, from the first above to the last" for name in rows}
    return [
        *panels,
        *(
            Panel(captions[name], picture(row), before=captions["input"] if name == "result" else None)
            for name, row in rows.items()
        ),
        *convergence_panels(op, batch["inputs"], output),
    ]
