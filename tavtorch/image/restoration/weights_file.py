"""Weights of a small model as a safetensors file: numbers alone, nothing in it is ever run."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor


def write_weights(path: Path, weights: dict[str, Tensor], settings: dict[str, Any]) -> None:
    """Write tensors in float32, and the settings of the model that they are for."""
    tensors = {name: tensor.detach().cpu().float().contiguous() for name, tensor in weights.items()}
    path.write_bytes(save(tensors, {"settings": json.dumps(settings)}))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file, and the settings of the model; a ValueError if it is not whole."""
    if not path.is_file():
        raise ValueError(f"path: {path} does not exist; give a file that `save` of a model wrote.")
    try:
        with safe_open(path, "pt") as file:
            settings = json.loads((file.metadata() or {})["settings"])
            return {name: file.get_tensor(name) for name in file.keys()}, settings  # noqa: SIM118, it is no dictionary
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise ValueError(f"path: {path} is no whole file of weights that `save` of a model wrote.") from error
