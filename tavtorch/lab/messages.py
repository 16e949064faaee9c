"""What a person is told of an error: the setting that is at fault, what was expected, and what to do; in one line."""

import difflib
import re
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from tavtorch.lab.run import plain, typed

_BUILT = ("trainer", "logger", "callbacks")  # of other packages, whose errors are of many classes


def message_of(error: BaseException, config: DictConfig | None = None) -> str | None:
    """What a user is told of an error of a run of `config`; None if it is an error of the program."""
    from tavtorch.lab.contract import InputsError

    if isinstance(error, InputsError):
        choices = " or ".join(f"data={name}" for name, given in data_choices().items() if error.fits(given))
        return f"{error}; choose {choices}." if choices else f"{error}."
    if isinstance(error, InstantiationException):  # of Hydra: a setting could not be built
        path, cause = str(error).rpartition("full_key: ")[2], error.__cause__
        if isinstance(cause, OmegaConfBaseException):
            return message_of_typing(cause)
        if isinstance(cause, TypeError) and config is not None:
            return _message_of_setting(path, cause, config)
        if path.split(".")[0] in _BUILT and isinstance(cause, Exception):
            return f"{path}: {cause}"
        return str(cause) if isinstance(cause, ValueError) else None
    if isinstance(error, OmegaConfBaseException):
        return message_of_typing(error)
    if isinstance(error, TypeError):
        settings = [word for word in typed() if re.match(r"\+*(task|data)\.", word)]
        return f"{' '.join(settings)}: {error}" if settings else None
    if isinstance(error, RuntimeError) and re.search("gloo|NCCL", str(error)):
        return "another process of this run ended, so that this one cannot go on; it says why."
    if isinstance(error, OSError) and error.strerror:  # of the machine: a full disk, a folder that may not be written
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) if isinstance(error, ValueError) else None


def message_of_typing(error: HydraException | OmegaConfBaseException) -> str:
    """What a user is told of an error in what was typed, which no configuration can be made of."""
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override}: {_first_line(error)}; a text with special characters stands in quotes, within those "
            "of the shell: \"key='a, b = c'\"."
        )
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return f"{group or 'config'}: there is no {choice}{_offer(choice, error.options or ())}"
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key}: has no value yet; say {cause.full_key}=..."
    if isinstance(cause, InterpolationKeyError):
        return (
            f"{cause.full_key}: {_first_line(cause)}; the task and the data do not go together, choose another data=..."
        )
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
        known = [str(key) for key in cause.parent_node or ()]
        known += [] if "." in cause.full_key else ["files", "experiment"]  # words of no setting: see `command`
        return f"{cause.full_key}: there is no such setting{_offer(str(cause.key), known)}"
    return _first_line(error)


def data_choices() -> dict[str, set[str]]:
    """The data of `configs/data` that are scored, by name, with the inputs that their first lines say they give."""
    if not HydraConfig.initialized():
        return {}
    folders = [Path(source.path, "data") for source in HydraConfig.get().runtime.config_sources if source.path]
    heads = {
        path.stem: path.read_text(encoding="utf-8") for folder in folders for path in sorted(folder.glob("*.yaml"))
    }
    gives = {name: re.search(r"^# Gives (.+?)\.$", head, re.MULTILINE) for name, head in heads.items()}
    return {name: set(found[1].split(", ")) for name, found in gives.items() if found}


def _message_of_setting(path: str, error: TypeError, config: DictConfig) -> str:
    """Which of the settings under `path` are not those that its `_target_` takes."""
    from tavtorch.lab.contract import check_settings

    path = _original(path, config)
    settings = {key: value for key, value in plain(OmegaConf.select(config, path)).items() if key[0] != "_"}
    try:
        check_settings(partial(get_object(OmegaConf.select(config, path)._target_), **settings), path)
    except ValueError as found:
        return str(found)
    return f"{path}: {error}"


def _original(path: str, config: DictConfig) -> str:
    """The path of what is built at `path`, if it is a reference such as `${task.op}`: that is what a user sets."""
    keys = path.split(".")
    for i, key in enumerate(keys):
        parent: Any = OmegaConf.select(config, ".".join(keys[:i])) if i else config
        if OmegaConf.is_interpolation(parent, key):
            reference = cast(dict[str, str], OmegaConf.to_container(parent, resolve=False))[key]
            return ".".join([reference[2:-1], *keys[i + 1 :]])
    return path


def _offer(word: str, known: Collection[str]) -> str:
    """The end of a sentence about a word that is not known."""
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; choose one of {', '.join(sorted(known))}." if known else "."


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
