"""The scores of a test, as a page and as a few lines for the terminal."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tavtorch.lab.data.batches import Batch, select
from tavtorch.lab.page import Section, label, number, summary_columns
from tavtorch.lab.panels import Panel, plot
from tavtorch.lab.task import Row, Task, averages

log = logging.getLogger(__name__)


class Report(L.Callback):
    """Writes `report.html` when a test ends.

    Args:
        folder: of the page.
        section: what the page says of the run, see `Section`; scores and panels are added.
        items: number of items whose panels are shown, evenly spaced in the data; the task's `show` makes the panels.
    """

    def __init__(self, folder: str, *, section: dict[str, Any], items: int = 2) -> None:
        self.folder, self.section, self.items = Path(folder), section, items
        self.history: list[dict[str, float]] = []
        self.exhibits: list[tuple[str, list[Panel]]] = []
        self.notes: list[str] = []
        self.begun = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The learning curves are kept in the checkpoint, so that a resumed run shows them from its start."""
        return {"history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = state["history"]

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.history.append({"epoch": trainer.current_epoch + 1, "learning rate": rate, **metrics})

    def on_test_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.exhibits, self.notes = [], []

    def on_test_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, output: Any, batch: Batch, index: int, *_: int
    ) -> None:
        assert isinstance(task, Task)
        if task.show is None:
            return
        due = math.ceil(self.items * (index + 1) / sum(trainer.num_test_batches))
        for i, name in enumerate(batch.get("name", ())):
            if trainer.is_global_zero and len(self.exhibits) + len(self.notes) < due:
                try:
                    panels = task.show(select(output, i), select(batch, i))
                    self.exhibits += [(name, panels)] if panels else []
                except Exception as error:  # whatever it is: the scores are worth more than a picture
                    self.notes.append(f"{name}: cannot be shown ({error})")
                    log.warning(self.notes[-1])
                    log.debug("traceback", exc_info=True)

    def on_test_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        assert isinstance(task, Task)
        if trainer.is_global_zero:
            table, average = summary(task.rows, task.average), task.average.__name__
            log.info("\n%s\n", as_text(table, average))
            try:
                self._section(task, table, average).write(self.folder)
                log.info("report: %s", self.folder / "report.html")
            except Exception as error:  # a full disk, say: the scores are told, and a page ends no run
                log.error("%s: the page cannot be written (%s)", self.folder, error)
                log.debug("traceback", exc_info=True)

    def _section(self, task: Task, table: dict[str, dict[str, float]], average: str) -> Section:
        return Section(
            **self.section,
            seconds=time.monotonic() - self.begun,
            average=average,
            table=table,
            rows=task.rows,
            errors=task.errors,
            curves=curves(self.history) if len(self.history) > 1 else None,
            exhibits=self.exhibits,
            notes=self.notes,
        )


def summary(rows: Sequence[Row], average: Callable[[Any], Any] = np.median) -> dict[str, dict[str, float]]:
    """Averages over the items, by measure and part: `{"si_sdr": {"vocals": …}, …}` from columns `vocals/si_sdr`."""
    table: dict[str, dict[str, float]] = {}
    for column, value in averages(rows, average).items():
        part, _, measure = column.rpartition("/")
        table.setdefault(measure, {})[part] = value
    return table


def as_text(table: dict[str, dict[str, float]], average: str) -> str:
    """The averages for a terminal."""
    columns = summary_columns(table)
    lines = [f"{average:24}" + "".join(f"{column:>16}" for column in columns)]
    for measure, values in table.items():
        cells = (number(values[column], measure) if column in values else "" for column in columns)
        lines.append(f"{label(measure):24}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


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
