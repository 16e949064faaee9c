import errno
import io
import os
import zipfile
from pathlib import Path

import lightning as L
import pytest
import torch
from omegaconf import OmegaConf

from tavtorch import UNet
from tavtorch.lab.callbacks import Keep
from tavtorch.lab.checkpoints import Checkpoints, check, read, used_up
from tavtorch.lab.task import Task

OP = OmegaConf.create({"_target_": "tavtorch.UNet", "width": 4, "depth": 1, "n_fft": 64, "hop": 16})


def state(**changes):
    network = UNet(width=4, depth=1, n_fft=64, hop=16)
    weights = {f"op.{name}": value for name, value in network.state_dict().items()}
    whole = {"made_by": OmegaConf.to_object(OP), "state_dict": weights, "pytorch-lightning_version": "2.6.0"}
    whole |= {"optimizer_states": [], "callbacks": {}, "loops": {}, "epoch": 4, "global_step": 10}
    return whole | changes


def first_weight():
    return next(name for name, value in state()["state_dict"].items() if value.is_floating_point() and value.dim() > 1)


@pytest.fixture
def best(tmp_path):
    path = tmp_path / "checkpoints/best.ckpt"
    Checkpoints().save_checkpoint(state(), path)
    return path


def refusal(path, *, resume=True):
    with pytest.raises(ValueError, match="ckpt") as error:
        check(path, read(path), OP, resume=resume)
    assert "\n" not in str(error.value)
    return str(error.value)


# whole


def test_what_is_written_is_read(best):
    check(best, read(best), OP, resume=True)
    torch.testing.assert_close(read(best)["state_dict"], Checkpoints().load_checkpoint(best)["state_dict"])


def test_nothing_is_staged_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    Checkpoints().save_checkpoint(state(), tmp_path / "run/last.ckpt")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["last.ckpt"]


def test_a_full_disk_leaves_the_checkpoint_before_it(best, monkeypatch):
    before = best.read_bytes()

    def write(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(ValueError, match=r"best.ckpt: cannot be written \(No space left on device\)"):
        Checkpoints().save_checkpoint(state(epoch=5), best)
    assert best.read_bytes() == before and list(best.parent.iterdir()) == [best]


# refused


@pytest.mark.parametrize("place", [0.2, 0.4, 0.6])
def test_flipped_bytes_are_found(best, place):
    content = bytearray(best.read_bytes())
    with zipfile.ZipFile(best) as archive:
        largest = max(archive.infolist(), key=lambda part: part.file_size)
    content[largest.header_offset + 200 + int(place * largest.file_size)] ^= 1
    best.write_bytes(content)
    assert "best.ckpt is damaged in " in refusal(best)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(best, value):
    broken = state()
    broken["state_dict"][first_weight()].flatten()[0] = value
    Checkpoints().save_checkpoint(broken, best)
    message = refusal(best)
    assert f"has weights that are no numbers (NaN or infinite), in state_dict.{first_weight()}" in message


class Trap:
    """What a pickle could do to its reader."""

    def __reduce__(self):
        return pytest.fail, ("a file was unpickled",)


def archived(**content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def smaller():
    weights = state()["state_dict"]
    return weights | {first_weight(): weights[first_weight()][:1]}


DAMAGED = {
    "empty": lambda whole: b"",
    "text": lambda whole: b"no checkpoint",
    "half": lambda whole: whole[: len(whole) // 2],
    "zeros": lambda whole: bytes(len(whole)),
    "no end": lambda whole: whole[:-30],
    "a list": lambda whole: (file := io.BytesIO(), torch.save([1], file), file.getvalue())[-1],
    "a pickle": lambda whole: archived(**state(made_by=Trap())),
    "an old pickle": lambda whole: (
        file := io.BytesIO(),
        torch.save(state(), file, _use_new_zipfile_serialization=False),
        file.getvalue(),
    )[-1],
    "other things": lambda whole: archived(weights=torch.zeros(3)),
    "no network": lambda whole: archived(**state(made_by=None)),
    "no weights": lambda whole: archived(**state(state_dict={})),
    "weights of another size": lambda whole: archived(**state(state_dict=smaller())),
    "weights of another kind": lambda whole: archived(**state(state_dict=state()["state_dict"] | {first_weight(): 1})),
    "no optimizer": lambda whole: archived(**state(optimizer_states=None)),
    "no version": lambda whole: archived(**{key: value for key, value in state().items() if "version" not in key}),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_no_checkpoint_is_told_in_a_line(best, kind):
    best.write_bytes(DAMAGED[kind](best.read_bytes()))
    message = refusal(best)
    assert message.startswith(f"ckpt: {best} ") and "train one with train.py, or give another" in message


def test_a_damaged_last_one_names_the_best(best):
    last = best.with_name("last.ckpt")
    last.write_bytes(b"")
    assert refusal(last).endswith(f"train anew, or score the best epoch with ckpt={best}")


def test_from_the_best_no_training_goes_on(best):
    Checkpoints().save_checkpoint({key: value for key, value in state().items() if key != "loops"}, best)
    assert "holds weights to be scored; to go on, a training needs a last.ckpt, with loops" in refusal(best)


def test_of_another_network_says_how_to_load_it(best):
    Checkpoints().save_checkpoint(state(made_by=OmegaConf.to_object(OP) | {"width": 8}), best)
    assert "of another network; add: task.op.width=8" in refusal(best)


def test_a_score_needs_no_optimizer(best):
    Checkpoints().save_checkpoint(state(optimizer_states=None), best)
    check(best, read(best), OP, resume=False)


def test_a_folder_and_nothing_at_all(tmp_path):
    assert "is a folder" in refusal(tmp_path)
    assert "does not exist" in refusal(tmp_path / "none.ckpt")


def test_a_file_that_may_not_be_read(best, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("tavtorch.lab.checkpoints.zipfile.ZipFile", refuse)
    assert "may not be read; change its permissions" in refusal(best)


# at the end


@pytest.mark.parametrize(
    ("epochs", "time", "said"),
    [
        (5, None, "trainer.max_epochs=5"),
        (6, "00:00:01:00", None),
        (None, "00:00:00:30", "trainer.max_time=00:00:00:30"),
        (-1, None, None),
    ],
)
def test_a_training_at_its_end_says_so(epochs, time, said):
    trained = state(callbacks={"Timer": {"time_elapsed": {"train": 31.0}}})
    assert used_up(trained, epochs, time) == said


# moved


def keep(folder):
    return Keep(dirpath=str(folder), filename="best", monitor="val/loss", save_last=True)


def test_the_best_epoch_is_known_where_the_folder_was_moved(tmp_path):
    before, after = keep(tmp_path / "before"), keep(tmp_path / "after")
    path = str(tmp_path / "before/best.ckpt")
    before.best_k_models, before.best_model_path, before.kth_best_model_path = {path: torch.tensor(0.5)}, path, path
    before.best_model_score = before.kth_value = torch.tensor(0.5)
    stored = {"callbacks": {before.state_key: before.state_dict()}}
    trainer, task = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), Task(torch.relu)
    trainer._checkpoint_connector._user_managed = True
    trainer.ckpt_path = str(tmp_path / "after/last.ckpt")
    after.on_load_checkpoint(trainer, task, stored)
    after.load_state_dict(stored["callbacks"][after.state_key])
    assert after.best_model_path == str(tmp_path / "after/best.ckpt")
    assert not after.check_monitor_top_k(trainer, torch.tensor(0.6))
    assert after.check_monitor_top_k(trainer, torch.tensor(0.4))
    assert "ModelCheckpoint" in after.state_key
