"""Models whose weights come with the package, as safetensors files: numbers alone, nothing in them is ever run."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from tavtorch.atomic import whole
from tavtorch.constants import constants

Model = TypeVar("Model", bound=nn.Module)


class OtherSettingsError(ValueError):
    """A file holds the weights of a model with other settings than those that are asked for."""


def write_model(path: str | Path, model: nn.Module, settings: dict[str, Any]) -> None:
    """Write the weights of a model in float32, and the settings that it was made with, all at once or not at all.

    Raises:
        ValueError: the file cannot be written there.
    """
    path = Path(path)
    tensors = {name: tensor.detach().cpu().float().contiguous() for name, tensor in model.state_dict().items()}
    try:
        path.parent.stat()  # a folder that is missing is a slip of the pen, and not made
        with whole(path) as part:
            part.write_bytes(save(tensors, {"settings": json.dumps(settings)}))
    except OSError as error:
        raise ValueError(f"path: {path} cannot be written ({error.strerror}); choose another place.") from error


def read_model(kind: type[Model], path: str | Path, settings: dict[str, Any]) -> Model:
    """The model of a file that `write_model` wrote, in evaluation mode.

    Args:
        kind: its class, which is made with the settings that the file holds.
        path: of the file.
        settings: that it must have.

    Raises:
        OtherSettingsError: it has others.
        ValueError: there is no such file, or it is damaged or of something else.
    """
    if not Path(path).is_file():
        raise ValueError(f"path: {path} does not exist; give a file that `save` of a model wrote.")
    try:
        with safe_open(path, "pt") as file:
            own = dict(json.loads((file.metadata() or {})["settings"]))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
    except (SafetensorError, ValueError, TypeError, KeyError, OSError) as error:
        raise ValueError(f"path: {path} is no whole file of weights that `save` of a model wrote.") from error
    if other := {
        key: value for key, value in json.loads(json.dumps(settings, default=list)).items() if own.get(key) != value
    }:
        raise OtherSettingsError(
            f"path: {path} is of a model with {own}, not with {other}; train one with these settings."
        )
    if not all(bool(weight.isfinite().all()) for weight in weights.values()):
        raise ValueError(f"path: {path} holds weights that are NaN or infinite; write another one.")
    try:
        model = kind(**own)
        model.load_state_dict(weights)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"path: {path} holds no weights of a {kind.__name__}; write them with its `save`.") from error
    return model.eval()


def of_the_package(pretrained: Callable[[], Model], device: torch.device) -> Model:
    """The model with the weights that come with the package, read once for each device, for use and not to be trained.

    >>> from tavtorch import RidgeModel
    >>> of_the_package(RidgeModel.pretrained, torch.device("cpu")).rho
    0.95
    """
    model: Model = _read_once(pretrained, device)
    return model


@functools.cache
def _read_once(pretrained: Callable[[], nn.Module], device: torch.device) -> Any:
    with constants():
        return pretrained().to(device).requires_grad_(False)
