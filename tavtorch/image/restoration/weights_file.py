"""Weights of a small model as a file of numbers alone, in the format of safetensors: nothing in it is ever run.

    8 bytes, length of the header │ header, JSON: name → {dtype, shape, data_offsets}, and texts │ numbers

Source: https://github.com/huggingface/safetensors, "Format".
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def write_weights(path: Path, weights: dict[str, Tensor], settings: dict[str, Any]) -> None:
    """Write float32 tensors, and the settings of the model that they are for."""
    header: dict[str, Any] = {"__metadata__": {"settings": json.dumps(settings)}}
    numbers = b""
    for name, tensor in weights.items():
        part = tensor.detach().cpu().float().contiguous().numpy().tobytes()
        span = [len(numbers), len(numbers) + len(part)]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": span}
        numbers += part
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The float32 tensors of a file, and the settings of the model; a ValueError if it is not whole."""
    if not path.is_file():
        raise ValueError(f"path: {path} does not exist; give a file that `save` of a model wrote.")
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8:start])
        settings = json.loads(header.pop("__metadata__")["settings"])
        weights = {name: _tensor(content[start:], **entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"path: {path} is no whole file of weights that `save` of a model wrote.") from error
    return weights, settings


def _tensor(numbers: bytes, dtype: str, shape: list[int], data_offsets: list[int]) -> Tensor:
    first, end = data_offsets
    part = numbers[first:end]
    if dtype != "F32" or len(part) != 4 * math.prod(shape) or not part:
        raise ValueError("a tensor is not whole")
    return torch.frombuffer(bytearray(part), dtype=torch.float32).reshape(shape)
