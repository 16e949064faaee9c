"""One LightningModule for every system: a network is trained, a function is scored, both predict."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tavtorch.lab.data.batches import Batch

log = logging.getLogger(__name__)

Row = dict[str, float | str]


class Task(L.LightningModule):
    """Runs `op(**batch["inputs"])`: the keys of `inputs` are the names of the op's parameters.

    What a batch is stands in `tavtorch.lab.data.batches`; items that could not be read are passed over, and kept in
    `errors`.

    Args:
        op: a function, which is scored and predicts, or a Module, which is trained too.
        whole: for a Module that is made for excerpts: what runs it on a whole item, as `whole(model=op, **inputs)`.
        loss: `loss(output, truth)`, one number an item, `(b,)`.
        score: `score(output, batch)`, a dictionary of such numbers; every item becomes a row of `rows`.
        average: of a score over the items that have it.
        optimizer, scheduler: from parameters, and from the optimizer; the scheduler looks at `val/loss` each epoch.
        seed: fixes what each step draws, such as dropout, so that a run that was stopped goes on as if it had not been.
    """

    def __init__(
        self,
        op: Callable[..., Any],
        *,
        whole: Callable[..., Any] | None = None,
        loss: Callable[[Any, Any], Tensor] | None = None,
        score: Callable[[Any, Batch], dict[str, Tensor]] | None = None,
        average: Callable[[Any], Any] = np.median,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.op, self.whole, self.loss, self.score, self.average = op, whole, loss, score, average
        self.optimizer, self.scheduler, self.seed = optimizer, scheduler, seed
        self.rows: list[Row] = []
        self.errors: dict[str, str] = {}
        self.made_by: dict[str, Any] = {}
        self.plateau: Any = None
        self.plateau_state: dict[str, Any] | None = None

    def forward(self, **inputs: Any) -> Any:
        """The op on whole items."""
        return self.whole(model=self.op, **inputs) if self.whole else self.op(**inputs)

    def configure_optimizers(self) -> Any:
        if self.optimizer is None or not isinstance(self.op, nn.Module):
            raise ValueError("task: this op has nothing to train; use evaluate.py, or a task with a network.")
        optimizer = self.optimizer(self.parameters())
        # Stepped here and not by Lightning, which forgets a step on `val/loss` when a run goes on from a checkpoint.
        self.plateau = self.scheduler(optimizer) if self.scheduler else None
        if self.plateau and self.plateau_state:
            self.plateau.load_state_dict(self.plateau_state)
        return optimizer

    def on_fit_start(self) -> None:
        """Say once what is trained and where."""
        if self.trainer.is_global_zero:
            size = sum(parameter.numel() for parameter in self.parameters()) / 1e6
            where = f"{self.trainer.world_size} × {self.device.type}"
            log.info("training %s, %.2f million parameters, on %s", type(self.op).__name__, size, where)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say which configuration of the op the weights are for; see `tavtorch.lab.run.checkpoint`."""
        checkpoint["made_by"] = self.made_by
        checkpoint["plateau"] = self.plateau.state_dict() if self.plateau else None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Before there is an optimizer: what its scheduler knew waits until then."""
        self.plateau_state = checkpoint["plateau"]

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        torch.manual_seed(self.seed + self.global_step * self.trainer.world_size + self.global_rank)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss = self._losses(batch).mean()
        self.log(
            "train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=_size(batch), sync_dist=True
        )
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
        if self.plateau:
            self.plateau.step(self.trainer.callback_metrics["val/loss"])

    def on_validation_epoch_start(self) -> None:
        self.rows = []

    def validation_step(self, batch: Batch, index: int) -> None:
        self.rows += [{"loss": loss} for loss in self._losses(batch).tolist()]

    def on_validation_epoch_end(self) -> None:
        self._log_rows("val", np.mean)

    def on_test_epoch_start(self) -> None:
        self.rows, self.errors = [], {}

    def test_step(self, batch: Batch, index: int) -> Any:
        if self._passed_over(batch):
            return None
        if self.score is None:
            raise ValueError("task.score: this task has no score; use run=predict.")
        output = self(**batch["inputs"])
        scores = self.score(output, batch)
        for i, name in enumerate(batch["name"]):
            row = {measure: float(values[i]) for measure, values in scores.items()}
            self.rows.append({"name": name} | row)
        return output

    def on_test_epoch_end(self) -> None:
        self._log_rows("test", self.average)
        self.errors = everyones(self.errors, _merged)

    def predict_step(self, batch: Batch, index: int) -> Any:
        return None if self._passed_over(batch) else self(**batch["inputs"])

    def on_predict_epoch_start(self) -> None:
        self.errors = {}

    def on_predict_epoch_end(self) -> None:
        self.errors = everyones(self.errors, _merged)

    def _passed_over(self, batch: Batch) -> bool:
        """Keep the errors of items that could not be read, and say whether there are no others."""
        self.errors |= batch["errors"]
        return "inputs" not in batch

    def _losses(self, batch: Batch) -> Tensor:
        if self.loss is None:
            raise ValueError("task.loss: this task has no loss to train with.")
        return self.loss(self.op(**batch["inputs"]), batch["truth"])

    def _log_rows(self, stage: str, average: Callable[[Any], Any]) -> None:
        """Bring the rows of all processes together and log each column's average, the same on every process."""
        self.rows = everyones(self.rows, lambda parts: [row for part in parts for row in part])
        for column, value in averages(self.rows, average).items():
            self.log(f"{stage}/{column}", value, prog_bar=stage == "val")


def averages(rows: Sequence[Row], average: Callable[[Any], Any]) -> dict[str, float]:
    """Each column's average over the rows that have a number there; NaN where none has."""
    table = {}
    for column in dict.fromkeys(column for row in rows for column in row):
        if column != "name":
            values = np.array([row.get(column, math.nan) for row in rows], dtype=float)
            known = values[np.isfinite(values)]
            table[column] = float(average(known)) if len(known) else math.nan
    return table


def everyones(mine: Any, join: Callable[[list[Any]], Any]) -> Any:
    """What all processes hold, joined, on each of them."""
    if not (dist.is_available() and dist.is_initialized()):
        return mine
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, mine)
    return join(parts)


def _merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The dictionaries in one."""
    return {key: value for part in parts for key, value in part.items()}


def _size(batch: Batch) -> int:
    return len(next(iter(batch["inputs"].values())))
