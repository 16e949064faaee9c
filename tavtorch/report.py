"""One HTML page a run: scores, learning curves, items to look at and listen to. It opens from disk, without network."""

import logging
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import lightning as L
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tavtorch.data.batches import Batch, alone
from tavtorch.data.files import whole
from tavtorch.panels import Panel, plot
from tavtorch.task import Row, Task, averages

log = logging.getLogger(__name__)


class Report(L.Callback):
    """Writes the page when a test ends.

    Args:
        path: of the page.
        title: its heading.
        show: `show(output, batch)` gives the panels of an item, which comes as a batch of one.
        items: how many of the first items are shown.
    """

    def __init__(self, path: str, *, title: str, show: Callable[[Any, Batch], list[Panel]], items: int = 3) -> None:
        self.path, self.title, self.show, self.items = Path(path), title, show, items
        self.history: list[dict[str, float]] = []
        self.exhibits: list[tuple[str, list[Panel]]] = []

    def state_dict(self) -> dict[str, Any]:
        """The learning curves travel in the checkpoint, so that a run that goes on shows them from its start."""
        return {"history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = state["history"]

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.history.append({"epoch": trainer.current_epoch + 1, "learning rate": rate, **metrics})

    def on_test_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.exhibits = []

    def on_test_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, output: Any, batch: Batch, *_: int
    ) -> None:
        for i, name in enumerate(batch.get("name", ())):
            if trainer.is_global_zero and len(self.exhibits) < self.items:
                self.exhibits.append((name, self.show(alone(output, i), alone(batch, i))))

    def on_test_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        assert isinstance(task, Task)
        if trainer.is_global_zero:
            table, average = summary(task.rows, task.average), task.average.__name__
            page = render(self.title, table, average, task.rows, task.errors, self.history, self.exhibits)
            with whole(self.path) as part:
                part.write_text(page, encoding="utf-8")
            log.info("\n%s\n\nreport: %s", as_text(table, average), self.path)


def render(
    title: str,
    table: dict[str, dict[str, float]],
    average: str,
    rows: Sequence[Row],
    errors: dict[str, str],
    history: Sequence[dict[str, float]] = (),
    exhibits: Sequence[tuple[str, list[Panel]]] = (),
) -> str:
    """The page as one self-contained HTML text."""
    loader = jinja2.PackageLoader("tavtorch", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"label": label, "number": number}
    return environment.get_template("report.html").render(
        title=title,
        table=table,
        average=average,
        whats=whats(table),
        rows=rows,
        columns=list(dict.fromkeys(column for row in rows for column in row if column != "name")),
        errors=errors,
        curves=curves(history) if len(history) > 1 else None,
        exhibits=exhibits,
    )


def summary(rows: Sequence[Row], average: Callable[[Any], Any] = np.median) -> dict[str, dict[str, float]]:
    """Averages over the items: `{"si_sdr": {"vocals": …}, …}` from columns named `vocals/si_sdr`."""
    table: dict[str, dict[str, float]] = {}
    for column, value in averages(rows, average).items():
        what, _, measure = column.rpartition("/")
        table.setdefault(measure, {})[what] = value
    return table


def whats(table: dict[str, dict[str, float]]) -> list[str]:
    """What the measures of a summary are of: its columns, each once."""
    return list(dict.fromkeys(what for values in table.values() for what in values))


def as_text(table: dict[str, dict[str, float]], average: str) -> str:
    """The averages for a terminal."""
    columns = whats(table)
    lines = [f"{average:24}" + "".join(f"{column:>16}" for column in columns)]
    for measure, values in table.items():
        cells = (number(values[column]) if column in values else "" for column in columns)
        lines.append(f"{label(measure):24}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


def label(measure: str) -> str:
    """How a measure is written for people, with its unit: `si_sdr_gain` is the SI-SDR gain in dB."""
    name = measure.replace("si_", "SI-").replace("_", " ")
    words = re.sub("sdr|isr|sir|sar|psnr|ssim|iou|hpss|nmf", lambda name: name[0].upper(), name)
    return words + ", dB" if re.search("SDR|ISR|SIR|SAR|PSNR", words) else words


def number(value: float) -> str:
    """As many digits as tell something."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def curves(history: Sequence[dict[str, float]]) -> str:
    """Losses and learning rate over the epochs, as a data URL."""
    with matplotlib.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9, 3), layout="constrained")
        left, right = figure.subplots(1, 2)
    epochs = [record["epoch"] for record in history]
    for name in ("train/loss", "val/loss"):
        left.plot(epochs, [record.get(name, np.nan) for record in history], marker=".", label=name)
    left.set(xlabel="epoch", ylabel="loss")
    left.xaxis.get_major_locator().set_params(integer=True)
    right.xaxis.get_major_locator().set_params(integer=True)
    left.legend(frameon=False)
    right.semilogy(epochs, [record["learning rate"] for record in history], marker=".", color="tab:green")
    right.set(xlabel="epoch", ylabel="learning rate")
    return plot(figure)
