"""How a script ends: with its result, or with one message on what is wrong and exit code 1."""

import logging
import re
import shlex
import sys
import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.errors import InstantiationException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from tavtorch.lab.contract import InputsError, check_settings
from tavtorch.lab.page import Section, write_overview
from tavtorch.lab.run import UntrainedError, plain, typed
from tavtorch.lab.task import Task

log = logging.getLogger(__name__)
_INTERVAL = 30.0  # seconds between two writings of the page of several runs


class ItemsError(ValueError):
    """Some items failed, or did not converge with `strict=true`; the others are done."""


class Sweep(Callback):
    """Several runs (`-m`): one page of all, which is also written in between, and an exit code that tells failures."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.last_written = time.monotonic()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            if isinstance(job_return._return_value, str):
                self.failed.append(config.name)
            if time.monotonic() - self.last_written > _INTERVAL:
                self._write_page(config)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        log.info("\nall runs: %s", self._write_page(config))
        if self.failed:
            sys.exit(f"failed: {', '.join(self.failed)}")

    def _write_page(self, config: DictConfig) -> Path:
        page = Path(config.hydra.sweep.dir, "report/index.html")
        write_overview(Path(config.hydra.sweep.dir), page)
        self.last_written = time.monotonic()
        return page


def check_items(task: Task, *, strict: bool = False) -> None:
    """Raise an `ItemsError` if items of a run failed or, with `strict`, did not converge."""
    if task.errors:
        raise ItemsError("passed over:\n  " + "\n  ".join(_grouped(task.errors)))
    if strict and task.not_converged:
        raise ItemsError(f"not converged: {', '.join(task.not_converged)}; raise task.op.stop.max_iter.")


def _grouped(errors: dict[str, str]) -> list[str]:
    """One line per error; items with the same one, such as a setting that no item can be processed with, share it."""
    names: dict[str, list[str]] = {}
    for name, message in errors.items():
        names.setdefault(message.removeprefix(f"{name}: "), []).append(name)
    return [f"{', '.join(some)}: {message}" if len(some) > 1 else errors[some[0]] for message, some in names.items()]


def without_traceback(main: Callable[[DictConfig], None]) -> Callable[[DictConfig], str | None]:
    """Bad input ends a script with one message and exit code 1; errors of the program itself keep their traceback.

    In one of several runs (`-m`) the message is on the page, and the other runs are done; see `Sweep`.
    """

    @wraps(main)
    def script(config: DictConfig) -> str | None:
        if HydraConfig.initialized():
            config.section.command = shlex.join(["python", f"{HydraConfig.get().job.name}.py", *typed()])
        try:
            main(config)
        except (ValueError, TypeError, InstantiationException) as error:
            message = _message(error, config)
            if message is None:
                raise
            log.debug("traceback", exc_info=True)
            if not (HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN):
                sys.exit(f"error: {message}")
            log.info("%s: %s", config.name, message)
            if not isinstance(error, ItemsError):
                Section(**plain(config.section), errors={config.name: message}).write(Path(config.out))
            return None if isinstance(error, UntrainedError) else message
        return None

    return script


def _message(error: Exception, config: DictConfig) -> str | None:
    """What a user is told of an error; None if it is an error of the program."""
    if isinstance(error, InputsError):
        choices = " or ".join(f"data={name}" for name, given in data_choices().items() if error.fits(given))
        return f"{error}; choose {choices}." if choices else f"{error}."
    if isinstance(error, InstantiationException):  # of Hydra: a setting could not be built
        cause = error.__cause__
        if isinstance(cause, TypeError):
            return _message_of_setting(str(error).rpartition("full_key: ")[2], cause, config)
        return str(cause) if isinstance(cause, ValueError) else None
    if isinstance(error, TypeError):
        settings = [word for word in typed() if re.match(r"\+*(task|data)\.", word)]
        return f"{' '.join(settings)}: {error}" if settings else None
    return str(error)


def _message_of_setting(path: str, error: TypeError, config: DictConfig) -> str:
    """Which of the settings under `path` are not those that its `_target_` takes."""
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
        parent = OmegaConf.select(config, ".".join(keys[:i])) if i else config
        if OmegaConf.is_interpolation(parent, key):
            reference = OmegaConf.to_container(parent, resolve=False)[key]  # type: ignore[call-overload,index]
            return ".".join([reference[2:-1], *keys[i + 1 :]])
    return path


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
