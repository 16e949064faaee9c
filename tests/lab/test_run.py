import re
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

import tavtorch
from tavtorch.lab.run import UntrainedError, checkpoint, precision, settings_of, weights
from tavtorch.lab.script import without_traceback
from tavtorch.lab.signals import Stopped


def config(**changes):
    base = {"out": "nowhere", "ckpt": None, "run": "test", "task": {"op": {"width": 8, "stems": ["vocals", "drums"]}}}
    return OmegaConf.create(base | changes)


def saved(path, **content):
    torch.save({"made_by": {}, "callbacks": {}} | content, path)
    return str(path)


# which checkpoint


@pytest.fixture(autouse=True)
def content(monkeypatch):
    """What a checkpoint holds is looked at in test_checkpoints."""
    monkeypatch.setattr("tavtorch.lab.checkpoints.check", lambda *_, resume: None)


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


def test_a_training_at_its_end_is_told(tmp_path, caplog):
    caplog.set_level("INFO")
    path = saved(tmp_path / "last.ckpt", epoch=1)
    training = config(ckpt=path, trainer={"max_epochs": 2, "max_time": None})
    del training["run"]
    assert checkpoint(training) == path
    assert "has been trained for all of trainer.max_epochs=2: nothing is added to it" in caplog.text


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
    own = saved(tmp_path / "checkpoints/best.ckpt")
    assert weights(network(out=str(tmp_path)), Path("train.py")) == own
    other = saved(tmp_path / "other.ckpt")
    assert weights(network(out=str(tmp_path), ckpt=other), Path("train.py")) == other


@pytest.mark.parametrize(("op", "part"), [("RidgeModel", "slopes"), ("UNet", "head.weight")])
def test_a_network_of_the_package_has_its_weights_until_it_is_trained_here(tmp_path, caplog, op, part):
    caplog.set_level("INFO")
    op = {"_target_": f"tavtorch.{op}"} | ({"stems": ["vocals", "accompaniment"]} if op == "UNet" else {"rho": 0.95})
    untrained, trained = (config(name="mine", task={"op": op}, train_for=None, out=str(tmp_path)) for _ in range(2))
    assert weights(untrained, Path("train.py")) is None
    of_the_package = get_object(op["_target_"]).pretrained()
    assert torch.equal(instantiate(untrained.task.op).get_parameter(part), of_the_package.get_parameter(part))
    assert caplog.text.count("mine: by the weights that come with the package; python train.py trains others") == 1
    (tmp_path / "checkpoints").mkdir()
    own = saved(tmp_path / "checkpoints/best.ckpt")
    assert weights(trained, Path("train.py")) == own and trained.task.op == op


@pytest.mark.parametrize("changes", [{"width": 8}, {"stems": ["vocals", "drums"]}, {"compression": 1.0}])
def test_weights_of_the_package_are_for_its_settings_alone(tmp_path, changes):
    op = {"_target_": "tavtorch.UNet"} | changes
    with pytest.raises(UntrainedError, match="the network mine is not trained yet; python train.py does"):
        weights(config(name="mine", task={"op": op}, train_for=None, out=str(tmp_path)), Path("train.py"))


def test_an_experiment_may_ask_for_a_training_of_its_own(tmp_path):
    own = config(name="mine", task={"op": {"_target_": "tavtorch.UNet"}}, train_for=None, out=str(tmp_path))
    own.train_for = False
    with pytest.raises(UntrainedError, match="not trained yet"):
        weights(own, Path("train.py"))


def test_other_weights_of_the_package_give_other_results(tmp_path, monkeypatch):
    """What was made by the ones before is made again."""
    own = tmp_path / "own.safetensors"
    tavtorch.UNet(width=8).save(own)
    asked = {"task": {"op": {"_target_": "tavtorch.UNet.pretrained"}}, "data": {}, "trainer": {"precision": "32-true"}}
    monkeypatch.setattr(tavtorch.UNet, "pretrained", classmethod(lambda cls, path=own: None))
    before = settings_of(config(**asked), None)
    assert before == settings_of(config(**asked), None)
    tavtorch.UNet(width=8).save(own)
    assert before != settings_of(config(**asked), None)


@pytest.mark.parametrize(
    ("op", "wanted", "given"),
    [
        ("tavtorch.UNet", "auto", "bf16-mixed"),
        ("tavtorch.UNet.pretrained", "auto", "bf16-mixed"),
        ("tavtorch.rof", "auto", "32-true"),
        ("tavtorch.UNet", "32-true", "32-true"),
        ("tavtorch.rof", "64-true", "64-true"),
    ],
)
def test_a_network_runs_in_half_precision_where_the_hardware_multiplies_in_it(monkeypatch, op, wanted, given):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    asked = config(task={"op": {"_target_": op}}, trainer={"precision": wanted})
    assert precision(asked) == given
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert precision(asked) == ("32-true" if wanted == "auto" else given)


def test_a_function_has_no_weights(tmp_path):
    assert weights(config(task={"op": {"_target_": "tavtorch.rof", "_partial_": True}}), Path("train.py")) is None


@pytest.mark.parametrize(
    ("data", "words", "suggested"),
    [
        (
            "folder.Folder",
            ["task=separate", "data=folder", "data.root=x", "run=predict"],
            "train.py task=separate does",
        ),
        ("stems.Stems", ["data=stems", "data.root=x", "strict=true"], "train.py data=stems data.root=x does"),
        ("stems.Stems", ["+overwrite=true", "name=mine", "callbacks.report.items=3"], "train.py name=mine does"),
    ],
)
def test_the_training_that_is_suggested_works(tmp_path, monkeypatch, data, words, suggested):
    monkeypatch.setattr("tavtorch.lab.run.typed", lambda: words)
    there = {"_target_": f"tavtorch.lab.data.{data}"}
    with pytest.raises(UntrainedError, match=re.escape(suggested)):
        weights(network(out=str(tmp_path), data=there), Path("train.py"))


@pytest.mark.parametrize("stopped", [False, True])
def test_a_training_that_was_stopped_goes_on(tmp_path, monkeypatch, stopped):
    """Its best epoch so far is not taken for the network."""
    ran = []
    own = tmp_path / "checkpoints/best.ckpt"

    def train(command):
        ran.append(command)
        saved(own)
        if stopped and len(ran) == 1:
            raise Stopped(15)

    monkeypatch.setattr("tavtorch.lab.run.run_child", train)
    timed = OmegaConf.merge(network(out=str(tmp_path)), {"train_for": "00:00:00:05"})
    if stopped:
        with pytest.raises(Stopped):
            weights(timed.copy(), Path("train.py"))
    assert weights(timed.copy(), Path("train.py")) == str(own)
    assert ["ckpt=last" in command for command in ran] == ([False, True] if stopped else [False])
    assert weights(timed.copy(), Path("train.py")) == str(own) and len(ran) == 1 + stopped


def test_a_network_without_weights_is_not_scored(tmp_path):
    with pytest.raises(UntrainedError, match="ckpt: the network mine is not trained yet; python train.py"):
        weights(network(out=str(tmp_path)), Path("train.py"))
