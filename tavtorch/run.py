"""What train.py and evaluate.py share: a configuration becomes a trainer, a task and its data."""

import functools
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from tavtorch.task import Task

log = logging.getLogger(__name__)


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


def needs_weights(task: Task, ckpt: str | None) -> None:
    """A network that has learned nothing is not worth a score."""
    if ckpt is None and isinstance(task.op, nn.Module):
        raise ValueError("ckpt: this task runs a network; train one with train.py and give its path with ckpt=...")


def own_up(task: Task) -> None:
    """End with an error where items had to be passed over; the others are done."""
    if task.errors:
        raise ValueError("passed over:\n  " + "\n  ".join(task.errors.values()))


def _plain(config: DictConfig) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_object(config))


def plainly(main: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Bad input ends a script with its message rather than a traceback, and exit code 1."""

    @functools.wraps(main)
    def plain(config: DictConfig) -> None:
        try:
            main(config)
        except (ValueError, InstantiationException) as error:
            cause = error.__cause__ if isinstance(error, InstantiationException) else error
            if not isinstance(cause, ValueError):
                raise
            log.debug("traceback", exc_info=True)
            sys.exit(f"error: {cause}")

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
