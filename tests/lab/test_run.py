from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from tavtorch.lab.run import UntrainedError, checkpoint, weights
from tavtorch.lab.script import without_traceback


def config(**changes):
    base = {"out": "nowhere", "ckpt": None, "command": None, "task": {"op": {"width": 8, "stems": ["vocals", "drums"]}}}
    return OmegaConf.create(base | changes)


def saved(path, **made_by):
    torch.save({"made_by": {"width": 8, "stems": ["vocals", "drums"]} | made_by}, path)
    return str(path)


# which checkpoint


def test_a_checkpoint_of_this_network(tmp_path):
    path = saved(tmp_path / "best.ckpt")
    assert checkpoint(config(ckpt=path)) == path


def test_none_asked_for():
    assert checkpoint(config()) is None


def test_the_last_one(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    path = saved(tmp_path / "checkpoints/last.ckpt")
    assert checkpoint(config(ckpt="last", out=str(tmp_path))) == path


def test_nothing_to_go_on_with(tmp_path, caplog):
    caplog.set_level("INFO")
    assert checkpoint(config(ckpt="last", out=str(tmp_path))) is None
    assert "starting afresh" in caplog.text


# errors


def test_a_checkpoint_of_another_network_says_how_to_load_it(tmp_path):
    path = saved(tmp_path / "best.ckpt", width=32, stems=["vocals", "rest"])
    with pytest.raises(ValueError, match=r"another network; add: task.op.stems=\[vocals, rest\] task.op.width=32"):
        checkpoint(config(ckpt=path))


def test_no_such_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        checkpoint(config(ckpt=str(tmp_path / "best.ckpt")))


class Trap:
    """What a pickle could do to its reader."""

    def __reduce__(self):
        return pytest.fail, ("a file was unpickled",)


@pytest.mark.parametrize("content", ["text", "half", "pickle", "other"])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "best.ckpt"
    saved(path)
    if content == "text":
        path.write_text("no checkpoint")
    elif content == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif content == "pickle":
        torch.save({"made_by": Trap()}, path)
    else:
        torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="is no checkpoint of tavtorch"):
        checkpoint(config(ckpt=str(path)))


# how a script ends


@pytest.mark.parametrize("wrapped", [False, True])
def test_bad_input_is_one_sentence(wrapped):
    def main(_):
        try:
            raise ValueError("data.root: no such folder")
        except ValueError as error:
            if wrapped:
                raise InstantiationException("in some call") from error
            raise

    with pytest.raises(SystemExit, match=r"error: data\.root: no such folder"):
        without_traceback(main)(config())


def test_a_defect_keeps_its_traceback():
    def main(_):
        raise TypeError("a defect")

    with pytest.raises(TypeError):
        without_traceback(main)(config())


# networks that are scored


def network(**changes):
    op = {"_target_": "tavtorch.UNet", "width": 8, "stems": ["vocals", "drums"]}
    return config(name="mine", task={"op": op}, train_for=None, **changes)


def test_a_network_finds_the_weights_of_its_name(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    op = OmegaConf.to_object(network().task.op)
    own = saved(tmp_path / "checkpoints/best.ckpt", **op)
    assert weights(network(out=str(tmp_path)), Path("train.py")) == own
    other = saved(tmp_path / "other.ckpt", **op)
    assert weights(network(out=str(tmp_path), ckpt=other), Path("train.py")) == other


def test_a_function_has_no_weights(tmp_path):
    assert weights(config(task={"op": {"_target_": "tavtorch.rof", "_partial_": True}}), Path("train.py")) is None


def test_a_network_without_weights_is_not_scored(tmp_path):
    with pytest.raises(UntrainedError, match="ckpt: the network mine is not trained yet; python train.py"):
        weights(network(out=str(tmp_path)), Path("train.py"))
