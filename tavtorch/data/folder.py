"""Any file or folder of recordings through an op: what `run=predict` reads."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import lightning as L
from torch.utils.data import DataLoader, Dataset, Subset

from tavtorch.data.files import AUDIO, read_audio

log = logging.getLogger(__name__)


class Folder(L.LightningDataModule):
    """The recordings under a path, a batch of one each, each to exactly one process.

    Args:
        root: a file, or a folder that is searched with its sub-folders.
        results: folder of earlier results; a file that has its result there is left out.
        overwrite: do such a file again.
    """

    def __init__(self, root: str, *, results: str | None = None, overwrite: bool = False) -> None:
        super().__init__()
        self.root, self.done = Path(root), Path(results) if results and not overwrite else None

    def setup(self, stage: str) -> None:
        if stage != "predict":
            raise ValueError("data=folder has no truth to score or to train with; use run=predict, or data=stems.")
        self.files = Files(self.root, self.done)
        if self.files.done and place(self.trainer)[0] == 0:
            log.info("%d have their result in %s already; overwrite=true does them again", self.files.done, self.done)

    def predict_dataloader(self) -> DataLoader[Any]:
        return DataLoader(shard(self.files, len(self.files), place(self.trainer)), batch_size=1, collate_fn=only)


class Files(Dataset[dict[str, Any]]):
    """The recordings under a path, whole, each as `{"name", "inputs": {"wave", "sample_rate"}}`.

    A file that cannot be read comes as `{"name", "error"}`, so that the others are done.

    Args:
        root: a file, or a folder that is searched with its sub-folders.
        done: folder of earlier results, see `Folder`.
    """

    def __init__(self, root: str | Path, done: Path | None = None) -> None:
        named = _named(Path(root))
        self.items = [(name, path) for name, path in named if not (done and _has_result(done / name))]
        self.done = len(named) - len(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> dict[str, Any]:
        name, path = self.items[i]
        try:
            wave, sample_rate = read_audio(path)
        except ValueError as error:
            return {"name": name, "error": str(error)}
        return {"name": name, "inputs": {"wave": wave[None], "sample_rate": sample_rate}}


def _named(root: Path) -> list[tuple[str, Path]]:
    """Files and their names, which say where the results go below the folder of predictions.

    A name is the path below the root without its suffix, which stays on where two files differ in nothing else.
    """
    paths = media(root)
    below = [path.relative_to(root if root.is_dir() else root.parent) for path in paths]
    count = Counter(path.with_suffix("") for path in below)
    names = [path if count[path.with_suffix("")] > 1 else path.with_suffix("") for path in below]
    return [(name.as_posix(), path) for name, path in zip(names, paths, strict=True)]


def _has_result(place: Path) -> bool:
    """Is there a folder of this name, or a file of this name with some suffix?"""
    return place.is_dir() or any(path.with_suffix("") == place for path in place.parent.glob("*.*"))


def media(root: Path) -> list[Path]:
    """Audio files under a folder, or the one file, in the order of their names."""
    if not root.exists():
        raise ValueError(f"data.root: expected a file or a folder, but {root} does not exist.")
    paths = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file() and p.name[0] != ".")
    paths = [path for path in paths if path.suffix.lower() in AUDIO]
    if not paths:
        raise ValueError(f"data.root: no audio file in {root}; expected one of {', '.join(AUDIO)}.")
    return paths


def place(trainer: L.Trainer | None) -> tuple[int, int]:
    """Rank and number of the processes that share a run."""
    return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)


def shard(dataset: Dataset[Any], count: int, place: tuple[int, int]) -> Dataset[Any]:
    """One process's part of the first `count` items: each item goes to exactly one process."""
    rank, world = place
    if 0 < count < world:
        raise ValueError(
            f"trainer.devices: {world} processes share {count} items, and some would have none; use at most {count}."
        )
    return Subset(dataset, range(rank, count, world))


def only(batch: list[Any]) -> Any:
    """The one item of a batch of one, as it is: items that differ in length cannot be stacked."""
    (item,) = batch
    return item
