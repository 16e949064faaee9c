"""The systems of `tavtorch.lab.benchmark`: on what each is scored, what a function may give, and its peers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from tavtorch.audio.recognition.match import Match
from tavtorch.image.splitting.split import Split
from tavtorch.lab import peers
from tavtorch.lab.data.batches import Batch
from tavtorch.lab.kinds.contours import contours
from tavtorch.lab.kinds.pictures import restored
from tavtorch.lab.kinds.solutions import value_of
from tavtorch.solve import Solution


class System(NamedTuple):
    """How a system is scored."""

    task: Sequence[str]
    """Words of `evaluate.py`: which task, on which data, small enough for a minute."""
    measures: Mapping[str, str]
    """Names in the table, of columns of the task's score."""
    form: Callable[[Any, Batch], Any]
    """A stranger's output as the score of the task takes it; a `ValueError` where it is of another shape."""
    peers: Mapping[str, Callable[..., Any]] = {}
    show: Callable[[Any, Batch], Any] | None = None
    """Panels of an output; None takes those of the task."""


# what a stranger's function may give


def _picture(output: Any, batch: Batch) -> Tensor | Solution:
    return _of_shape(output, batch["truth"], "a picture")


def _stems(output: Any, batch: Batch) -> Tensor:
    stems: Tensor = _of_shape(output, batch["truth"], "stems")
    return stems


def _contour(output: Any, batch: Batch) -> Solution:
    points = value_of(_of_shape(output, batch["inputs"]["points"], "points"))
    if isinstance(output, Solution):
        return output
    of_each = points.new_zeros(points.shape[:-2])
    return Solution(points, of_each.long(), of_each, of_each == 0)


def _split(output: Any, batch: Batch) -> Split:
    image = batch["inputs"]["image"]
    if isinstance(output, Tensor):
        output = (output, image - output)
    for part in output[:2]:
        _of_shape(part, image, "a part")
    return output if isinstance(output, Split) else Split(*output)


def _names(output: Any, batch: Batch) -> list[list[Match]]:
    count = len(batch["inputs"]["wave"])
    if not isinstance(output, list) or len(output) != count:
        raise ValueError(f"op: expected a list of {count} names of songs, or None where it is none, got {output!r}.")
    return [
        one if isinstance(one, list) else [Match(one, float("nan"), 0, 0.0, True)] if one is not None else []
        for one in output
    ]


def _of_shape(output: Any, like: Tensor, what: str) -> Any:
    value = value_of(output)
    if not isinstance(value, Tensor) or value.shape != like.shape:
        came = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"op: expected {what} of shape {tuple(like.shape)}, a tensor or in a Solution, got {came}.")
    if not bool(value.isfinite().all()):
        raise ValueError(f"op: expected {what} of finite numbers; some are NaN or infinite.")
    return output


def _drawn(output: Solution, batch: Batch) -> Any:
    """Start and end of a contour."""

    def between(points: Tensor, history: list[Tensor], **_: Any) -> Solution:
        history += [points, output.value]
        return output

    return contours(output, batch, op=between)


SYSTEMS = {
    "rof": System(
        ["task=rof", "data=noisy", "data.size=192"],
        {"psnr": "result/psnr", "ssim": "result/ssim"},
        _picture,
        {"scikit-image": peers.chambolle},
        restored,
    ),
    "inpaint": System(
        ["task=inpaint_tv", "data=written", "data.size=160", "data.damage.height=16"],
        {"psnr_in_hole": "result/psnr_in_hole", "ssim": "result/ssim"},
        _picture,
        {"OpenCV": peers.telea},
        restored,
    ),
    "patches": System(
        [
            *("task=inpaint_patches", "data=person", "data.size=128", "data.names=[brick,grass,gravel,chelsea]"),
            "data.damage.outline=[[40,40],[92,44],[86,88],[44,92]]",
        ],
        {"psnr_in_hole": "result/psnr_in_hole", "ssim": "result/ssim"},
        lambda output, batch: _picture(value_of(output), batch),
        {"PyPatchMatch": peers.patch_match, "scikit-image": peers.biharmonic},
        restored,
    ),
    "segment": System(
        ["task=segment", "data=shapes"], {"iou": "result/iou"}, _contour, {"scikit-image": peers.active_contour}, _drawn
    ),
    "split": System(
        ["task=split_hilbert", "data=decomposition"],
        {"psnr": "texture/psnr"},
        _split,
        {"scikit-image": peers.chambolle},
    ),
    "separate": System(
        [
            *("task=separate", "data=loud_drums", "data.dataset.songs.count=4", "~data.dataset.songs.louder"),
            "data.dataset.songs._target_=tavtorch.lab.data.generated.generated_songs",
        ],
        {"vocals_si_sdr_gain": "vocals/si_sdr_gain", "vocals_sdr": "vocals/sdr"},
        _stems,
        {"medians, ours": peers.two_medians},
    ),
    "recognise": System(
        ["task=recognise", "data=music", "data.generated=16", "data.unknown=6", "data.clips=8"],
        {"recall": "*/recall", "unknown accepted": "*/unknown accepted"},
        _names,
    ),
    "hpss": System(
        ["task=hpss", "data=loud_drums", "data.dataset.songs.count=4", "data.dataset.songs.seconds=8.0"],
        {"drums_si_sdr": "drums/si_sdr", "rest_si_sdr": "rest/si_sdr"},
        _stems,
        {"librosa": peers.median_filtering},
    ),
}
"""By the name that `benchmark` takes."""
