import lightning as L
import pytest
import torch
from torch import nn

from tavtorch.lab.data.batches import loader as batches
from tavtorch.lab.task import Task


def double(image):
    return 2 * image


class Scale(nn.Linear):
    """A network with one parameter to learn."""

    def __init__(self):
        super().__init__(1, 1, bias=False)

    def forward(self, image):
        return super().forward(image)


def items(n=6):
    return [
        {"name": f"item {i}", "inputs": {"image": torch.full((2, 1), float(i))}, "truth": torch.full((2, 1), 2.0 * i)}
        for i in range(n)
    ]


def loader(n=6):
    return batches(items(n), (0, 1))


def error(output, batch):
    return {"error": (output - batch["truth"]).abs().flatten(1).mean(1)}


def squares(output, truth):
    return (output - truth).square().flatten(1).mean(1)


def trainer(tmp_path, **options):
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    return L.Trainer(accelerator="cpu", default_root_dir=tmp_path, use_distributed_sampler=False, **quiet, **options)


# truth


def test_a_function_is_scored(tmp_path):
    task = Task(double, score=error)
    trainer(tmp_path).test(task, loader(), verbose=False)
    assert [row["name"] for row in task.rows] == [f"item {i}" for i in range(6)]
    assert all(row["error"] == 0 for row in task.rows)


def test_the_median_is_logged_without_what_has_no_score(tmp_path):
    def score(output, batch):
        i = batch["truth"][:1, 0] / 2
        return {"i": torch.where(i == 0, torch.nan, i)}

    runner = trainer(tmp_path)
    runner.test(Task(double, score=score), loader(), verbose=False)
    assert runner.callback_metrics["test/i"].item() == 3


def test_a_function_predicts(tmp_path):
    answers = trainer(tmp_path).predict(Task(double), loader())
    assert [answer[0].item() for answer in answers] == [0, 2, 4, 6, 8, 10]


def test_a_network_is_trained(tmp_path):
    torch.manual_seed(0)
    task = Task(Scale(), loss=squares, optimizer=lambda p: torch.optim.SGD(p, lr=0.02))
    runner = trainer(tmp_path, max_epochs=30)
    runner.fit(task, loader(), loader())
    assert task.op.weight.item() == pytest.approx(2, abs=1e-3)
    assert runner.callback_metrics["val/loss"] < 1e-4


def test_the_scheduler_looks_at_the_validation_loss(tmp_path):
    task = Task(
        Scale(), loss=squares, optimizer=lambda p: torch.optim.SGD(p, lr=1e-5),
        scheduler=lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.1, patience=0, threshold=0.5),
    )  # fmt: skip
    runner = trainer(tmp_path, max_epochs=4)
    runner.fit(task, loader(), loader())
    assert runner.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-8)


def test_a_network_made_for_excerpts_runs_on_whole_items(tmp_path):
    def whole(image, model):
        return model(image) + 100

    torch.manual_seed(0)
    task = Task(Scale(), whole=whole)
    assert task(image=torch.zeros(2, 1))[0].item() == 100


def test_steps_draw_the_same_numbers_wherever_a_run_begins(tmp_path):
    drawn = []

    class Noisy(Scale):
        def forward(self, image):
            drawn.append(torch.rand(()).item())
            return super().forward(image)

    def fit(epochs, ckpt_path=None):
        task = Task(Noisy(), loss=squares, optimizer=lambda p: torch.optim.SGD(p, lr=0.0), seed=5)
        runner = trainer(tmp_path, max_epochs=epochs)
        runner.fit(task, loader(2), ckpt_path=ckpt_path, weights_only=True)
        runner.save_checkpoint(tmp_path / "last.ckpt")

    fit(3)
    uninterrupted = drawn.copy()
    drawn.clear()
    fit(2)
    torch.rand(7)  # whatever the program does in between
    fit(3, tmp_path / "last.ckpt")
    assert drawn == uninterrupted


# errors


def test_an_item_that_could_not_be_read_is_passed_over(tmp_path):
    broken = [*items(2), {"name": "item 2", "error": "item 2: cut short"}]
    task = Task(double, score=error)
    trainer(tmp_path).test(task, batches(broken, (0, 1)), verbose=False)
    assert task.errors == {"item 2": "item 2: cut short"}
    assert len(task.rows) == 2


def test_a_function_has_nothing_to_train(tmp_path):
    with pytest.raises(ValueError, match="nothing to train"):
        trainer(tmp_path, max_epochs=1).fit(Task(double, loss=squares), loader())


def test_a_task_without_a_score(tmp_path):
    with pytest.raises(ValueError, match="task.score"):
        trainer(tmp_path).test(Task(double), loader(), verbose=False)
