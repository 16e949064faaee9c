"""The search structure of a library as a file beside its database, so that it is read and not built again.

The database is the only truth: ids of songs are never used twice and peaks of an id never change, so that what the file
has of songs that are still there is right, however old it is. It may be deleted at any time.
"""

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch

from tavtorch.atomic import whole
from tavtorch.audio.recognition.index import Index
from tavtorch.audio.recognition.landmarks import Recipe

FORMAT = "1"
"""Of the file; one of another format is not read, and written anew."""


def read_index(path: Path, recipe: Recipe, device: torch.device | str) -> Index | None:
    """The index in a file; None if there is none, or it is cut short, or of another recipe or format."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            if file.metadata() != _about(recipe):
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        return Index.of(recipe, device, tensors)
    except (OSError, SafetensorError, KeyError):
        return None


def write_index(path: Path, index: Index) -> None:
    """Write an index for `read_index`, whole or not at all; where nothing can be written, it is built each time."""
    from safetensors.torch import save_file

    with suppress(OSError), whole(path) as part:
        save_file(index.tensors(), part, _about(index.recipe))


def _about(recipe: Recipe) -> dict[str, str]:
    return {"format": FORMAT, "recipe": json.dumps(asdict(recipe))}
