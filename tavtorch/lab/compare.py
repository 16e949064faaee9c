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
from tavtorch.lab import peers
from tavtorch.lab.data.batches import Batch, collate
from tavtorch.lab.page import Section
from tavtorch.lab.panels import Panel
from tavtorch.lab.report import as_text
from tavtorch.lab.run import CONFIGS
from tavtorch.lab.scored_systems import SYSTEMS, System
from tavtorch.lab.task import Row, averages

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
    songs = (data.test.known,) if system == "recognise" else ()

    rows, exhibits, notes = list[Row](), list[tuple[str, list[Panel]]](), list[str]()
    for i in range(len(data.test)):
        batch = collate([data.test[i]])
        (name,), inputs = batch["name"], batch["inputs"]
        output, row = _scored(partial(op, *_copied(inputs), *songs), "yours", how, score, batch)
        row |= _scored(partial(ours, **inputs), "tavtorch", how, score, batch)[1]
        for other, call in rivals.items():
            try:
                row |= _scored(partial(call, *_copied(inputs)), other, how, score, batch)[1]
            except Exception as error:  # of somebody else's program
                notes.append(f"{other} fails on {name}: {error}")
        rows.append({"name": name, **row})
        if i < _SHOWN:
            exhibits.append((name, show(output, batch)))

    average = instantiate(config.task.average) if "average" in config.task else np.median
    section = Section(
        name=system,
        title=f"{config.section.title}: yours, and others",
        about=config.section.about,
        energy=config.section.energy,
        command=f'tavtorch.lab.benchmark(op, "{system}", seed={seed})',
        average=average.__name__,
        table=_table(rows, average),
        rows=rows,
        exhibits=exhibits,
        notes=notes,
    )
    section.write(Path(folder, system))
    return Comparison(system, section.table, section.average, Path(folder, system, "report.html"), notes)


def _scored(
    call: Callable[[], Any], name: str, how: System, score: Callable[[Any, Batch], dict[str, Tensor]], batch: Batch
) -> tuple[Any, Row]:
    """The output of a function for an item, and its scores and time."""
    begun = time.perf_counter()
    with torch.no_grad():
        output = how.form(call(), batch)
    row: Row = {f"{name}/{_TIME}": time.perf_counter() - begun}
    scores = {column: float(values[0]) for column, values in score(output, batch).items()}
    return output, row | {f"{name}/{measure}": scores[column] for measure, column in _columns(how, scores).items()}


def _table(rows: Sequence[Row], average: Callable[[Any], Any]) -> dict[str, dict[str, float]]:
    """By measure and function; of times the median, since a first item may have been compiled for."""
    table: dict[str, dict[str, float]] = {}
    for column, value in averages(rows, average).items():
        name, _, measure = column.partition("/")
        table.setdefault(measure, {})[name] = value
    seconds = averages(rows, np.median)
    return table | {_TIME: {name: seconds[f"{name}/{_TIME}"] for name in table.pop(_TIME)}}


def _copied(inputs: Mapping[str, Any]) -> list[Any]:
    """The arguments of a function that may edit them."""
    return [value.clone() if isinstance(value, Tensor) else value for value in inputs.values()]


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
