"""`tavtorch.lab.benchmark`: a stranger's function beside ours and a classic peer, on generated truth."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

import tavtorch
from tavtorch.audio.recognition.match import Match
from tavtorch.image.splitting.split import Split
from tavtorch.lab import peers
from tavtorch.lab.data.batches import Batch, collate
from tavtorch.lab.kinds.contours import contours
from tavtorch.lab.kinds.pictures import restored
from tavtorch.lab.kinds.solutions import value_of
from tavtorch.lab.page import Section
from tavtorch.lab.panels import Panel
from tavtorch.lab.report import as_text
from tavtorch.lab.run import CONFIGS
from tavtorch.lab.task import Row, averages
from tavtorch.solve import Solution

_SHOWN = 2  # items whose panels are on the page
_TIME = "seconds an item"


class Comparison(NamedTuple):
    """What `benchmark` found; it prints as a table."""

    system: str
    table: dict[str, dict[str, float]]
    """Averages over the items, by measure and function: `table["psnr"]["yours"]`."""
    average: str
    page: Path
    """The page of it, with every item and its pictures or players."""
    notes: Sequence[str] = ()
    """Items at which a peer failed, and why; they do not count for it."""

    def __str__(self) -> str:
        return "\n".join([as_text(self.table, f"{self.system}, {self.average}"), *self.notes, str(self.page)])


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


def compare(
    op: Callable[..., Any], system: str, *, folder: str | Path = "runs/benchmark", seed: int = 1, peer: bool = True
) -> Comparison:
    """See `tavtorch.lab.benchmark`."""
    if system not in SYSTEMS:
        raise ValueError(f"system: expected one of {', '.join(SYSTEMS)}, got {system!r}.")
    how, config = SYSTEMS[system], _config(SYSTEMS[system].task, seed)
    data, score = instantiate(config.data, _convert_="all"), instantiate(config.task.score, _convert_="all")
    data.setup("test")
    ours = tavtorch.separate if system == "separate" else instantiate(config.task.op, _convert_="all")
    rivals = {name: other for name, other in how.peers.items() if peers.installed(other)} if peer else {}
    show = how.show or instantiate(config.task.show, _convert_="all")

    rows, exhibits, notes = list[Row](), list[tuple[str, list[Panel]]](), list[str]()
    for i in range(len(data.test)):
        batch = collate([data.test[i]])
        inputs, row = list(batch["inputs"].values()), Row(name=batch["name"][0])
        songs = (data.test.known,) if system == "recognise" else ()
        calls = {"yours": partial(op, *inputs, *songs), "tavtorch": partial(ours, **batch["inputs"])}
        calls |= {name: partial(other, *inputs) for name, other in rivals.items()}
        for name, call in calls.items():
            begun = time.perf_counter()
            try:
                with torch.no_grad():
                    output = how.form(call(), batch)
            except Exception as error:
                if name not in rivals:
                    raise
                notes.append(f"{name} fails on {row['name']}: {error}")
                continue
            row[f"{name}/{_TIME}"] = time.perf_counter() - begun
            scores = {column: float(values[0]) for column, values in score(output, batch).items()}
            row |= {f"{name}/{measure}": scores[column] for measure, column in _columns(how, scores).items()}
            if name == "yours" and len(exhibits) < _SHOWN:
                exhibits.append((batch["name"][0], show(output, batch)))
        rows.append(row)

    average = instantiate(config.task.average) if "average" in config.task else np.median
    table: dict[str, dict[str, float]] = {}
    for column, value in averages(rows, average).items():
        name, _, measure = column.partition("/")
        table.setdefault(measure, {})[name] = value
    seconds = averages(rows, np.median)  # the first item may have been compiled for
    table[_TIME] = {name: seconds[f"{name}/{_TIME}"] for name in table.pop(_TIME)}  # last
    section = Section(
        name=system,
        title=f"{config.section.title}: yours, and others",
        about=config.section.about,
        energy=config.section.energy,
        command=f'tavtorch.lab.benchmark(op, "{system}", seed={seed})',
        average=average.__name__,
        table=table,
        rows=rows,
        exhibits=exhibits,
        notes=notes,
    )
    section.write(Path(folder, system))
    return Comparison(system, table, average.__name__, Path(folder, system, "report.html"), notes)


def _config(task: Sequence[str], seed: int) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("evaluate", [*task, f"seed={seed}", "name=benchmark", "out=runs/benchmark"])


def _columns(how: System, scores: Mapping[str, float]) -> dict[str, str]:
    """The columns of a score that the table has; `*` stands for any beginning, as of the noises."""
    columns = dict[str, str]()
    for measure, column in how.measures.items():
        if column.startswith("*/"):
            columns |= {f"{one[: -len(column) + 1]} {measure}": one for one in scores if one.endswith(column[1:])}
        else:
            columns[measure] = column
    return columns


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
