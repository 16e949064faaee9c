from functools import partial
from typing import Literal

import lightning as L
import pytest
import torch
from torch import nn

from tavtorch import Library, Solution
from tavtorch.lab.contract import InputsError, check_inputs
from tavtorch.lab.data.batches import loader as batches
from tavtorch.lab.task import Task
from tavtorch.lab.write import Write


def double(image):
    return 2 * image


class Scale(nn.Linear):
    """A network with one parameter to learn."""

    def __init__(self):
        super().__init__(1, 1, bias=False)

    def forward(self, image):
        return super().forward(image)


class Listed(list):
    """Items in memory that all fit into one batch."""

    def batch_key(self, i):
        return None


def items(n=6):
    return Listed(
        {"name": f"item {i}", "inputs": {"image": torch.full((2, 1), float(i))}, "truth": torch.full((2, 1), 2.0 * i)}
        for i in range(n)
    )


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


def test_any_scheduler_is_stepped_once_an_epoch(tmp_path):
    task = Task(
        Scale(), loss=squares, optimizer=lambda p: torch.optim.SGD(p, lr=1.0),
        scheduler=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=8),
    )  # fmt: skip
    runner = trainer(tmp_path, max_epochs=4)
    runner.fit(task, loader(), loader())
    assert runner.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["cosine", "plateau", "plateau of an old checkpoint"])
def test_a_scheduler_goes_on_from_a_checkpoint(tmp_path, kind):
    def scheduler(optimizer):
        if kind == "cosine":
            return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=1, threshold=0.5)

    def rate(epochs, ckpt_path=None):
        task = Task(Scale(), loss=squares, optimizer=lambda p: torch.optim.SGD(p, lr=1e-5), scheduler=scheduler)
        runner = trainer(tmp_path, max_epochs=epochs)
        runner.fit(task, loader(), loader(), ckpt_path=ckpt_path, weights_only=True)
        runner.save_checkpoint(tmp_path / "last.ckpt")
        return runner.optimizers[0].param_groups[0]["lr"]

    whole = rate(5)
    rate(2)
    if kind == "plateau of an old checkpoint":
        old = torch.load(tmp_path / "last.ckpt", weights_only=True)
        old["plateau"] = old.pop("scheduler")
        torch.save(old, tmp_path / "last.ckpt")
    assert rate(5, tmp_path / "last.ckpt") == pytest.approx(whole)


def test_a_network_made_for_excerpts_runs_on_whole_items(tmp_path):
    def whole(image, model):
        return model(image) + 100

    torch.manual_seed(0)
    task = Task(Scale(), inference=whole)
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


# each item stands alone


def rows(n=6):
    """Items of one row each, which can be batched."""
    return Listed(
        one | {"inputs": {"image": one["inputs"]["image"][:1]}, "truth": one["truth"][:1]} for one in items(n)
    )


def picky(image):
    """Refuses the batch that has the third item in it."""
    if (image == 2).any():
        raise ValueError("image: expected no 2")
    return Solution(2 * image, *(image[:, 0] for _ in range(2)), image[:, 0] < 4)


def picky_error(output, batch):
    return error(output.value, batch)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_what_the_op_refuses_is_one_item_and_what_did_not_converge_is_told(tmp_path, batch_size):
    data = batches(rows(), (0, 1), batch_size=batch_size)
    task, saved = Task(picky, score=picky_error), {}
    trainer(tmp_path).test(task, data, verbose=False)
    assert task.errors == {"item 2": "item 2: image: expected no 2"} and task.not_converged == ["item 4", "item 5"]
    assert [row["name"] for row in task.rows] == ["item 0", "item 1", "item 3", "item 4", "item 5"]
    assert all(row["error"] == 0 for row in task.rows)
    task = Task(picky, save=lambda path, output, batch: saved.update({path.name: output.value}))
    trainer(tmp_path, callbacks=[Write(str(tmp_path))]).predict(task, data)
    assert task.errors.keys() == {"item 2"} and task.not_converged == ["item 4", "item 5"]
    assert {name: value[0, 0].item() for name, value in saved.items()} == {
        f"item {i}": 2.0 * i for i in (0, 1, 3, 4, 5)
    }


def test_a_batch_that_does_not_fit_into_memory_goes_item_by_item(tmp_path, caplog):
    def greedy(image):
        if len(image) > 1 or (image == 2).any():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 2 * image

    task = Task(greedy)
    with caplog.at_level("INFO", "tavtorch"):
        found = trainer(tmp_path).predict(task, batches(rows(), (0, 1), batch_size=6))
    assert torch.cat(found)[:, 0].tolist() == [0, 2, 6, 8, 10]
    assert task.errors == {
        "item 2": "item 2: does not fit into the memory of cpu; try it alone, smaller, or with trainer.accelerator=cpu"
    }
    assert "6 items at once do not fit into memory: one after the other." in caplog.messages


