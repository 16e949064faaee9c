"""What training adds to Lightning's callbacks."""

import time
from datetime import timedelta
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EMAWeightAveraging, Timer, TQDMProgressBar
from lightning.pytorch.trainer.states import TrainerFn


class Average(EMAWeightAveraging):
    """Lightning's moving average of the weights, which are validated, kept and scored in place of the last ones.

    Lightning 2.6 would load the weights from before the averaging when the trainer that fitted loads one to test.
    """

    def on_load_checkpoint(self, trainer: L.Trainer, task: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, task, checkpoint)


class TimeLeft(TQDMProgressBar):
    """Lightning's progress bar, with an upper bound of the remaining time of the training."""

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        super().on_train_start(trainer, task)
        self._begun, self._first = time.monotonic(), trainer.current_epoch

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
        callbacks = trainer.callbacks  # type: ignore[attr-defined]  # set by one of Lightning's connectors
        timers = (callback for callback in callbacks if isinstance(callback, Timer))
        left = [rest for timer in timers if (rest := timer.time_remaining()) is not None]
        if trainer.max_epochs and trainer.max_epochs > 0:
            left.append(pace * (trainer.max_epochs - self._first - done))
        return max(0.0, min(left, default=0.0))
