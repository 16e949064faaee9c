"""What train.py and evaluate.py share: a configuration becomes a trainer, a task and its data."""

import inspect
import logging
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from tavtorch.lab.task import Task

log = logging.getLogger(__name__)
_EVALUATE_ONLY = ("run", "overwrite", "strict", "train_for")  # settings that train.py does not have


def assemble(config: DictConfig) -> tuple[L.Trainer, Task, L.LightningDataModule]:
    """Build what a configuration names, seeded."""
    _quieten()
    L.seed_everything(config.seed, verbose=False)
    task, data, callbacks, loggers = (
        instantiate(config[key], _convert_="all") for key in ("task", "data", "callbacks", "logger")
    )
    task.made_by = plain(config.task.op)
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
    wanted = plain(config.task.op)
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
            same = [word for word in typed() if word.partition("=")[0] not in _EVALUATE_ONLY]
            here = [f"hydra.run.dir={config.out}", f"trainer.max_time={config.train_for}"]
            unscored = "+trainer.limit_test_batches=0"  # that comes next
            subprocess.run([sys.executable, str(script), *same, *here, unscored], check=True)
        if not own.is_file():
            training = shlex.join(["python", "train.py", *typed()])
            raise UntrainedError(
                f"ckpt: the network {config.name} is not trained yet; {training} does that, or give ckpt=..."
            )
        config.ckpt = str(own)
    return checkpoint(config)


class UntrainedError(ValueError):
    """A network without training is not worth a score."""


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


def typed() -> list[str]:
    """The settings that the user typed."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def plain(config: DictConfig) -> dict[str, Any]:
    """A configuration as a dictionary."""
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
