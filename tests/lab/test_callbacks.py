import signal
import time
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import nn

from tavtorch import UNet
from tavtorch.lab.callbacks import Anneal, Begin, Progress, StopTogether, TimeLeft, timers
from tavtorch.lab.data.batches import loader
from tavtorch.lab.signals import Stopped
from tavtorch.lab.task import Task


class Listed(list):
    """Items in memory."""

    def batch_key(self, i):
        return None


class Scale(nn.Linear):
    """A network with one parameter."""

    def __init__(self):
        super().__init__(1, 1, bias=False)

    def forward(self, image):
        return super().forward(image)


def items(n):
    return Listed({"name": f"{i}", "inputs": {"image": torch.rand(1, 1)}, "truth": torch.rand(1, 1)} for i in range(n))


def trainer(*callbacks, **options):
    quiet = dict.fromkeys(("logger", "enable_model_summary", "enable_checkpointing"), False)
    return L.Trainer(accelerator="cpu", callbacks=list(callbacks), num_sanity_val_steps=0, **quiet, **options)


# the learning rate


class Rates(L.Callback):
    """The learning rate of each epoch; an epoch takes `seconds` by the clock of the limit of time."""

    def __init__(self, seconds=0.0):
        self.seen, self.seconds = [], seconds

    def on_train_batch_start(self, trainer, task, batch, index):
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])
        for timer in timers(trainer):
            timer._offset += self.seconds


def rates(epochs, seconds=0.0, ckpt_path=None, **options):
    squares = {"loss": lambda output, truth: (output - truth).square().mean(1)}
    task, seen = Task(Scale(), optimizer=lambda p: torch.optim.SGD(p, lr=2.0), **squares), Rates(seconds)
    runner = trainer(Anneal(), seen, max_epochs=epochs, **options)
    runner.fit(task, loader(items(1), (0, 1)), loader(items(1), (0, 1)), ckpt_path=ckpt_path, weights_only=True)
    return runner, seen.seen


def test_the_rate_falls_over_the_epochs():
    assert rates(4)[1] == pytest.approx([2, 1 + 0.5**0.5, 1, 1 - 0.5**0.5])


def test_the_rate_falls_over_the_time_where_that_ends_the_training():
    assert rates(100, 10.0, max_time={"seconds": 40})[1][:3] == pytest.approx([2, 1 + 0.5**0.5, 1], rel=0.1)


def test_a_rate_goes_on_from_a_checkpoint(tmp_path):
    whole = rates(4)[1]
    rates(2)[0].save_checkpoint(tmp_path / "last.ckpt")
    assert rates(4, ckpt_path=tmp_path / "last.ckpt")[1] == pytest.approx(whole[2:])


# progress


def test_without_a_terminal_a_line_every_30_seconds(monkeypatch, capsys, caplog):
    """Each item takes 10 s here; no bar is drawn."""
    caplog.set_level("INFO")
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr("tavtorch.lab.callbacks.time", SimpleNamespace(monotonic=lambda: next(now)))
    task = Task(Scale(), score=lambda output, batch: {"mean": output.mean(1)})
    trainer(Progress()).test(task, loader(items(12), (0, 1)), verbose=False)
    lines = [line.getMessage() for line in caplog.records if "batches" in line.getMessage()]
    assert lines and set(lines) <= {f"{i} of 12 batches" for i in range(1, 13)} and len(lines) <= 4
    assert "%|" not in "".join(capsys.readouterr())


def test_a_short_run_says_nothing_in_between(capsys, caplog):
    caplog.set_level("INFO")
    squares = {"loss": lambda output, truth: (output - truth).square().mean(1), "optimizer": torch.optim.SGD}
    task = Task(Scale(), **squares)
    trainer(TimeLeft(), max_epochs=2).fit(task, loader(items(4), (0, 1)), loader(items(2), (0, 1)))
    assert " of 2 epochs" not in caplog.text and "%|" not in "".join(capsys.readouterr())


# signals


@pytest.fixture(autouse=True)
def _as_before():
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    yield
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


def stopping(output, batch):
    """A score in the middle of which a signal comes."""
    signal.raise_signal(signal.SIGTERM)
    time.sleep(1)
    return {}


def test_a_signal_stops_a_run_at_once():
    """Lightning alone would end the loop as if nothing had been."""
    with pytest.raises(Stopped) as stopped:
        trainer(StopTogether()).test(Task(Scale(), score=stopping), loader(items(2), (0, 1)), verbose=False)
    assert stopped.value.code == 143


@pytest.mark.parametrize(("error", "sent"), [(Stopped(2), [15]), (ValueError("no signal"), [])])
def test_a_signal_stops_the_processes_that_were_started(error, sent):
    signals = []
    lone = trainer(StopTogether())
    lone.strategy._launcher = SimpleNamespace(kill=signals.append)
    StopTogether().on_exception(lone, Task(torch.relu), error)
    assert signals == sent


# begin


def test_a_training_begins_with_the_weights_of_a_file(tmp_path):
    stored, new = (UNet(width=8, depth=1, n_fft=64, hop=32) for _ in range(2))
    stored.save(tmp_path / "stored.safetensors")
    losses = {"loss": lambda output, truth: output.square().mean((1, 2, 3)), "optimizer": torch.optim.SGD}
    task = Task(new, **losses)
    callback = Begin(tmp_path / "stored.safetensors")
    callback.setup(trainer(), task, "test")
    assert not torch.equal(new.head.weight, stored.head.weight)
    callback.setup(trainer(), task, "fit")
    for mine, theirs in zip(new.parameters(), stored.parameters(), strict=True):
        assert torch.equal(mine, theirs) and mine.requires_grad


def test_weights_of_other_settings_are_refused(tmp_path):
    UNet(width=8, depth=1, n_fft=64, hop=32).save(tmp_path / "stored.safetensors")
    task = Task(UNet(width=16, depth=1, n_fft=64, hop=32), loss=None, optimizer=torch.optim.SGD)
    with pytest.raises(ValueError, match="is of a model with"):
        Begin(tmp_path / "stored.safetensors").setup(trainer(), task, "fit")


def test_a_resumed_training_goes_on_with_its_own_weights(tmp_path):
    def network():
        return UNet(width=8, depth=1, n_fft=64, hop=32)

    def fit(task, epochs, **options):
        run = trainer(Begin(tmp_path / "stored.safetensors"), max_epochs=epochs, enable_progress_bar=False)
        items = Listed([{"name": "a", "inputs": {"wave": torch.rand(1, 1, 500)}, "truth": torch.rand(1, 2, 1, 500)}])
        run.fit(task, loader(items, (0, 1)), weights_only=True, **options)
        return run

    network().save(tmp_path / "stored.safetensors")
    squares = {"loss": lambda output, truth: (output - truth).square().mean((1, 2, 3)), "optimizer": torch.optim.Adam}
    first, second = Task(network(), **squares), Task(network(), **squares)
    fit(first, 1).save_checkpoint(tmp_path / "last.ckpt")
    fit(second, 1, ckpt_path=tmp_path / "last.ckpt")  # nothing is left to train
    assert torch.equal(second.op.head.weight, first.op.head.weight)
    assert not torch.equal(second.op.head.weight, UNet.pretrained(tmp_path / "stored.safetensors").head.weight)
