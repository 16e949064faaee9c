"""What a page offers for a task: its controls follow from its configuration, its signature and its docstring."""

import copy
import inspect
import re
import typing
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from torch import nn

import tavtorch
from tavtorch.lab.run import CONFIGS, plain

_NEAR = {"image hole": "near_hole", "image points": "near_points"}  # by what an op takes
_AROUND = {"write_filled": 64, "write_contours": 32}  # pixels: for sources of copies, and for a force
_RIM = 8  # pixels: nothing but the rim of a hole counts where it is filled smoothly
_BY_HAND = ("media.tolerance",)  # what a colour is picked with
_WHOLE = {"separate": ["media=recording"]}  # read as a whole, since all of it is shown
_TABS = {  # by what a result is
    "write_image": "restore",
    "write_parts": "split",
    "write_contours": "contour",
    "write_stems": "separate",
    "write_components": "separate",
    "write_wave": "separate",
    "write_answers": "recognise",
    "write_song": "library",
    "write_field": "force",
}


def system_names() -> list[str]:
    """All tasks."""
    return sorted(path.stem for path in (CONFIGS / "task").glob("*.yaml"))


def composed(task: str, *overrides: str) -> DictConfig:
    """The configuration of `evaluate.py task=... files=...`, without the file."""
    return copy.deepcopy(_composed(task, overrides))