@pytest.mark.parametrize("batch_size", [1, 6])
def test_who_has_no_memory_does_not_leave_the_others_waiting(tmp_path, monkeypatch, batch_size):
    def greedy(image):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(L.Trainer, "world_size", 2)
    monkeypatch.setattr(Library, "refresh", lambda library: None)
    with pytest.raises(ValueError, match=r"data.batch_size: so many clips at once, .* fit into the memory of cpu"):
        trainer(tmp_path).predict(
            Task(greedy, library=Library("sqlite://")), batches(rows(), (0, 1), batch_size=batch_size)
        )


@pytest.mark.parametrize("batch_size", [1, 4])
def test_random_numbers_belong_to_the_name_of_an_item(tmp_path, batch_size):
    def noisy(image, generator=None):
        return image + torch.rand(image.shape, generator=generator)

    def draw(some, **options):
        answers = trainer(tmp_path).predict(Task(noisy, **options), batches(some, (0, 1), batch_size=batch_size))
        return {one["name"]: value for one, value in zip(some, torch.cat(answers), strict=True)}

    all_of_them, last = draw(rows()), draw(Listed(rows()[3:]))
    assert all(torch.equal(all_of_them[name], value) for name, value in last.items())
    assert not torch.equal(all_of_them["item 3"] - 3, all_of_them["item 4"] - 4)
    assert not torch.equal(draw(rows(), seed=1)["item 3"], all_of_them["item 3"])


# the op and what it is given


def weighted(
    image, hole, *, weight: float = 1.0, method: Literal["a", "b"] = "a", margin: float | tuple[float, float] = 1.0
):
    return image


def test_data_that_the_op_does_not_take():
    with pytest.raises(
        InputsError, match="data: the data give `image`, and the op weighted also takes `hole`"
    ) as error:
        check_inputs(partial(weighted, weight=2.0), {"image": 0})
    assert error.value.fits({"image", "hole"}) and not error.value.fits({"image", "points"})
    with pytest.raises(
        InputsError, match="give `image`, `hole` and `sigma`, and the op weighted does not take `sigma`"
    ):
        check_inputs(weighted, {"image": 0, "hole": 0, "sigma": 0})
    check_inputs(weighted, {"image": 0, "hole": 0, "weight": 0})


def test_the_data_of_a_run_are_checked_before_the_op_is_called(tmp_path):
    with pytest.raises(InputsError, match="the data give `image`, and the op weighted also takes `hole`"):
        trainer(tmp_path).test(Task(weighted, score=error), loader(), verbose=False)
    with pytest.raises(InputsError, match="the op weighted also takes `hole`"):
        trainer(tmp_path).predict(Task(weighted), loader())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": "abc"}, "task.op.weight: expected a number, got 'abc'"),
        ({"weight": None}, "task.op.weight: expected a number, got None"),
        ({"method": "c"}, "task.op.method: expected a or b, got 'c'"),
        ({"margin": [1, 2, 3]}, r"task.op.margin: expected a number or \[a number, a number\], got \(1, 2, 3\)"),
        (
            {"wieght": 1.0},
            r"task.op.wieght: weighted has no such argument; did you mean `weight`\? it takes `image`, `hole`",
        ),
    ],
)
def test_settings_that_the_op_does_not_take(settings, message):
    with pytest.raises(ValueError, match=message):
        Task(partial(weighted, **settings))


def test_settings_that_it_takes():
    task = Task(partial(weighted, weight=1, method="b", margin=[2, 1]))
    assert task.op.keywords["margin"] == (2, 1)


def test_panels_that_take_a_model_are_given_the_network():
    network = Scale()
    given = Task(network, show=lambda output, batch, model: [model]).show(None, {})
    assert given == [network]
    assert Task(double, show=lambda output, batch, model=None: [model]).show(None, {}) == [None]


# errors


def test_an_item_that_could_not_be_read_is_passed_over(tmp_path):
    broken = Listed([*items(2), {"name": "item 2", "error": "item 2: cut short"}])
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


def test_processes_that_look_up_together_have_the_same_items(monkeypatch):
    task = Task(lambda picture: picture, library=Library("sqlite://"))
    batch = {"errors": {}, "name": ["a"], "inputs": {"picture": torch.zeros(1, 1, 2, 2)}}
    assert task._output(batch) is not None
    monkeypatch.setattr("tavtorch.lab.task.from_all_processes", lambda names: [names, ["b"]])
    with pytest.raises(ValueError, match="data: the processes of this run could not read the same files"):
        task._output(batch)
