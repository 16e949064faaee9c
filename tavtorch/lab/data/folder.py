"""Any file or folder of pictures or recordings through an op: what `run=predict` reads."""

import logging
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import lightning as L
from torch.utils.data import DataLoader, Dataset

from tavtorch.lab.data.batches import Item, loader, process_of
from tavtorch.lab.data.media import Media

log = logging.getLogger(__name__)


class Folder(L.LightningDataModule):
    """The files of a kind under a path; each is read by exactly one process.

    Args:
        root: a file, or a folder that is searched with its sub-folders.
        media: which files, and how they are read: `media.PICTURE`, `media.RECORDING`, …
        batch_size: largest number of files, of equal size, that go through the op together.
        workers: processes that read ahead.
        results: folder of earlier results; a file that has its result there is skipped.
        overwrite: process such a file again.
    """

    def __init__(
        self,
        root: str,
        media: Media,
        *,
        batch_size: int = 1,
        workers: int = 0,
        results: str | None = None,
        overwrite: bool = False,
    ) -> None:
        super().__init__()
        self.root, self.media, self.batch_size, self.workers = Path(root), media, batch_size, workers
        self.done = Path(results) if results and not overwrite else None

    def setup(self, stage: str) -> None:
        if stage != "predict":
            raise ValueError(
                "data=folder has no truth to score or to train with; use run=predict, or the task's own data."
            )
        self.files = Files(self.root, self.media, self.done)
        if self.files.done and process_of(self.trainer)[0] == 0:
            log.info("%d have their result in %s already; overwrite=true does them again", self.files.done, self.done)

    def predict_dataloader(self) -> DataLoader[Any]:
        return loader(self.files, process_of(self.trainer), batch_size=self.batch_size, workers=self.workers)


class Files(Dataset[Item]):
    """The files of a kind under a path, each as an item; one that cannot be read is `{"name", "error"}`.

    Args:
        root: a file, or a folder that is searched with its sub-folders.
        media: which files, and how they are read.
        done: folder of earlier results, see `Folder`.
    """

    def __init__(self, root: str | Path, media: Media, done: Path | None = None) -> None:
        named = find_named(Path(root), media.suffixes, media.name)
        self.media = media
        self.items = [(name, path) for name, path in named if not (done and _has_result(done / name))]
        self.done = len(named) - len(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Item:
        name, path = self.items[i]
        try:
            return Item(name=name, **self.media.read(path))  # type: ignore[typeddict-item]
        except ValueError as error:
            return Item(name=name, error=str(error))

    def batch_key(self, i: int) -> Hashable:
        return self.media.batch_key(self.items[i][1])


def find(root: Path, suffixes: tuple[str, ...], kind: str) -> list[Path]:
    """The files with one of these suffixes under a folder, sorted by path, or the one file."""
    if not root.exists():
        raise ValueError(f"data.root: expected a file or a folder, but {root} does not exist.")
    paths = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file() and p.name[0] != ".")
    paths = [path for path in paths if path.suffix.lower() in suffixes]
    if not paths:
        raise ValueError(f"data.root: no {kind} in {root}; expected one of {', '.join(suffixes)}.")
    return paths


def find_named(root: Path, suffixes: tuple[str, ...], kind: str) -> list[tuple[str, Path]]:
    """As `find`, each file with a name of its own, under which its result is written.

    A name is the path below the root without its suffix; the suffix is kept if two files differ in nothing else.
    """
    paths = find(root, suffixes, kind)
    below = [path.relative_to(root if root.is_dir() else root.parent) for path in paths]
    count = Counter(path.with_suffix("") for path in below)
    names = [path if count[path.with_suffix("")] > 1 else path.with_suffix("") for path in below]
    return [(name.as_posix(), path) for name, path in zip(names, paths, strict=True)]


def _has_result(path: Path) -> bool:
    """Whether there is a folder or a file of this name, or a file of this name with any suffix."""
    return path.exists() or any(other.with_suffix("") == path for other in path.parent.glob("*.*"))
