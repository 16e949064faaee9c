"""Predictions to files, each written completely or not at all, with a summary at the end."""

import errno
import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L

from tavtorch.atomic import remove_parts
from tavtorch.lab.data.batches import Batch, select
from tavtorch.lab.data.results import Results
from tavtorch.lab.task import Task
from tavtorch.processes import from_all_processes

log = logging.getLogger(__name__)


class Write(L.Callback):
    """Writes the results of `run=predict` and says at the end how many there are, how many failed, and how fast it was.

    The task's `save` writes a result. A `ValueError` of it belongs to the item, such as a song without peaks.

    Args:
        folder: where the results are written, each under its item's name.
        settings: what decides them beside the files, see `Results`.
    """

    def __init__(self, folder: str, *, settings: str = "") -> None:
        self.folder, self.settings = Path(folder), settings
        self.written, self.seconds = 0, 0.0

    def on_predict_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        assert isinstance(task, Task)
        if task.save is None:
            raise ValueError("task.save: this task cannot write results; name a writer of tavtorch.lab.kinds.")
        self.written, self.seconds, self.begun = 0, 0.0, time.monotonic()
        self.results = Results(self.folder, self.settings)
        if trainer.is_global_zero:
            remove_parts(self.folder)

    def on_predict_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, output: Any, batch: Batch, *_: int
    ) -> None:
        assert isinstance(task, Task) and task.save is not None
        if not task.keeps_results:
            return
        for i, name in enumerate(batch.get("name", ())):
            one = select(batch, i)
            try:
                place = task.save(self.folder / name, select(output, i), one)
                if place and "sources" in one:
                    converged = name not in task.not_converged
                    self.results.add(name, one["sources"][0], place, converged=converged)
            except ValueError as error:
                task.errors[name] = f"{name}: {error}"
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise ValueError(
                        f"{self.folder / name}: cannot be written ({error}). What was written is complete; make room "
                        "or choose another folder with hydra.run.dir=..., and run again to do the rest."
                    ) from error
                task.errors[name] = f"{name}: its result would have too long a name; rename the file."
            else:
                self.written += 1
                self.seconds += _seconds(one["inputs"])

    def on_predict_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        assert isinstance(task, Task)
        written, seconds = (sum(from_all_processes(mine)) for mine in (self.written, self.seconds))
        if trainer.is_global_zero:
            folder = f" to {self.folder.resolve()}" if self.folder.exists() else _library(task.save)
            elapsed = time.monotonic() - self.begun
            pace = f"{seconds / elapsed:.1f} × real time" if seconds else f"{written / elapsed:.1f} a second"
            log.info("%d written%s, %d passed over; %s.", written, folder, len(task.errors), pace)
            if task.not_converged:
                names = ", ".join(task.not_converged)
                log.info("not converged: %d of %d: %s", len(task.not_converged), written, names)


def _library(save: Any) -> str:
    """Where a writer of songs has its library."""
    library = save.keywords.get("library") if isinstance(save, partial) else None
    return f" to {library.place}" if library is not None else ""


def _seconds(inputs: dict[str, Any]) -> float:
    """The length of a recording; 0 for a picture."""
    if "blocks" in inputs:
        return inputs["blocks"].frames / inputs["sample_rate"]
    frames = inputs["wave"].shape[-1] if "wave" in inputs else inputs.get("length", 0)
    return frames / inputs.get("sample_rate", 1)
