"""Predictions to files, each written completely or not at all, with a summary at the end."""

import errno
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from tavtorch.atomic import remove_parts
from tavtorch.audio.recognition.library import Library
from tavtorch.lab.data.batches import Batch, select
from tavtorch.lab.data.results import Results
from tavtorch.lab.task import Task
from tavtorch.processes import cores, from_all_processes

log = logging.getLogger(__name__)
_MOST = 2**29  # bytes of the results that wait to be written


class _Waiting(NamedTuple):
    """A result on its way to its file."""

    name: str
    seconds: float
    """Of sound."""
    size: int
    """Bytes."""
    written: Future[None]


class Write(L.Callback):
    """Writes the results of `run=predict` and says at the end how many there are, how many failed, and how fast it was.

    The task's `save` writes a result. A `ValueError` of it belongs to the item, such as a song without peaks. Encoding
    takes longer than many an op: other threads do it while the op has the next batch. What is still computed as it is
    written, such as stems in blocks, and what goes into a library, is written where the op is.

    Args:
        folder: where the results are written, each under its item's name.
        settings: what decides them beside the files, see `Results`.
        threads: that write; None is one for each core, at most 8.
    """

    def __init__(self, folder: str, *, settings: str = "", threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"callbacks.write.threads: expected at least 1, got {threads}; 1 writes beside the op.")
        self.folder, self.settings = Path(folder), settings
        self.threads = threads or min(8, cores())
        self.written, self.seconds = 0, 0.0
        self.writers: ThreadPoolExecutor | None = None

    def on_predict_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        assert isinstance(task, Task)
        if task.save is None:
            raise ValueError("task.save: this task cannot write results; name a writer of tavtorch.lab.kinds.")
        self.written, self.seconds, self.begun = 0, 0.0, time.monotonic()
        self.results = Results(self.folder, self.settings)
        self.writers, self.waiting = ThreadPoolExecutor(self.threads, "write"), deque[_Waiting]()
        if trainer.is_global_zero:
            remove_parts(self.folder)

    def on_predict_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, output: Any, batch: Batch, *_: int
    ) -> None:
        assert isinstance(task, Task) and task.save is not None and self.writers
        if not task.keeps_results:
            return
        beside = not callable(output) and _library(task.save) is None
        if beside:
            output, batch = tree_map(_on_cpu, (output, batch))
        for i, name in enumerate(batch.get("name", ())):
            one, result = select(batch, i), select(output, i)
            write = partial(self._write, task.save, name, result, one, converged=name not in task.not_converged)
            size = sum(leaf.nbytes for leaf in tree_leaves((result, one)) if isinstance(leaf, Tensor))
            self._finish(task, _MOST - size)
            written = self.writers.submit(write) if beside else _done(write)
            self.waiting.append(_Waiting(name, _seconds(one["inputs"]), size, written))

    def _write(
        self, save: Callable[..., Path | None], name: str, output: Any, batch: Batch, *, converged: bool
    ) -> None:
        """One result, and that it is done."""
        with torch.inference_mode():  # of this thread
            place = save(self.folder / name, output, batch)
        if place and "sources" in batch:
            self.results.add(name, batch["sources"][0], place, converged=converged)

    def _finish(self, task: Task, most: int = -1) -> None:
        """Account for the results that are written, in their order, and wait until the others take `most` bytes."""
        while self.waiting and (self.waiting[0].written.done() or sum(one.size for one in self.waiting) > most):
            name, seconds, _, written = self.waiting.popleft()
            try:
                written.result()
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
                self.seconds += seconds

    def on_predict_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Before the task brings together what all processes say of their items."""
        assert isinstance(task, Task) and self.writers
        self._finish(task)
        self.writers.shutdown()

    def on_exception(self, trainer: L.Trainer, task: L.LightningModule, exception: BaseException) -> None:
        """What is being written becomes whole; what waits for it is left to the next run."""
        if self.writers:
            self.writers.shutdown(cancel_futures=True)

    def on_predict_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        assert isinstance(task, Task)
        written, seconds = (sum(from_all_processes(mine)) for mine in (self.written, self.seconds))
        if trainer.is_global_zero:
            library = _library(task.save)
            place = self.folder.resolve() if self.folder.exists() else library.place if library is not None else None
            elapsed = time.monotonic() - self.begun
            pace = f"{seconds / elapsed:.1f} × real time" if seconds else f"{written / elapsed:.1f} a second"
            to = f" to {place}" if place else ""
            log.info("%d written%s, %d passed over; %s.", written, to, len(task.errors), pace)
            if task.not_converged:
                names = ", ".join(task.not_converged)
                log.info("not converged: %d of %d: %s", len(task.not_converged), written, names)


def _library(save: Any) -> Library | None:
    """The library of a writer of songs."""
    return save.keywords.get("library") if isinstance(save, partial) else None


def _done(work: Callable[[], None]) -> Future[None]:
    """What has been done at once."""
    future = Future[None]()
    try:
        work()
        future.set_result(None)
    except Exception as error:
        future.set_exception(error)
    return future


def _on_cpu(leaf: Any) -> Any:
    return leaf.cpu() if isinstance(leaf, Tensor) else leaf


def _seconds(inputs: dict[str, Any]) -> float:
    """The length of a recording; 0 for a picture."""
    if "blocks" in inputs:
        return inputs["blocks"].frames / inputs["sample_rate"]
    frames = inputs["wave"].shape[-1] if "wave" in inputs else inputs.get("length", 0)
    return frames / inputs.get("sample_rate", 1)
