"""Checkpoints: written whole or not at all, and read back only if they are what was written."""

import io
import logging
import zipfile
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.fabric.plugins import CheckpointIO
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from tavtorch.atomic import whole

log = logging.getLogger(__name__)

_TO_SCORE = {"made_by": dict, "state_dict": dict, "pytorch-lightning_version": str}
_TO_RESUME = {"optimizer_states": list, "callbacks": dict, "loops": dict, "epoch": int, "global_step": int}


class Checkpoints(CheckpointIO):
    """Lightning's checkpoints as files that are complete whenever they are there, and of which nothing is unpickled.

    Lightning's own way stages a file in $TMPDIR and copies it where that is another file system: a run that is killed
    then leaves half a file in place of its last checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            with whole(Path(path)) as part:
                part.write_bytes(content.getbuffer())
        except OSError as error:
            raise ValueError(
                f"{path}: cannot be written ({error.strerror}); checkpoints that are there are whole. Make room, or "
                "choose another folder with hydra.run.dir=..., and go on with ckpt=..."
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        return read(Path(path), map_location)

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def read(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """What a checkpoint holds.

    Raises a `ValueError` if there is none, if its bytes are not those that were written, or if it holds more than
    tensors, numbers and texts.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not compare the sums of the parts
        if damaged is None:
            state = torch.load(path, map_location=map_location, weights_only=True, mmap=True)
    except FileNotFoundError:
        raise ValueError(
            f"ckpt: {path} does not exist; train one with train.py, or give the path of a checkpoint."
        ) from None
    except IsADirectoryError:
        raise ValueError(f"ckpt: {path} is a folder; give the path of a checkpoint, a file named *.ckpt.") from None
    except PermissionError as error:
        raise ValueError(f"ckpt: {path} may not be read; change its permissions.") from error
    except Exception as error:  # a file that is no checkpoint fails in many ways
        raise ValueError(_unfit(path, "is no checkpoint of tavtorch, or it is damaged")) from error
    if damaged is not None:
        raise ValueError(_unfit(path, f"is damaged in {damaged}"))
    if not isinstance(state, dict):
        raise ValueError(_unfit(path, "is no checkpoint of tavtorch"))
    return state


def check(path: Path, state: dict[str, Any], op: DictConfig, *, resume: bool) -> None:
    """Raise a `ValueError` unless a checkpoint is one of the network that is configured, with weights that are numbers.

    Args:
        path: of the checkpoint, for messages.
        state: what it holds.
        op: the configuration of the network, `task.op`.
        resume: whether a training goes on from it.
    """
    for key, kind in (_TO_SCORE | (_TO_RESUME if resume else {})).items():
        if not isinstance(state.get(key), kind):
            fault = f"is no checkpoint of tavtorch: it has no {key}"
            if key not in _TO_SCORE:
                fault = f"holds weights to be scored; to go on, a training needs a last.ckpt, with {key}"
            raise ValueError(_unfit(path, fault))
    ours, theirs = OmegaConf.to_container(op, resolve=True), state["made_by"]
    assert isinstance(ours, dict)
    other = {key: theirs.get(key) for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    if other:
        overrides = " ".join(f"task.op.{key}={value}" for key, value in sorted(other.items())).replace("'", "")
        raise ValueError(f"ckpt: {path} is of another network; add: {overrides}")
    with torch.device("meta"):
        network = instantiate(op)
    if isinstance(network, nn.Module):
        _check_weights(path, state["state_dict"], network)
    for name, weight in _tensors({key: state.get(key) for key in ("state_dict", "current_model_state")}):
        if weight.is_floating_point() and not bool(weight.isfinite().all()):
            raise ValueError(_unfit(path, f"has weights that are no numbers (NaN or infinite), in {name}"))


def used_up(state: dict[str, Any], max_epochs: int | None, max_time: str | None) -> str | None:
    """The setting by which the training of a checkpoint is at its end already, if it is."""
    if max_epochs is not None and 0 <= max_epochs <= state["epoch"] + 1:
        return f"trainer.max_epochs={max_epochs}"
    if max_time is not None:
        days, hours, minutes, seconds = map(int, max_time.split(":"))
        limit = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
        if state["callbacks"].get("Timer", {}).get("time_elapsed", {}).get("train", 0.0) >= limit:
            return f"trainer.max_time={max_time}"
    return None


def _check_weights(path: Path, weights: dict[str, Any], network: nn.Module) -> None:
    """As `check`, for names and sizes."""
    wanted = {f"op.{name}": tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(getattr(value, "shape", ())) for name, value in weights.items() if name.startswith("op.")}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            faults = f"{name} of size {found.get(name, 'nothing')} where the network has {wanted.get(name, 'nothing')}"
            raise ValueError(_unfit(path, f"does not fit the network: it has {faults}"))


def _tensors(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors of a nested dictionary, with their paths."""
    if isinstance(state, Tensor):
        yield name, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))


def _unfit(path: Path, fault: str) -> str:
    best = path.with_name("best.ckpt")
    if path.name == "last.ckpt" and best.is_file():
        return f"ckpt: {path} {fault}; train anew, or score the best epoch with ckpt={best}"
    return f"ckpt: {path} {fault}; train one with train.py, or give another."