@lru_cache(64)
def _composed(task: str, overrides: tuple[str, ...]) -> DictConfig:
    data = {"fingerprint": "music", "recognise": "clips"}.get(task, "folder")
    words = [f"task={task}", f"data={data}", "data.root=file", "run=predict", f"name={task}", "out=runs/${name}"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("evaluate", [*words, *_WHOLE.get(task, ()), *overrides])


def experiment(name: str) -> dict[str, Any]:
    """The page of a published setting: that of its task, which begins with its settings."""
    task, words, about = preset(name)
    return system(task, *words) | {"experiment": name, "title": about.title, "about": about.here or about.about}


@cache
def preset(name: str) -> tuple[str, tuple[str, ...], DictConfig]:
    """The task of a published setting, its other settings as words for Hydra, and what its section says.

    Raises:
        ValueError: it is unknown, or works on what a page does not take, such as films.
    """
    if not (CONFIGS / "experiment" / f"{name}.yaml").is_file():
        raise ValueError(f"experiment: there is no {name!r}; see configs/experiment.")
    config = _scored(f"experiment={name}")
    task = str(config.hydra.runtime.choices.task)
    usual, words = _scored(f"task={task}"), list[str]()
    for path in ("task.op", "task.inference", "media"):
        before, after = (OmegaConf.select(one, path, default=DictConfig({})) for one in (usual, config))
        if path != "task.inference" and before.get("_target_") != after.get("_target_"):
            raise ValueError(f"{name}: no page takes what it works on; python evaluate.py experiment={name} does.")
        old, new = ({key: value for key, value in plain(one).items() if key != "library"} for one in (before, after))
        words += difference(path, old, new)
    if is_network(config) and name != task:
        words.append(f"name={name}")  # whose training is in the folder of this name
    return task, tuple(words), config.section


def _scored(word: str) -> DictConfig:
    """A configuration without files."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("evaluate", [word, "name=x", "out=runs/x"], return_hydra_config=True)


def is_network(config: DictConfig) -> bool:
    """Whether the op has weights."""
    op = get_object(config.task.op._target_)
    return isinstance(op, type) and issubclass(op, nn.Module)


def difference(path: str, before: Any, after: Any) -> list[str]:
    """Words for Hydra that turn one value of a setting into another."""
    if before == after:
        return []
    if not isinstance(after, dict):
        return [f"{path}={written(after)}"]
    if not isinstance(before, dict) or before.get("_target_") != after.get("_target_"):
        return [f"~{path}", f"+{path}={written(after)}"]
    words = [f"~{path}.{key}" for key in before if key not in after]
    for key, value in after.items():
        place, new = f"{path}.{key}", key not in before
        words += [f"+{place}={written(value)}"] if new else difference(place, before[key], value)
    return words


def written(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


@cache
def system(name: str, *words: str) -> dict[str, Any]:
    """What the page says of a task, and its controls, whose values are those of the task with other settings."""
    config = composed(name, *words)
    kind = config.task.save._target_.rpartition(".")[2]
    near = _NEAR.get(" ".join(_inputs(get_object(config.task.op._target_))))
    parts = [] if is_network(config) else [("task.op", config.task.op)]
    if inference := config.task.get("inference"):
        parts.append(("task.inference", inference))
    if (media := config.get("media")) and near != "near_points":  # points are set by hand
        parts.append(("media", media))
    controls = [one for path, node in parts for one in _controls(plain(node), path) if one["path"] not in _BY_HAND]
    if near:
        controls.append(_near_control(near, _AROUND.get(kind, _RIM)))
    return {
        "name": name,
        "tab": "remove" if near == "near_hole" else _TABS.get(kind, "restore"),
        "title": config.section.title or name,
        "about": config.section.about,
        "energy": config.section.energy,
        "controls": controls,
    }


def _controls(node: dict[str, Any], path: str) -> Iterator[dict[str, Any]]:
    """A control for each setting that a person may choose: numbers, choices and switches."""
    function = get_object(node["_target_"])
    words, hints = _words(function), _hints(function)
    for parameter in inspect.signature(function).parameters.values():
        name, given = parameter.name, parameter.name in node
        value = node[name] if given else parameter.default
        place = f"{path}.{name}"
        base = {"path": place, "label": name.replace("_", " "), "words": words.get(name, ""), "given": given}
        if isinstance(value, dict) and "_target_" in value:
            if others := _alternatives(value["_target_"], place):
                own = {value["_target_"]: [*_controls(value, place)]}
                yield base | {"kind": "system", "value": value["_target_"], "alternatives": others | own}
            elif value.get("_partial_") or not inspect.isfunction(get_object(value["_target_"])):  # not a library
                yield from _controls(value, place)
        elif value is not parameter.empty and (kind := _kind(value, hints.get(name), name, function)):
            yield base | kind | {"value": value}


def _kind(value: Any, hint: Any, name: str, function: Callable[..., Any]) -> dict[str, Any] | None:
    """How a setting is chosen; None if a page cannot offer it, such as a path."""
    choices = _choices(hint) or (_named(function) if isinstance(value, str) else [])
    if isinstance(value, bool):
        return {"kind": "switch"}
    if isinstance(value, int):
        return {"kind": "whole", "choices": []}
    if isinstance(value, float) or (value is None and float in typing.get_args(hint)):
        return {"kind": "number", "choices": choices}
    return {"kind": "choice", "choices": choices} if value in choices else None


def _choices(hint: Any) -> list[str]:
    """The texts that a type names."""
    parts = [hint, *typing.get_args(hint)]
    found = [option for part in parts if typing.get_origin(part) is typing.Literal for option in typing.get_args(part)]
    return list(dict.fromkeys(option for option in found if isinstance(option, str)))


def _named(function: Callable[..., Any]) -> list[str]:
    """The choices that a docstring lists: lines that begin with - `"name"`."""
    return re.findall(r'^\s*- `"(\w+)"`', inspect.getdoc(function) or "", re.MULTILINE)


@cache
def ops() -> dict[str, tuple[str, DictConfig]]:
    """By target of a task's op: the writer of its results, and the op's configuration."""
    tasks = {name: composed(name).task for name in system_names()}
    return {task.op._target_: (task.save._target_, task.op) for task in tasks.values()}


def _alternatives(target: str, path: str) -> dict[str, list[dict[str, Any]]] | None:
    """Other ops whose results are of the same kind, with their controls; None if `target` is no task's op."""
    known = ops()
    if target not in known:
        return None
    alike = {name: op for name, (saver, op) in known.items() if saver == known[target][0]}
    return {name: [*_controls(plain(op), path)] for name, op in alike.items()}


def _near_control(function: str, around: int) -> dict[str, Any]:
    words = "pixels about what is marked that the op is given; 0 gives it the whole picture, which takes longer."
    return {
        "path": f"task.inference.{function}", "label": "around", "words": words, "given": True,
        "kind": "whole", "choices": [], "value": around,
    }  # fmt: skip


def _inputs(op: Callable[..., Any]) -> list[str]:
    return [name for name, one in inspect.signature(op).parameters.items() if one.default is one.empty]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except NameError:
        return {}


def _words(function: Callable[..., Any]) -> dict[str, str]:
    """What a docstring says of each argument."""
    text = (inspect.getdoc(function) or "").partition("Args:\n")[2]
    section = re.split(r"^\S", text, maxsplit=1, flags=re.MULTILINE)[0]
    found: dict[str, str] = {}
    for names, words in re.findall(r"^    (\w[\w, ]*): (.*(?:\n     .*|\n)*)", section, re.MULTILINE):
        words = " ".join(words.split()).removeprefix("see above.")  # where the choices are explained
        for name in names.split(", "):
            found[name] = _words_elsewhere(function, words, name) or words
    return found


def _words_elsewhere(function: Callable[..., Any], words: str, name: str) -> str:
    """What another docstring says where this one says "see `evolve`."."""
    if see := re.match(r"see `(\w+)(?:\.(\w+))?`", words):
        other = getattr(tavtorch, see[1], None) or vars(inspect.getmodule(function)).get(see[1])
        other = getattr(other, see[2]) if see[2] else other
        return _words(other).get(name, "") if callable(other) and other is not function else ""
    return ""
