"""What train.py and evaluate.py share: a configuration becomes a trainer, a task and its data."""

import functools
import inspect
import logging
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

from tavtorch.lab.page import Section, gather
from tavtorch.lab.task import Task

log = logging.getLogger(__name__)
_PATIENCE = 30.0  # seconds after which a page that grows is written anew
_EVALUATING = ("run", "overwrite", "train_for")  # settings that train.py does not have


def assemble(config: DictConfig) -> tuple[L.Trainer, Task, L.LightningDataModule]:
    """Build what a configuration names, seeded."""
    _quieten()
    L.seed_everything(config.seed, verbose=False)
    task, data, callbacks, loggers = (
        instantiate(config[key], _convert_="all") for key in ("task", "data", "callbacks", "logger")
    )
    task.made_by = _plain(config.task.op)
    plugged = {"callbacks": list(callbacks.values()), "logger": list(loggers.values())}
    trainer = instantiate(config.trainer, precision=precision(config.trainer.precision), **plugged)
    return trainer, task, data


def checkpoint(config: DictConfig) -> str | None:
    """Path of the checkpoint that a run starts from; `last` is where this run was stopped."""
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
    """Path of the checkpoint that is scored: the one asked for, or else the one that training under this name left.

    Args:
        script: train.py, which is run first where there is none and `train_for` gives it time.
    """
    if config.ckpt is None and _is_network(config):
        own = Path(config.out, "checkpoints/best.ckpt")
        if not own.is_file() and config.train_for:
            log.info("%s: not trained yet; training it for %s", config.name, config.train_for)
            same = [word for word in _typed() if word.partition("=")[0] not in _EVALUATING]
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
    """A network that has learned nothing is not worth a score."""


class PassedOverError(ValueError):
    """Some items could not be read; the others are done."""


class Sweep(Callback):
    """Several runs (`-m`): one page of all, which grows meanwhile, and an exit code that tells of failures."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.gathered = time.monotonic()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            if isinstance(job_return._return_value, str):
                self.failed.append(config.name)
            if time.monotonic() - self.gathered > _PATIENCE:
                self._gather(config)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        log.info("\nall runs: %s", self._gather(config))
        if self.failed:
            sys.exit(f"failed: {', '.join(self.failed)}")

    def _gather(self, config: DictConfig) -> Path:
        page = Path(config.hydra.sweep.dir, "report/index.html")
        gather(Path(config.hydra.sweep.dir), page)
        self.gathered = time.monotonic()
        return page


def own_up(task: Task) -> None:
    """End with an error where items had to be passed over; the others are done."""
    if task.errors:
        raise PassedOverError("passed over:\n  " + "\n  ".join(task.errors.values()))


def plainly(main: Callable[[DictConfig], None]) -> Callable[[DictConfig], str | None]:
    """Bad input ends a script with its message rather than a traceback, and exit code 1.

    Where it is one of several runs (`-m`) the message stands on the page, and the others are done; see `Sweep`.
    """

    @functools.wraps(main)
    def plain(config: DictConfig) -> str | None:
        if HydraConfig.initialized():
            config.command = shlex.join(["python", f"{HydraConfig.get().job.name}.py", *_typed()])
        try:
            main(config)
        except (ValueError, InstantiationException) as error:
            cause = error.__cause__ if isinstance(error, InstantiationException) else error
            if not isinstance(cause, ValueError):
                raise
            log.debug("traceback", exc_info=True)
            if not (HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN):
                sys.exit(f"error: {cause}")
            log.info("%s: %s", config.name, cause)
            if not isinstance(cause, PassedOverError):
                Section(**_plain(config.section), errors={config.name: str(cause)}).write(Path(config.out))
            return None if isinstance(cause, UntrainedError) else str(cause)
        return None

    return plain


def precision(wanted: str) -> str:
    """`auto` is bfloat16 where the hardware multiplies in it; elsewhere it would be slower than float32."""
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
    """The settings of this run that its user changed."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def _plain(config: DictConfig) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_object(config))


def _quieten() -> None:
    """Keep what Lightning says to developers from those who run a script."""
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
