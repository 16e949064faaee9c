import math
from types import SimpleNamespace

import lightning as L
import numpy as np
import torch

from tavtorch.lab.data.batches import loader
from tavtorch.lab.page import Section
from tavtorch.lab.panels import Panel, picture
from tavtorch.lab.report import Report, as_text, curves, summary
from tavtorch.lab.task import Task

ROWS = [
    {"name": "<one>", "vocals/si_sdr": 1.0, "vocals/sdr": 4.0, "drums/si_sdr": float("nan"), "drums/sdr": 1.0},
    {"name": "two", "vocals/si_sdr": 3.0, "vocals/sdr": 5.0, "drums/si_sdr": float("nan"), "drums/sdr": 2.0},
    {"name": "three", "vocals/si_sdr": float("nan"), "vocals/sdr": 9.0, "drums/si_sdr": float("nan"), "drums/sdr": 3.0},
]


def test_medians_leave_out_what_has_no_score():
    table = summary(ROWS)
    assert table["sdr"] == {"vocals": 5.0, "drums": 2.0}
    assert table["si_sdr"]["vocals"] == 2
    assert math.isnan(table["si_sdr"]["drums"])


def test_a_task_may_ask_for_the_mean():
    assert summary(ROWS, np.mean)["sdr"] == {"vocals": 6.0, "drums": 2.0}


def test_the_terminal_has_a_cell_where_there_is_a_number():
    lines = as_text({"psnr": {"input": 20.0, "result": 28.5}, "gap": {"result": 1e-3}}, "mean").splitlines()
    assert [line.split() for line in lines] == [
        ["mean", "input", "result"], ["PSNR,", "dB", "20.00", "28.50"], ["gap", "0.001"]
    ]  # fmt: skip


def test_curves_with_holes_in_them():
    assert curves([{"epoch": 1, "learning rate": 1.0}, {"epoch": 2, "learning rate": 0.5, "val/loss": 1.0}])


def test_the_time_is_that_of_the_whole_run(tmp_path, monkeypatch):
    """Training and test, for that is what the command on the page takes."""
    now = [0.0]
    monkeypatch.setattr("tavtorch.lab.report.time", SimpleNamespace(monotonic=lambda: now[0]))
    report = Report(str(tmp_path), section={"name": "run", "title": "title"})
    trainer, task = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), Task(torch.relu)
    for stage, seconds in (("fit", 0.0), ("test", 80.0)):
        now[0] = seconds
        report.setup(trainer, task, stage)
    now[0] = 90.0
    report.on_test_end(trainer, task)
    assert Section.read(tmp_path / "section.json").seconds == 90


class Listed(list):
    """Items in memory."""

    def batch_key(self, i):
        return None


def test_a_panel_that_fails_is_a_note(tmp_path, caplog):
    """Scores, page and exit code stand."""

    def show(output, batch):
        if batch["name"] == ["bad"]:
            raise RuntimeError("no paint")
        return [Panel("result", picture(output[0]))] if batch["name"] == ["good"] else []

    def half(image):
        return image / 2

    task = Task(half, score=lambda output, batch: {"mean": output.mean((1, 2, 3))}, show=show)
    items = Listed({"name": name, "inputs": {"image": torch.rand(1, 1, 4, 4)}} for name in ("bad", "none", "good"))
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    report = Report(str(tmp_path), section={"name": "run"})
    L.Trainer(accelerator="cpu", callbacks=[report], **quiet).test(task, loader(items, (0, 1)), verbose=False)
    written = Section.read(tmp_path / "section.json")
    assert written.notes == ["bad: cannot be shown (no paint)"] and "bad: cannot be shown" in caplog.text
    assert [name for name, _ in written.exhibits] == ["good"] and len(written.rows) == 3


def test_a_page_that_cannot_be_written_leaves_the_scores(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "file").write_text("where the folder should be")
    report, task = Report(str(tmp_path / "file"), section={"name": "run"}), Task(torch.relu)
    task.rows = ROWS
    report.on_test_end(L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), task)
    assert "vocals" in caplog.text and "the page cannot be written" in caplog.text
