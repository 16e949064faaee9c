"""Any file or folder of pictures or recordings through an op: what `run=predict` reads."""

import logging
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from torch.utils.data import DataLoader, Dataset

from tavtorch.lab.data.batches import Item, loader, process_of, taker_of
from tavtorch.lab.data.find import named, search
from tavtorch.lab.data.media import Media
from tavtorch.lab.data.results import Results, Source

log = logging.getLogger(__name__)


class Folder(L.LightningDataModule):
    """The files of a kind under a path; each is read by exactly one process, or by all, see `batches.taker_of`.

    Args:
        root: a file, a folder that is searched with its sub-folders, or a list of them.
        media: which files, and how they are read: `media.PICTURE`, `media.RECORDING`, …
        batch_size: largest number of files, of equal size, that go through the op together.
        workers: processes that read ahead.
        results: folder of earlier results; a file is skipped if its result, with the same settings, is there.
        settings: see `Results`.
        overwrite: process every file again.
    """

    def __init__(
        self,
        root: str | Sequence[str],
        media: Media,
        *,
        batch_size: int = 1,
        workers: int = 0,
        results: str | None = None,
        settings: str = "",
        overwrite: bool = False,
    ) -> None:
        super().__init__()
        self.roots = [Path(one) for one in ([root] if isinstance(root, str) else root)]
        self.media, self.batch_size, self.workers = media, batch_size, workers
        self.results, self.settings, self.overwrite = Path(results) if results else None, settings, overwrite

    def setup(self, stage: str) -> None:
        if stage != "predict":
            raise ValueError(
                "data=folder has no truth to score or to train with; use run=predict, or the task's own data."
            )
        earlier = Results(self.results, self.settings) if self.results and not self.overwrite else None
        self.files = Files(self.roots, self.media, earlier)
        for path in self.files.found.paths:
            if self.results and path.resolve().is_relative_to(self.results.resolve()):
                raise ValueError(
                    f"data.root: {path} lies in {self.results}, where this run writes its results; choose another "
                    "folder for them with hydra.run.dir=PATH."
                )
        if process_of(self.trainer)[0] == 0:
            self.files.tell()

    def predict_dataloader(self) -> DataLoader[Any]:
        return loader(self.files, taker_of(self.trainer), batch_size=self.batch_size, workers=self.workers)


class Files(Dataset[Item]):
    """The files of a kind under a path, each as an item; one that cannot be read is `{"name", "error"}`.

    Args:
        root: a file, a folder that is searched with its sub-folders, or several of them.
        media: which files, and how they are read.
        results: earlier ones; a file that has its result there is left out.
    """

    def __init__(self, root: Path | Sequence[Path], media: Media, results: Results | None = None) -> None:
        self.media = media
        self.found = search(root, media.suffixes, media.name)
        self.items: list[tuple[str, Path]] = []
        self.faults: dict[str, str] = {}
        self.done: list[str] = []
        self.results = results
        self.refused = {path for path in self.found.paths if path.is_dir()}
        for name, path in named(root, media.items(self.found.paths)):
            try:
                done = results is not None and results.has(name, self._sources(path))
            except ValueError as error:
                done, self.faults[name] = False, str(error)
            if done:
                self.done.append(name)
            else:
                self.items.append((name, path))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Item:
        name, path = self.items[i]
        try:
            if name in self.faults:
                raise ValueError(self.faults[name])
            if path in self.refused:
                raise ValueError(f"{path}: this folder may not be read. Change its permissions.")
            sources = self._sources(path)
            return Item(name=name, sources=sources, **self.media.read(path))  # type: ignore[typeddict-item]
        except ValueError as error:
            return Item(name=name, error=str(error))

    def batch_key(self, i: int) -> Hashable:
        name, path = self.items[i]
        return path if name in self.faults or path in self.refused else self.media.batch_key(path)

    def tell(self) -> None:
        """Log what is left out, and why."""
        if self.done and self.results:
            log.info("%d have their result in %s; overwrite=true does them again", len(self.done), self.results.folder)
            if doubtful := [name for name in self.done if not self.results.lines[name].converged]:
                log.info("of these did not converge: %s", ", ".join(doubtful))
        if self.found.left_out:
            kinds = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in self.found.left_out.items())
            log.info("left out, as no %s: %s", self.media.name, kinds)
        for folder in self.found.results:
            log.info("left out, as results of an earlier run: %s", folder)

    def _sources(self, path: Path) -> list[Source]:
        return [Source.of(one) for one in self.media.sources(path)]
