"""What train.py and evaluate.py share: a configuration becomes a trainer, a task and its data.

Torch and Lightning are loaded by what needs them, so that a script answers `--help` and typing errors at once.
"""

import hashlib
import inspect
import logging
import re
import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from tavtorch.lab.signals import is_first_process, run_child

if TYPE_CHECKING:
    import lightning as L

    from tavtorch.lab.task import Task

log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parents[1]
CONFIGS = next(path for path in (_PACKAGE.parent / "configs", _PACKAGE / "configs") if path.is_dir())
"""Of a checkout, or of an installed wheel."""

_EVALUATE_ONLY = ("run", "overwrite", "strict", "train_for", "callbacks", "media")  # unknown to train.py


def assemble(config: DictConfig) -> "tuple[L.Trainer, Task, L.LightningDataModule]":
    """Build what a configuration names, seeded."""
    import lightning as L

    from tavtorch.lab.callbacks import StopTogether
    from tavtorch.lab.checkpoints import Checkpoints

    _quieten()
    L.seed_everything(config.seed, verbose=False)
    task, data, callbacks = (instantiate(config[key], _convert_="all") for key in ("task", "data", "callbacks"))
    loggers = {} if config.get("run") == "predict" else instantiate(config.logger, _convert_="all")
    task.made_by = plain(config.task.op)
    plugins = {
        "callbacks": [*callbacks.values(), StopTogether()],
        "logger": list(loggers.values()),
        "plugins": [Checkpoints()],
        "precision": precision(config),
    }
    return instantiate(config.trainer, _convert_="all", **plugins), task, data


def checkpoint(config: DictConfig) -> str | None:
    """Path of the checkpoint that a run starts from; `last` is the last one of this run."""
    if config.ckpt is None:
        return None
    path = Path(config.out, "checkpoints/last.ckpt") if config.ckpt == "last" else Path(config.ckpt)
    if config.ckpt == "last" and not path.exists():
        log.info("%s: nothing to go on with yet; starting afresh.", path)
        return None
    from tavtorch.lab import checkpoints

    state, training = checkpoints.read(path), "run" not in config
    checkpoints.check(path, state, config.task.op, resume=training)
    if training and (limit := checkpoints.used_up(state, config.trainer.max_epochs, config.trainer.max_time)):
        log.info("%s has been trained for all of %s: nothing is added to it; raise that to train longer.", path, limit)
    return str(path)


def weights(config: DictConfig, script: Path) -> str | None:
    """Path of the checkpoint that is scored: `ckpt`, or else the best one of a training with the same name.

    None is the path where there is no network, or where it has not been trained here and comes with weights: then the
    configuration names these. With `train_for=false` it must be trained.

    Args:
        script: train.py, which is run first if there is none and `train_for` is set.
    """
    if config.ckpt is None and _is_network(config):
        own = Path(config.out, "checkpoints/best.ckpt")
        unfinished = own.with_name("unfinished")  # while a training runs here, and after it was stopped
        if config.train_for and (not own.is_file() or unfinished.exists()):
            log.info("%s: not trained yet; training it for %s", config.name, config.train_for)
            here = [f"hydra.run.dir={config.out}", f"trainer.max_time={config.train_for}"]
            here += ["ckpt=last"] if unfinished.exists() else []
            unfinished.parent.mkdir(parents=True, exist_ok=True)
            unfinished.touch()
            unscored = "+trainer.limit_test_batches=0"  # that comes next
            run_child([sys.executable, str(script), *_for_training(config), *here, unscored])
            unfinished.unlink()
        if not own.is_file():
            training = shlex.join(["python", "train.py", *_for_training(config)])
            if config.train_for is False or not _comes_with_weights(config):
                raise UntrainedError(
                    f"ckpt: the network {config.name} is not trained yet; {training} does that, or give ckpt=..."
                )
            if is_first_process():
                log.info("%s: by the weights that come with the package; %s trains others", config.name, training)
            config.task.op._target_ += ".pretrained"
            return None
        config.ckpt = str(own)
    return checkpoint(config)


class UntrainedError(ValueError):
    """A network without training is not worth a score."""


def settings_of(config: DictConfig, ckpt: str | None) -> str:
    """A digest of what decides a result beside its file: how files are read, the op and its weights, how it is saved.

    The songs of a library that is asked belong to it.
    """
    parts: list[Any] = [plain(config.task).get(key) for key in ("op", "inference", "save", "seed")]
    parts += [plain(config.data).get("media"), precision(config)]
    if ckpt:
        parts.append(Path(ckpt).read_bytes())
    elif _is_pretrained(config):
        parts.append(inspect.signature(get_object(config.task.op._target_)).parameters["path"].default.read_bytes())
    if "library" in config:
        parts.append([(song.name, song.digest) for song in instantiate(config.library)])
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def precision(config: DictConfig) -> str:
    """`auto` is bfloat16 for a network if the hardware multiplies in it, else float32, which is then faster."""
    wanted: str = config.trainer.precision
    if wanted != "auto":
        return wanted
    if not (_is_network(config) or _is_pretrained(config)):
        return "32-true"
    import torch

    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        known: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)  # of newer versions of torch
        fast = bool(known().get("avx512_bf16"))
    return "bf16-mixed" if fast else "32-true"


def _is_network(config: DictConfig) -> bool:
    from torch import nn

    op = get_object(config.task.op._target_)
    return inspect.isclass(op) and issubclass(op, nn.Module)


def _is_pretrained(config: DictConfig) -> bool:
    target: str = config.task.op._target_
    return target.endswith(".pretrained")


def _comes_with_weights(config: DictConfig) -> bool:
    """Whether the package has weights of a network with these settings."""
    from tavtorch.weights import OtherSettingsError

    pretrained = getattr(get_object(config.task.op._target_), "pretrained", None)
    settings = {key: value for key, value in plain(config.task.op).items() if key[0] != "_"}
    try:
        return pretrained is not None and pretrained(**settings) is not None
    except OtherSettingsError:
        return False


def _for_training(config: DictConfig) -> list[str]:
    """What the user typed, as far as train.py knows it: data that are only read or scored are left out."""
    trainable = "train_dataloader" in vars(get_object(config.data._target_)) if "data" in config else False
    left_out = {*_EVALUATE_ONLY, *(() if trainable else ("data",))}
    return [word for word in typed() if re.split(r"[.=]", word.lstrip("+~"), maxsplit=1)[0] not in left_out]


def typed() -> list[str]:
    """The settings that the user typed."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def plain(config: DictConfig) -> dict[str, Any]:
    """A configuration as a dictionary."""
    return cast(dict[str, Any], OmegaConf.to_object(config))


def _quieten() -> None:
    """Hide what Lightning tells developers, which is of no use to users of a script."""
    if not is_first_process():  # which says the same
        warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING if is_first_process() else logging.ERROR)
    for message in (
        ".*does not have many workers",
        ".*smaller than the logging interval",
        ".*exists and is not empty",
        ".*predict returned None",
        ".*across ranks is zero",  # there is nothing left to do
        "It is recommended to use .self.log",  # scores are brought together before
        "Be aware",
    ):
        warnings.filterwarnings("ignore", message)
    warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
