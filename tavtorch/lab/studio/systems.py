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
from omegaconf import DictConfig
from torch import nn

import tavtorch
from tavtorch.lab.run import CONFIGS, plain

_NEAR = {"image hole": ("near_hole", 64), "image points": ("near_points", 32)}  # by what an op takes
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
    words = [f"task={task}", f"data={data}", "data.root=file", "run=predict", f"name={task}", f"out=runs/{task}"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("evaluate", [*words, *_WHOLE.get(task, ()), *overrides])


def experiment(name: str) -> dict[str, Any]:
    """The task of a published setting, and its settings by their paths."""
    if not (CONFIGS / "experiment" / f"{name}.yaml").is_file():
        raise ValueError(f"experiment: there is no {name!r}; see configs/experiment.")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("evaluate", [f"experiment={name}", "name=x", "out=runs/x"])
    target, op = config.task.op._target_, plain(config.task.op)
    task = next((one for one in system_names() if composed(one).task.op._target_ == target), None)
    if task is None:
        raise ValueError(f"experiment: no task has the op {target} of {name!r}.")
    known = {control["path"] for control in system(task)["controls"]}
    given = {f"task.op.{path}": value for path, value in _leaves(op)}
    return {"task": task, "settings": {path: value for path, value in given.items() if path in known}}


@cache
def system(name: str) -> dict[str, Any]:
    """What the page says of a task, and its controls."""
    config = composed(name)
    op = get_object(config.task.op._target_)
    near = _NEAR.get(" ".join(_inputs(op)))
    parts = [] if inspect.isclass(op) and issubclass(op, nn.Module) else [("task.op", config.task.op)]
    if inference := config.task.get("inference"):
        parts.append(("task.inference", inference))
    if (media := config.get("media")) and not (near and near[0] == "near_points"):  # points are set by hand
        parts.append(("media", media))
    controls = [control for path, node in parts for control in _controls(plain(node), path)]
    if near:
        controls.append(_near_control(*near))
    tab = _TABS.get(config.task.save._target_.rpartition(".")[2], "restore")
    return {
        "name": name,
        "tab": "remove" if near and near[0] == "near_hole" else tab,
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


def _leaves(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{key}.")
        elif key[0] != "_":
            yield f"{path}{key}", value
