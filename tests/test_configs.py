"""Every configuration is bound to the signature that it names, so that a misspelt key fails here and not in a run."""

import inspect
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NODES = ["task", "data", "trainer", "callbacks", "logger", "media", "library", "section"]


def choices(group):
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


CHOICES = [
    (group, choice) for group in sorted(p.name for p in CONFIGS.iterdir() if p.is_dir()) for choice in choices(group)
]


def composed(script, *overrides):
    """The configuration of a script, with a value for all that only its user knows."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose(script, ["name=test", "out=runs/test", *overrides])
    for key in OmegaConf.missing_keys(config):
        OmegaConf.update(config, key, "given")
    return config


def bind(node, path):
    """Every `_target_` in a configuration takes the keys that stand beside it."""
    if isinstance(node, dict):
        if "_target_" in node:
            signature = inspect.signature(get_object(node["_target_"]))
            given = {key: value for key, value in node.items() if key[0] != "_"}
            try:
                (signature.bind_partial if node.get("_partial_") else signature.bind)(**given)
            except TypeError as error:
                pytest.fail(f"{path}: {node['_target_']}: {error}")
        for key, value in node.items():
            bind(value, f"{path}.{key}")


@pytest.mark.parametrize("script", ["train", "evaluate"])
@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_binds(script, group, choice):
    if script == "train" and choice in ("folder", "clips"):
        pytest.skip("a folder has no truth to train with")
    if group == "callbacks" and choice != {"train": "train", "evaluate": "evaluate"}[script]:
        pytest.skip("of the other script")
    needed = ["data=music"] if group == "conditions" else []
    config = composed(script, *needed, f"{group}={choice}")
    for node in NODES:
        if config.get(node) is not None:
            bind(OmegaConf.to_container(config[node], resolve=True), node)


def test_a_misspelt_key_fails():
    with pytest.raises(pytest.fail.Exception, match="dropuot"):
        bind({"op": {"_target_": "tavtorch.UNet", "dropuot": 0.2}}, "task")


@pytest.mark.parametrize("script", ["train", "evaluate"])
def test_what_a_script_builds_by_default(script):
    config = composed(script)
    for node in ("task", "data", "callbacks", "logger"):
        instantiate(config[node], _convert_="all")


@pytest.mark.parametrize("task", choices("task"))
def test_every_task_is_built_with_its_data(task, tmp_path):
    """The settings of its op are of the types that the op takes."""
    library = [f"library.url={tmp_path / 'library.sqlite'}"] if task in ("recognise", "fingerprint") else []
    config = composed("evaluate", f"task={task}", *library)
    for node in ("task", "data"):
        instantiate(config[node], _convert_="all")


@pytest.mark.parametrize("task", choices("task"))
def test_the_root_has_few_keys(task):
    assert len(composed("evaluate", f"task={task}")) <= 16


@pytest.mark.parametrize("metrics", choices("metrics"))
def test_metrics_are_the_score_of_the_task(metrics):
    config = composed("evaluate", "task=hpss", f"metrics={metrics}")
    assert "metrics" not in config and config.task.score._target_.startswith("tavtorch.lab.kinds.")


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_an_experiment_says_what_it_is(experiment):
    """In its file what it costs and scores; on the page what it shows of the report, what that saw, and what we get."""
    head = (CONFIGS / "experiment" / f"{experiment}.yaml").read_text().split("defaults:")[0]
    for word in ("Cost:", "Score:"):
        assert word in head
    section = composed("evaluate", f"experiment={experiment}", f"name={experiment}").section
    for key in ("title", "chapter", "about", "energy", "here"):
        assert section[key], key


def test_every_figure_of_the_report_has_an_experiment():
    figures = {
        figure
        for name in choices("experiment")
        for figure in composed("evaluate", f"experiment={name}").section.figures
    }
    assert figures == set(range(1, 28))


NOT_SCORED = ("folder", "clips", "pictures", "recordings", "stems")  # or not without what only a user knows


@pytest.mark.parametrize("data", [data for data in choices("data") if data not in NOT_SCORED])
def test_data_give_what_their_first_lines_say(data, tmp_path):
    """From these lines a run tells which data an op takes."""
    said = re.search(r"^# Gives (.+)\.$", (CONFIGS / "data" / f"{data}.yaml").read_text(), re.MULTILINE)[1]
    task = {"notes": "nmf", "loud_drums": "hpss", "music": "recognise", "band": "separate"}.get(data, "rof")
    few = {
        "music": ["data.generated=4", "data.unknown=1", "data.clips=1", f"library.url={tmp_path / 'library.sqlite'}"],
        "notes": ["data.dataset.songs.count=1"], "loud_drums": ["data.dataset.songs.count=1"],
        "hissing": ["data.count=1"], "band": ["data.generated=8"],
    }  # fmt: skip
    module = instantiate(composed("evaluate", f"task={task}", f"data={data}", *few.get(data, [])).data, _convert_="all")
    module.setup("test")
    assert list(next(iter(module.test_dataloader()))["inputs"]) == said.split(", ")
