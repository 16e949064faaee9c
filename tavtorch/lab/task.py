"""One LightningModule for every system: a network is trained, a function is scored, both predict."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from tavtorch.audio.recognition.library import Library
from tavtorch.lab.contract import as_tuples, check_inputs, check_settings, takes
from tavtorch.lab.data.batches import Batch, concatenate, item_generator, keep, process_of, select
from tavtorch.lab.kinds.solutions import solutions_in
from tavtorch.lab.panels import Panel
from tavtorch.processes import from_all_processes

log = logging.getLogger(__name__)

Row = dict[str, float | str]


class Task(L.LightningModule):
    """A system and everything that belongs to it; it runs `op(**batch["inputs"])`.

    The keys of `inputs` are the names of the op's parameters; what else is in a batch stands in `data.batches`. Each
    item is independent: one that could not be read, or that the op refuses with a `ValueError`, is kept in `errors`,
    and one whose `Solution` did not converge in `not_converged`. An op that takes a `generator` gets that of the item.

    Args:
        op: a function, which is scored and predicts, or a Module, which is also trained.
        inference: for a Module that is made for excerpts: applies it to an item of any length, as
            `inference(model=op, **inputs)`.
        in_blocks: does the same, with the settings of `inference`, for an item that comes in `blocks` and not as a
            whole: `in_blocks(model=op, **inputs)` gives the output in blocks. The output of a step then is a function
            that begins this when `save` calls it.
        loss: `loss(output, truth)`, one number per item, `(b,)`.
        score: `score(output, batch)`, a dictionary of such numbers; every item becomes a row of `rows`.
        show: `show(output, batch)`, the panels of an item on the page, for a batch of one; if it takes a `model` too,
            that is the op.
        save: `save(path, output, batch)` writes a result, for a batch of one, and returns the file or folder, or None
            if the result is elsewhere, as in a database; `path` has no suffix yet.
        average: of a score over the items that have it.
        optimizer, scheduler: made from the parameters, and from the optimizer; the scheduler is stepped once an epoch,
            with `val/loss` if it is a `ReduceLROnPlateau`.
        library: each process of a run holds its share of these songs: all take every item and look it up together, and
            the first one keeps what comes out.
        seed: of the random numbers of each training step, such as dropout, so that a run that was stopped goes on to
            the same result, and of each item's `generator`.
    """

    def __init__(
        self,
        op: Callable[..., Any],
        *,
        inference: Callable[..., Any] | None = None,
        in_blocks: Callable[..., Iterator[Any]] | None = None,
        loss: Callable[[Any, Any], Tensor] | None = None,
        score: Callable[[Any, Batch], dict[str, Tensor]] | None = None,
        show: Callable[..., list[Panel]] | None = None,
        save: Callable[[Path, Any, Batch], Path | None] | None = None,
        average: Callable[[Any], Any] = np.median,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
        scheduler: Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
        library: Library | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.op = as_tuples(op)
        for name, part in {"op": self.op, "score": score, "show": show, "save": save}.items():
            check_settings(part, f"task.{name}")
        if show is not None and isinstance(self.op, nn.Module) and takes(show, "model"):
            show = partial(show, model=self.op)
        settings = inference.keywords if isinstance(inference, partial) else {}
        self.in_blocks = partial(in_blocks, **settings) if in_blocks else None
        self.inference, self.loss, self.score, self.show, self.save = inference, loss, score, show, save
        self.average, self.optimizer, self.scheduler, self.seed = average, optimizer, scheduler, seed
        self.library = library
        self.rows: list[Row] = []
        self.errors: dict[str, str] = {}
        self.not_converged: list[str] = []
        self.made_by: dict[str, Any] = {}
        self.rates: LRScheduler | None = None
        self.rates_state: dict[str, Any] | None = None

    def forward(self, **inputs: Any) -> Any:
        """The op on items of any length."""
        if "blocks" in inputs and self.in_blocks:
            return partial(self._blockwise, **inputs)
        return self._op_of(inputs)(**inputs)

    def _op_of(self, inputs: Mapping[str, Any]) -> Callable[..., Any]:
        """The op as it is called with such inputs."""
        applied = self.in_blocks if "blocks" in inputs and self.in_blocks else self.inference
        return partial(applied, model=self.op) if applied else self.op

    def _blockwise(self, blocks: Iterable[Tensor], **inputs: Any) -> Iterator[Any]:
        """The output in blocks, each computed where and how the run computes."""
        inputs["blocks"] = (block.to(self.device) for block in blocks)
        parts, plugin = self._op_of(inputs)(**inputs), self._trainer and self._trainer.precision_plugin
        while True:
            with plugin.predict_step_context() if plugin else nullcontext(), torch.no_grad():
                part = next(parts, None)
            if part is None:
                return
            yield part

    def setup(self, stage: str) -> None:
        """Bring the share of the library into memory, so that its faults are told before the first item."""
        if self.library is not None:
            self.library.shard = process_of(self.trainer)
            self.library.refresh()

    @property
    def keeps_results(self) -> bool:
        """Whether what comes out of this process counts, and is not what the first one has too."""
        return self.library is None or self.trainer.is_global_zero

    # training

    def configure_optimizers(self) -> Any:
        if self.optimizer is None or not isinstance(self.op, nn.Module):
            raise ValueError("task: this op has nothing to train; use evaluate.py, or a task with a network.")
        optimizer = self.optimizer(self.parameters())
        # Stepped here and not by Lightning, which loses a step on `val/loss` when a run goes on from a checkpoint.
        self.rates = self.scheduler(optimizer) if self.scheduler else None
        if self.rates and self.rates_state:
            self.rates.load_state_dict(self.rates_state)
        return optimizer

    def on_fit_start(self) -> None:
        """Say once what is trained and where."""
        if self.trainer.is_global_zero:
            size = sum(parameter.numel() for parameter in self.parameters()) / 1e6
            devices = f"{self.trainer.world_size} × {self.device.type}"
            log.info("training %s, %.2f million parameters, on %s", type(self.op).__name__, size, devices)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the configuration of the op that the weights are for; see `run.checkpoint`."""
        checkpoint["made_by"] = self.made_by
        if "optimizer_states" in checkpoint:
            checkpoint["scheduler"] = self.rates.state_dict() if self.rates else None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Called before there is an optimizer: keep the state of its scheduler until then."""
        self.rates_state = checkpoint.get("scheduler", checkpoint.get("plateau"))  # the latter until 0.1

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        torch.manual_seed(self.seed + self.global_step * self.trainer.world_size + self.global_rank)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss = self._losses(batch).mean()
        size = len(batch["truth"])
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size, sync_dist=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
        if isinstance(self.rates, ReduceLROnPlateau):
            self.rates.step(self.trainer.callback_metrics["val/loss"])
        elif self.rates:
            self.rates.step()

    def on_validation_epoch_start(self) -> None:
        self.rows = []

    def validation_step(self, batch: Batch, index: int) -> None:
        self.rows += [{"loss": loss} for loss in self._losses(batch).tolist()]

    def on_validation_epoch_end(self) -> None:
        self._log_rows("val", np.mean)

    def _losses(self, batch: Batch) -> Tensor:
        if self.loss is None:
            raise ValueError("task.loss: this task has no loss to train with.")
        check_inputs(self.op, batch["inputs"])
        return self.loss(self.op(**batch["inputs"]), batch["truth"])

    # scores and predictions

    def on_test_epoch_start(self) -> None:
        self.rows, self.errors, self.not_converged = [], {}, []

    def test_step(self, batch: Batch, index: int) -> Any:
        if self.score is None:
            raise ValueError("task.score: this task has no score; use run=predict.")
        output = self._output(batch)
        if output is not None and self.keeps_results:
            scores = self.score(output, batch)
            table = torch.stack([column.detach().float() for column in scores.values()], -1).tolist()  # one wait
            self.rows += [
                {"name": name} | dict(zip(scores, row, strict=True))
                for name, row in zip(batch["name"], table, strict=False)
            ]
        return output

    def on_test_epoch_end(self) -> None:
        self._log_rows("test", self.average)
        self._share_accounts()

    def on_predict_epoch_start(self) -> None:
        self.errors, self.not_converged = {}, []

    def predict_step(self, batch: Batch, index: int) -> Any:
        return self._output(batch)

    def on_predict_epoch_end(self) -> None:
        self._share_accounts()

    def _output(self, batch: Batch) -> Any:
        """The output for a batch, without the items that fail, which also leave the batch; None if none is left."""
        self.errors |= batch["errors"]
        if self.library is not None:
            self._check_together(batch)
        if "inputs" not in batch:
            return None
        op = self._op_of(batch["inputs"])
        check_inputs(op, batch["inputs"])
        seeded = takes(op, "generator")
        if seeded or len(batch["name"]) == 1:
            output = self._one_by_one(batch, seeded)
        else:
            try:
                output = self(**batch["inputs"])
            except ValueError:  # of which item it does not say
                output = self._one_by_one(batch, seeded)
            except torch.OutOfMemoryError as error:
                self._check_alone(error)
                log.info("%d items at once do not fit into memory: one after the other.", len(batch["name"]))
                output = self._one_by_one(batch, seeded)
        names, failed = batch["name"], set()
        for solution in solutions_in(output):
            converged = solution.converged.reshape(len(names), -1).tolist()
            failed |= {name for name, parts in zip(names, converged, strict=True) if not all(parts)}
        self.not_converged += [name for name in names if name in failed]
        return output

    def _check_together(self, batch: Batch) -> None:
        """Raise an error in all processes unless they have the same items, which they look up together."""
        if len({tuple(names) for names in from_all_processes(batch.get("name", []))}) > 1:
            raise ValueError(
                "data: the processes of this run could not read the same files, which all of them look up together; "
                "bring the files to a place that all can read."
            )

    def _check_alone(self, error: torch.OutOfMemoryError) -> None:
        """Raise an error where other processes wait for what this one has no memory for, as they would for ever."""
        if self.library is not None and self.trainer.world_size > 1:
            raise ValueError(
                f"data.batch_size: so many clips at once, and the songs of this process, do not fit into the memory of "
                f"{self.device}; take fewer clips, or more processes."
            ) from error

    def _one_by_one(self, batch: Batch, seeded: bool) -> Any:
        """As `_output`, one item after the other, each with its own generator if `seeded`."""
        outputs, kept = [], []
        for i, name in enumerate(batch["name"]):
            inputs = select(batch["inputs"], i) | ({"generator": item_generator(self.seed, name)} if seeded else {})
            try:
                outputs.append(self(**inputs))
                kept.append(i)
            except ValueError as error:
                self.errors[name] = f"{name}: {error}"
            except torch.OutOfMemoryError as error:
                self._check_alone(error)
                self.errors[name] = (
                    f"{name}: does not fit into the memory of {self.device}; try it alone, smaller, or with "
                    "trainer.accelerator=cpu"
                )
        if len(kept) < len(batch["name"]):
            keep(batch, kept)
        return concatenate(outputs) if outputs else None

    def _share_accounts(self) -> None:
        """Bring together what all processes say of their items."""
        self.errors = {name: error for part in from_all_processes(self.errors) for name, error in part.items()}
        self.not_converged = sorted(name for part in from_all_processes(self.not_converged) for name in part)

    def _log_rows(self, stage: str, average: Callable[[Any], Any]) -> None:
        """Bring the rows of all processes together and log each column's average, the same on every process."""
        self.rows = [row for part in from_all_processes(self.rows) for row in part]
        for column, value in averages(self.rows, average).items():
            self.log(f"{stage}/{column}", value, prog_bar=stage == "val")


def averages(rows: Sequence[Row], average: Callable[[Any], Any]) -> dict[str, float]:
    """Each column's average over the rows that have a number there; NaN if none has."""
    table = {}
    for column in dict.fromkeys(column for row in rows for column in row):
        if column != "name":
            values = np.array([row.get(column, math.nan) for row in rows], dtype=float)
            known = values[np.isfinite(values)]
            table[column] = float(average(known)) if len(known) else math.nan
    return table
