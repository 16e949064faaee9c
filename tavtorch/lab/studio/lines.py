"""Settings as words for Hydra, and the lines that do what the page does."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tavtorch.lab.contract import nearest
from tavtorch.lab.run import plain
from tavtorch.lab.studio.systems import composed, ops, system, written


def overrides(task: str, settings: Mapping[str, Any], preset: Sequence[str] = ()) -> list[str]:
    """The settings that differ from those of the task, as words for Hydra.

    Args:
        preset: words of a published setting, which `settings` are changes of.

    Raises:
        ValueError: a setting is none that the page of the task offers, or its value none that it can have.
    """
    words = [*preset]
    controls = {control["path"]: control for control in system(task, *preset)["controls"]}
    for control in [*controls.values()]:
        chosen = settings.get(control["path"], control["value"])
        if control["kind"] == "system" and chosen in control["alternatives"]:
            controls |= {one["path"]: one | {"given": None} for one in control["alternatives"][chosen]}
            words += _other(composed(task, *preset), control, chosen)
    for path, value in settings.items():
        if path not in controls:
            raise ValueError(f"{path}: {task} has no such setting; {nearest(path, [*controls])}")
        control = controls[path]
        _check(control, value)
        if value == control["value"] or control["kind"] == "system" or ".near_" in path:
            continue
        mark = {True: "", False: "+", None: "++"}[control["given"]]  # of another op: there or not
        for word in [word for word in words if word.lstrip("+").startswith(f"{path}=")]:  # which this one changes
            words.remove(word)
            mark = word[: word.index(path)]
        words.append(f"{mark}{path}={written(value)}")
    return words + _near(controls, settings)


def command(task: str, words: Sequence[str], files: str, more: Sequence[str] = ()) -> str:
    """The command line."""
    return shlex.join(["python", "evaluate.py", f"task={task}", f"files={files}", *more, *words])


def python(config: DictConfig, name: str, read: str) -> str:
    """Lines of Python that call the op with the settings of a configuration.

    Args:
        name: of the file.
        read: what the op is called with: "image", "image hole", "image points", "wave" or "stream".
    """
    op, parts = plain(config.task)["op"], read.split()
    first = {"image": f"image = read_picture({name!r}).image[None]", "wave": f"wave, rate = read_audio({name!r})"}
    given = {
        "image": ["image"],
        "wave": ["wave[None]", "rate"],
    }[parts[0]]
    reader = {"image": "read_mask, read_picture" if "hole" in parts else "read_picture", "wave": "read_audio"}[parts[0]]
    lines = [f"from tavtorch.lab.data.files import {reader}", first[parts[0]]]
    if "hole" in parts:
        lines.append('hole = read_mask("hole.png")[None]')
    if "points" in parts:
        lines.append(f'points = torch.from_numpy(numpy.loadtxt("start.csv", numpy.float32, delimiter=",", skiprows=1))'
                     f".reshape(1, -1, {config.media.n}, 2)")  # fmt: skip
    given += parts[1:]
    imports = ["import tavtorch"] if "points" not in parts else ["import numpy, torch, tavtorch"]
    if "library" in op:
        op |= {"_target_": "tavtorch.recognise", "library": {"_target_": "tavtorch.Library", "url": "library.sqlite"}}
    called, inference = _call(op, given), plain(config.task).get("inference")
    if inference and ".near." in inference["_target_"]:
        lines.insert(0, f"from tavtorch.lab.kinds.near import {inference['_target_'].rpartition('.')[2]}")
        imports.insert(0, "from functools import partial")
        model = f"partial({', '.join([_name(op['_target_']), *arguments(op)])})"
        called = f"{_name(inference['_target_'])}({', '.join([*given, f'model={model}', *arguments(inference)])})"
    elif inference:
        lines += _network(config, op)
        called = _call(inference, [*given, "model=model"])
    if "partial(" in called and "from functools import partial" not in imports:
        imports.insert(0, "from functools import partial")
    if "torch.load" in "".join(lines):
        imports[-1] = "import torch, tavtorch"
    return "\n".join([*imports, *lines, f"found = {called}"])


def _network(config: DictConfig, op: Mapping[str, Any]) -> list[str]:
    if op["_target_"].endswith(".pretrained"):  # its file has the settings
        return [f"model = {op['_target_']}()"]
    made = _call({key: value for key, value in op.items() if key != "_partial_"}, [])
    if config.ckpt is None:
        return [f"model = {made}"]
    load = f"torch.load({str(config.ckpt)!r}, weights_only=True)"
    return [
        f"model = {made}",
        f"weights = {load}['state_dict'].items()",
        "model.load_state_dict({name[3:]: value for name, value in weights if name.startswith('op.')})",
    ]


def _other(config: DictConfig, control: Mapping[str, Any], chosen: str) -> list[str]:
    """An op in place of that of the configuration, with the settings of its own task."""
    if chosen == control["value"]:
        return []
    path = control["path"]
    gone = [key for key in OmegaConf.select(config, path) if key[0] != "_"]
    new = [f"+{path}.{key}={written(value)}" for key, value in plain(ops()[chosen][1]).items() if key[0] != "_"]
    kept = {word[1:].partition("=")[0] for word in new}
    return [
        f"{path}._target_={chosen}",
        *(f"~{path}.{key}" for key in gone if f"{path}.{key}" not in kept),
        *(f"+{word}" for word in new),
    ]


def _near(controls: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """The op on a part of the picture."""
    for path, control in controls.items():
        if ".near_" in path and (around := settings.get(path, control["value"])):
            target = f"tavtorch.lab.kinds.near.{path.rpartition('.')[2]}"
            return [f"+task.inference={{_target_:{target},_partial_:true,around:{around}}}"]
    return []


def _check(control: Mapping[str, Any], value: Any) -> None:
    """Raise unless a setting can have a value."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    fits = {
        "number": number or value in control.get("choices", ()) or value is control["value"],
        "whole": number and value == int(value),
        "switch": isinstance(value, bool),
        "choice": value in control.get("choices", ()),
        "system": value in control.get("alternatives", ()),
    }[control["kind"]]
    if not fits:
        words = ["a number", *control["choices"]] if control["kind"] in ("number", "whole") else ["one of the choices"]
        raise ValueError(f"{control['path']}: expected {' or '.join(words)}, got {value!r}.")


def _call(node: Mapping[str, Any], given: Sequence[str]) -> str:
    return f"{_name(node['_target_'])}({', '.join([*given, *arguments(node)])})"


def arguments(node: Mapping[str, Any]) -> list[str]:
    """The settings of a node as arguments of a call in Python."""
    return [f"{key}={_value(value)}" for key, value in node.items() if key[0] != "_"]


def _value(value: Any) -> str:
    if isinstance(value, dict) and value.get("_partial_"):
        return f"partial({', '.join([_name(value['_target_']), *arguments(value)])})"
    return _call(value, []) if isinstance(value, dict) and "_target_" in value else repr(value)


def _name(target: str) -> str:
    return target.rpartition(".")[2] if ".near." in target else target


def configured(task: str, words: Sequence[str], **places: Path | None) -> DictConfig:
    """The configuration with settings, and with the places of files that the visitor gave."""
    config = composed(task, *words)
    for key, place in places.items():
        if place is not None:
            config.media[key] = str(place)
    return config
