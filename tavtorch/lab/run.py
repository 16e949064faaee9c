"""What train.py and evaluate.py share: a configuration becomes a trainer, a task and its data; errors are told."""

import functools
import inspect
import logging
import re
import shlex
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.errors import InstantiationException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from tavtorch.lab.contract import InputsError
from tavtorch.lab.page import Section, write_overview
from tavtorch.lab.task import Task

log = logging.getLogger(__name__)
_INTERVAL = 30.0  # seconds between two writings of the page of several runs
_EVALUATE_ONLY = ("run", "overwrite", "strict", "train_for")  # settings that train.py does not have


def assemble(config: DictConfig) -> tuple[L.Trainer, Task, L.LightningDataModule]:
    """Build what a configuration names, seeded."""
    _quieten()
    L.seed_everything(config.seed, verbose=False)
    task, data, callbacks, loggers = (
        instantiate(config[key], _convert_="all") for key in ("task", "data", "callbacks", "logger")
    )
    task.made_by = _plain(config.task.op)
    plugins = {"callbacks": list(callbacks.values()), "logger": list(loggers.values())}
    trainer = instantiate(config.trainer, precision=precision(config.trainer.precision), **plugins)
    return trainer, task, data


def checkpoint(config: DictConfig) -> str | None:
    """Path of the checkpoint that a run starts from; `last` is the last one of this run."""
    if config.ckpt is None:
        return None
    path = Path(config.out, "checkpoints/last.ckpt") if config.ckpt == "last" else Path(config.ckpt)
    if config.ckpt == "last" and not path.exists():
        log.info("%s: nothing to go on with yet; starting afresh.", path)
        return None
    if not path.is_file():
        raise ValueError(f"ckpt: {path} does not exist; train one with train.py, or give the path of a checkpoint.")
    try:
        made_by = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["made_by"]
    except Exception as error:  # torch.load fails in many ways on a file that is no checkpoint
        raise ValueError(
            f"ckpt: {path} is no checkpoint of tavtorch, or it is damaged; train one with train.py."
        ) from error
    wanted = _plain(config.task.op)
    other = {key: made_by.get(key) for key in wanted.keys() | made_by.keys() if wanted.get(key) != made_by.get(key)}
    if other:
        overrides = " ".join(f"task.op.{key}={value}" for key, value in sorted(other.items())).replace("'", "")
        raise ValueError(f"ckpt: {path} is of another network; add: {overrides}")
    return str(path)


def weights(config: DictConfig, script: Path) -> str | None:
    """Path of the checkpoint that is scored: `ckpt`, or else the best one of a training with the same name.

    Args:
        script: train.py, which is run first if there is none and `train_for` is set.
    """
    if config.ckpt is None and _is_network(config):
        own = Path(config.out, "checkpoints/best.ckpt")
        if not own.is_file() and config.train_for:
            log.info("%s: not trained yet; training it for %s", config.name, config.train_for)
            same = [word for word in _typed() if word.partition("=")[0] not in _EVALUATE_ONLY]
            here = [f"hydra.run.dir={config.out}", f"trainer.max_time={config.train_for}"]
            unscored = "+trainer.limit_test_batches=0"  # that comes next
            subprocess.run([sys.executable, str(script), *same, *here, unscored], check=True)
        if not own.is_file():
            training = shlex.join(["python", "train.py", *_typed()])
            raise UntrainedError(
                f"ckpt: the network {config.name} is not trained yet; {training} does that, or give ckpt=..."
            )
        config.ckpt = str(own)
    return checkpoint(config)


class UntrainedError(ValueError):
    """A network without training is not worth a score."""


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
        raise ItemsError("passed over:\n  " + "\n  ".join(task.errors.values()))
    if strict and task.not_converged:
        raise ItemsError(f"not converged: {', '.join(task.not_converged)}; raise task.op.stop.max_iter.")


def without_traceback(main: Callable[[DictConfig], None]) -> Callable[[DictConfig], str | None]:
    """Bad input ends a script with one message and exit code 1; errors of the program itself keep their traceback.

    In one of several runs (`-m`) the message is on the page, and the other runs are done; see `Sweep`.
    """

    @functools.wraps(main)
    def script(config: DictConfig) -> str | None:
        if HydraConfig.initialized():
            config.section.command = shlex.join(["python", f"{HydraConfig.get().job.name}.py", *_typed()])
        try:
            main(config)
        except (ValueError, TypeError, InstantiationException) as error:
            message = _message(error)
            if message is None:
                raise
            log.debug("traceback", exc_info=True)
            if not (HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN):
                sys.exit(f"error: {message}")
            log.info("%s: %s", config.name, message)
            if not isinstance(error, ItemsError):
                Section(**_plain(config.section), errors={config.name: message}).write(Path(config.out))
            return None if isinstance(error, UntrainedError) else message
        return None

    return script


def _message(error: Exception) -> str | None:
    """What a user is told of an error; None if it is an error of the program."""
    if isinstance(error, InputsError):
        choices = " or ".join(f"data={name}" for name, given in data_choices().items() if error.fits(given))
        return f"{error}; choose {choices}." if choices else f"{error}."
    if isinstance(error, InstantiationException):  # of Hydra: a setting could not be built
        cause = error.__cause__
        if isinstance(cause, TypeError):
            return f"{str(error).rpartition('full_key: ')[2]}: {cause}"
        return str(cause) if isinstance(cause, ValueError) else None
    if isinstance(error, TypeError):
        settings = [word for word in _typed() if re.match(r"\+*(task|data)\.", word)]
        return f"{' '.join(settings)}: {error}" if settings else None
    return str(error)


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


def precision(wanted: str) -> str:
    """`auto` is bfloat16 if the hardware multiplies in it, else float32, which is then faster."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported()
    else:
        known: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)  # of newer versions of torch
        fast = bool(known().get("avx512_bf16"))
    return "bf16-mixed" if fast else "32-true"


def _is_network(config: DictConfig) -> bool:
    op = get_object(config.task.op._target_)
    return inspect.isclass(op) and issubclass(op, nn.Module)


def _typed() -> list[str]:
    """The settings that the user typed."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def _plain(config: DictConfig) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_object(config))


def _quieten() -> None:
    """Hide what Lightning tells developers, which is of no use to users of a script."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers",
        ".*smaller than the logging interval",
        ".*exists and is not empty",
        ".*predict returned None",
        "Be aware",
    ):
        warnings.filterwarnings("ignore", message)
    warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
