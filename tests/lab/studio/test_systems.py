"""The page of a task follows from its configuration, its signature and its docstring."""

import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tavtorch.lab.run import CONFIGS, plain
from tavtorch.lab.studio import systems
from tavtorch.lab.studio.lines import command, configured, overrides, python

EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))
FILMS = [name for name in EXPERIMENTS if "in_studio: false" in (CONFIGS / f"experiment/{name}.yaml").read_text()]


def controls(name):
    return {control["path"]: control for control in systems.system(name)["controls"]}


def test_every_task_has_a_page():
    tabs = {name: systems.system(name)["tab"] for name in systems.system_names()}
    assert tabs["rof"] == tabs["enhance"] == "restore" and tabs["inpaint_tv"] == "remove"
    assert tabs["segment"] == "contour" and tabs["split_l1"] == "split" and tabs["nmf"] == "separate"
    assert tabs["recognise"] == "recognise" and tabs["gvf_force"] == "force"


def test_numbers_choices_and_switches():
    rof, separate = controls("rof"), controls("separate")
    assert rof["task.op.weight"]["kind"] == "number" and rof["task.op.weight"]["choices"] == ["sure"]
    assert "more is smoother" in rof["task.op.weight"]["words"] and rof["task.op.weight"]["value"] == 0.08
    assert rof["task.op.coupling"]["choices"] == ["joint", "separate", "none"]
    assert rof["task.op.stop.max_iter"]["kind"] == "whole"
    assert separate["task.inference.sum_to_mixture"]["kind"] == "switch"
    assert not any(path.startswith("task.op") for path in separate)  # which its weights decide
    assert controls("inpaint_patches")["task.op.method"]["choices"][:2] == ["random", "priority"]


def test_words_stand_where_they_are_explained_once():
    assert "more bends less" in controls("segment")["task.op.rigidity"]["words"]


def test_no_path_can_be_set():
    paths = [path for name in systems.system_names() for path in controls(name)]
    assert not any(path.endswith(("root", "holes", "start", "url", "suffix", "ckpt")) for path in paths)


def test_what_is_set_by_hand_is_no_number():
    for name in ("inpaint_tv", "inpaint_patches", "segment"):
        assert not {"media.color", "media.tolerance", "media.radius"} & {*controls(name)}
    assert "media.grow" in controls("inpaint_tv")


def test_an_op_within_an_op_is_a_choice():
    force = controls("segment")["task.op.force"]
    assert set(force["alternatives"]) == {"tavtorch.gvf_force", "tavtorch.gaussian_force", "tavtorch.kass_force"}
    words = overrides("segment", {"task.op.force": "tavtorch.gaussian_force", "task.op.force.sigma": 2.0})
    force = configured("segment", words).task.op.force
    assert force == {"_target_": "tavtorch.gaussian_force", "_partial_": True, "sigma": 2.0}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, []),
        ({"task.op.weight": 0.08}, []),
        ({"task.op.weight": 0.2, "task.op.coupling": "separate"}, ["task.op.weight=0.2", "task.op.coupling=separate"]),
        ({"task.op.stop.every": 5}, ["+task.op.stop.every=5"]),
        ({"task.op.weight": "sure"}, ["task.op.weight=sure"]),
    ],
)
def test_settings_are_words_for_hydra(settings, words):
    assert overrides("rof", settings) == words
    configured("rof", words)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task.op.wieght": 1.0}, "did you mean `task.op.weight`"),
        ({"task.op.weight": "much"}, "expected a number or sure, got 'much'"),
        ({"task.op.weight": float("inf")}, "expected a number"),
        ({"task.op.weight": True}, "expected a number"),
        ({"task.op.coupling": "some"}, "expected one of the choices"),
    ],
)
def test_other_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        overrides("rof", settings)


def test_the_lines_run():
    words = overrides("rof", {"task.op.weight": 0.2})
    assert command("rof", words, "a b.png") == "python evaluate.py task=rof 'files=a b.png' task.op.weight=0.2"
    for task, read in {
        "rof": "image",
        "inpaint_patches": "image hole",
        "segment": "image points",
        "hpss": "wave",
    }.items():
        compile(python(configured(task, overrides(task, {})), "a 'b'.png", read), task, "exec")


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in FILMS])
def test_a_page_of_an_experiment_has_all_of_its_settings(name):
    task, words, _ = systems.preset(name)
    page = systems.experiment(name)
    assert page["name"] == task and page["experiment"] == name and page["tab"]
    near = {path: 0 for path in controls(task) if ".near_" in path}  # the whole picture, as the experiment has it
    found = configured(task, overrides(task, near, words))
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        wanted = compose("evaluate", [f"experiment={name}", "name=x", "out=x"])
    reads_files = {"library", "_target_"} if task == "recognise" else set()  # which a folder of clips decides
    for part in ("op", "inference"):
        one, other = (plain(config.task.get(part, DictConfig({}))) for config in (found, wanted))
        assert {key: one[key] for key in {*one} - reads_files} == {key: other[key] for key in {*other} - reads_files}
    assert found.get("media") == wanted.get("media") or task == "separate"  # as a whole, since all of it is shown


def test_settings_are_changes_of_those_of_an_experiment():
    task, words, _ = systems.preset("denoise_rgb")
    assert overrides(task, {"task.op.weight": 0.12}, words) == ["task.op.weight=0.12"]
    assert overrides(task, {"task.op.weight": 0.3, "task.op.coupling": "separate"}, words) == [
        "task.op.weight=0.3", "task.op.coupling=separate",
    ]  # fmt: skip


def test_a_setting_that_an_experiment_adds_can_be_changed():
    task, words, _ = systems.preset("fourier_bands")
    assert overrides(task, {"task.op.width": 5.0}, words) == ["task.op.cutoff=0.71", "+task.op.width=5.0"]
    assert configured(task, overrides(task, {"task.op.width": 5.0}, words)).task.op.width == 5.0


def test_experiments_without_a_page():
    with pytest.raises(ValueError, match="experiment: there is no '../x'"):
        systems.experiment("../x")
    for name in FILMS:
        with pytest.raises(ValueError, match=f"python evaluate.py experiment={name} does"):
            systems.experiment(name)


def test_without_its_packages_it_says_what_to_do():
    script = "import sys; sys.modules['uvicorn'] = None; from tavtorch.lab.studio.__main__ import main; main([])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 1 and "pip install 'tavtorch[studio]'" in ran.stderr
