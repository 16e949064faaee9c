"""What the lab adds to Lightning's callbacks."""

import logging
import math
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint, Timer, TQDMProgressBar, WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from tavtorch.lab.signals import Stopped, end_in_order

log = logging.getLogger(__name__)
SCORED = {"state_dict", "epoch", "global_step", "pytorch-lightning_version"}
"""What is left of the best checkpoint; `Task` adds the settings of its network."""
_INTERVAL = 30.0  # seconds between two lines of progress where there is no terminal


class Anneal(L.Callback):
    """The learning rate falls along half a cosine, over the epochs of a training, or its time if that ends it.

        rate = (1 + cos π p) / 2 · the first rate,    p = max(epochs done / max_epochs, time gone / max_time)

    It is set at the beginning of each epoch, the same in all processes of a run; a training that was at its end goes on
    with a higher rate if it is given more epochs or time.

    Source: Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, arXiv:1608.03983.
    """

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        done = trainer.strategy.broadcast(self._done(trainer))
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.defaults["lr"] * (1 + math.cos(math.pi * done)) / 2

    def _done(self, trainer: L.Trainer) -> float:
        """`p`."""
        epochs, parts = trainer.max_epochs or -1, [0.0]
        if epochs > 0:
            parts.append(trainer.current_epoch / epochs)
        for timer in timers(trainer):
            gone, left = timer.time_elapsed(), timer.time_remaining()
            if left is not None:
                parts.append(gone / (gone + left))
        return min(1.0, max(parts))


class Average(WeightAveraging):
    """A moving average of the weights, which are validated, kept and scored in place of the last ones.

    Lightning's `EMAWeightAveraging` waits for a GPU at every weight; and Lightning 2.6 would load the weights from
    before the averaging when the trainer that fitted loads one to test.

    Args:
        decay: of the average a step.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))

    def setup(self, trainer: L.Trainer, task: L.LightningModule, stage: str) -> None:
        super().setup(trainer, task, stage)
        if self._average_model is not None:  # what is asked at every step stays with the host
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    def on_load_checkpoint(self, trainer: L.Trainer, task: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, task, checkpoint)


class Begin(L.Callback):
    """A training begins with the weights of a file, and not with random ones; one that is resumed goes on with its own.

    Args:
        weights: a file that `save` of a network of the same settings wrote; None is that of the package.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        self.given = () if weights is None else (weights,)

    def setup(self, trainer: L.Trainer, task: L.LightningModule, stage: str) -> None:
        """Called before the checkpoint of a resumed training is read."""
        if stage == TrainerFn.FITTING:
            op: Any = task.op
            op.load_state_dict(type(op).pretrained(*self.given, **op.settings).state_dict())


class Keep(ModelCheckpoint):
    """Lightning's checkpoints of the best and of the last epoch, also for a run whose folder was moved.

    The best is there to be scored: it holds the weights and the settings of the network, a quarter of what the last
    one holds for a training to go on with.

    Lightning stores absolute paths and forgets the best epoch where they have changed, so that the next epoch, however
    bad, would replace it.
    """

    _best = False  # whether that one is being written

    @property
    def state_key(self) -> str:
        """That of Lightning's, which checkpoints until 0.1 have."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__)

    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        self._best = Path(filepath).stem == self.filename
        super()._save_checkpoint(trainer, filepath)

    def on_save_checkpoint(self, trainer: L.Trainer, task: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Called behind that of `Average`, which puts the averaged weights into `state_dict`."""
        if self._best:
            for key in checkpoint.keys() - SCORED:
                del checkpoint[key]

    def on_load_checkpoint(self, trainer: L.Trainer, task: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        state, here = checkpoint.get("callbacks", {}).get(self.state_key), Path(self.dirpath or "")
        if state and Path(str(trainer.ckpt_path)).resolve().parent == here.resolve():
            moved = {path: str(here / Path(path).name) for path in state["best_k_models"]}
            state["dirpath"] = self.dirpath
            state["best_k_models"] = {moved[path]: score for path, score in state["best_k_models"].items()}
            for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
                state[key] = str(here / Path(state[key]).name) if state[key] else ""


class StopTogether(L.Callback):
    """A signal that stops the first process of a run stops the processes that it started."""

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._take_signals()

    def on_test_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._take_signals()

    def on_predict_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._take_signals()

    def _take_signals(self) -> None:
        """Take them back from Lightning, which ends with exit code 0, or goes on as if nothing had been."""
        if "SLURM_JOB_ID" not in os.environ:  # where Lightning asks for another turn
            end_in_order()

    def on_exception(self, trainer: L.Trainer, task: L.LightningModule, exception: BaseException) -> None:
        launcher = trainer.strategy.launcher
        if isinstance(exception, Stopped) and launcher is not None:
            launcher.kill(signal.SIGTERM)


class Progress(TQDMProgressBar):
    """Lightning's progress bar; where there is no terminal, a line every 30 s."""

    def __init__(self) -> None:
        super().__init__()
        self.spoke = time.monotonic()
        if not sys.stdout.isatty():
            self.disable()

    def on_test_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, output: Any, batch: Any, index: int, loader: int = 0
    ) -> None:
        super().on_test_batch_end(trainer, task, output, batch, index, loader)
        self._say(trainer, index + 1, sum(trainer.num_test_batches))

    def on_predict_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, output: Any, batch: Any, index: int, loader: int = 0
    ) -> None:
        super().on_predict_batch_end(trainer, task, output, batch, index, loader)
        self._say(trainer, index + 1, sum(trainer.num_predict_batches))

    def _say(self, trainer: L.Trainer, done: int, count: float, *, of: str = "batches", more: str = "") -> None:
        silent = self.is_enabled or not trainer.is_global_zero or done == count
        if not silent and time.monotonic() - self.spoke > _INTERVAL:
            log.info("%d of %d %s%s", done, count, of, more)
            self.spoke = time.monotonic()


class TimeLeft(Progress):
    """With an upper bound of the remaining time of the training."""

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        super().on_train_start(trainer, task)
        self._begun, self._first = time.monotonic(), trainer.current_epoch

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, task)
        losses = "".join(f", {name} {float(value):.3g}" for name, value in trainer.callback_metrics.items())
        self._say(trainer, trainer.current_epoch + 1, trainer.max_epochs or -1, of="epochs", more=losses)

    def get_metrics(self, trainer: L.Trainer, task: L.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, task)
        metrics.pop("v_num", None)
        if trainer.training:
            metrics["left"] = str(timedelta(seconds=round(self._left(trainer))))
        return metrics

    def _left(self, trainer: L.Trainer) -> float:
        """Seconds until the last epoch at the pace so far, or until `max_time`, whichever is less."""
        part = trainer.fit_loop.epoch_loop.batch_progress.current.completed / max(1, trainer.num_training_batches)
        done = trainer.current_epoch - self._first + part
        pace = (time.monotonic() - self._begun) / max(done, 1e-3)
        left = [rest for timer in timers(trainer) if (rest := timer.time_remaining()) is not None]
        if trainer.max_epochs and trainer.max_epochs > 0:
            left.append(pace * (trainer.max_epochs - self._first - done))
        return max(0.0, min(left, default=0.0))


def timers(trainer: L.Trainer) -> list[Timer]:
    """What ends a training at `max_time`."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # set by one of Lightning's connectors
    return [callback for callback in callbacks if isinstance(callback, Timer)]
