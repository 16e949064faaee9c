"""Any file or folder of pictures or recordings through an op: what `run=predict` reads."""

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tavtorch.image.contours.polygons import circle
from tavtorch.image.restoration.inpaint_tv import hole_from_color
from tavtorch.lab.data.batches import Item, loader, place
from tavtorch.lab.data.files import AUDIO, PICTURES, audio_info, picture_size, read_audio, read_picture

log = logging.getLogger(__name__)


class Media(NamedTuple):
    """A kind of files: what they are called, how they are told, read, and sorted into batches."""

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], Item]
    """An item without its name; a `ValueError` says what is wrong with the file."""
    alike: Callable[[Path], Hashable]
    """Files that answer the same fit into one batch."""


class Folder(L.LightningDataModule):
    """The files of a kind under a path, each to exactly one process.

    Args:
        root: a file, or a folder that is searched with its sub-folders.
        media: which files, and how they are read: `PICTURE`, `RECORDING`.
        batch_size: at most so many files of one size go through the op together.
        workers: processes that read ahead.
        results: folder of earlier results; a file that has its result there is left out.
        overwrite: do such a file again.
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
        if self.files.done and place(self.trainer)[0] == 0:
            log.info("%d have their result in %s already; overwrite=true does them again", self.files.done, self.done)

    def predict_dataloader(self) -> DataLoader[Any]:
        where, alike = place(self.trainer), self.files.alike
        return loader(self.files, where, batch_size=self.batch_size, alike=alike, workers=self.workers)


class Files(Dataset[Item]):
    """The files of a kind under a path, each as an item; one that cannot be read comes as `{"name", "error"}`.

    Args:
        root: a file, or a folder that is searched with its sub-folders.
        media: which files, and how they are read.
        done: folder of earlier results, see `Folder`.
    """

    def __init__(self, root: str | Path, media: Media, done: Path | None = None) -> None:
        named = _named(Path(root), media)
        self.media = media
        self.items = [(name, path) for name, path in named if not (done and _has_result(done / name))]
        self.done = len(named) - len(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Item:
        name, path = self.items[i]
        try:
            return {"name": name, **self.media.read(path)}
        except ValueError as error:
            return {"name": name, "error": str(error)}

    def alike(self, i: int) -> Hashable:
        """Items that answer the same fit into one batch."""
        return self.media.alike(self.items[i][1])


def picture(path: Path) -> Item:
    """The colours are the op's; what else the file holds is kept, and comes back where the result is written."""
    image, alpha, levels = read_picture(path)
    return {"inputs": {"image": image[None]}, "file": {"suffix": path.suffix, "alpha": alpha, "levels": levels}}


def recording(path: Path) -> Item:
    """The samples and their rate."""
    wave, sample_rate = read_audio(path)
    return {"inputs": {"wave": wave[None], "sample_rate": sample_rate}}


def stream(path: Path) -> Item:
    """A recording of any length, to be read piece by piece: `read(start, frames)` gives `(c, frames)`."""
    sample_rate, _, length = audio_info(path)

    def read(start: int, frames: int) -> Tensor:
        return read_audio(path, start, frames)[0]

    return {"inputs": {"read": read, "length": length, "sample_rate": sample_rate}, "path": str(path)}


PICTURE = Media("picture", PICTURES, picture, picture_size)
RECORDING = Media("recording", AUDIO, recording, lambda path: path)  # lengths differ: each is a batch of its own
STREAM = RECORDING._replace(read=stream)


def pictures() -> Media:
    """`PICTURE`, for configurations."""
    return PICTURE


def recordings() -> Media:
    """`RECORDING`, for configurations."""
    return RECORDING


def holed(*, color: Sequence[float] | None = None, tolerance: float = 0.1, holes: str | None = None) -> Media:
    """Pictures with a hole, which is what is painted in a colour, or white in a mask, or transparent.

    Args:
        color: the paint, red, green and blue (or grey) in [0, 1].
        tolerance: how far from it each channel may be.
        holes: a mask for all pictures, or a folder of masks that are named like the pictures.
    """

    def read(path: Path) -> Item:
        image, alpha, levels = read_picture(path)
        if color is not None:
            hole = hole_from_color(image[None], color, tolerance)
        elif holes is not None:
            hole = _mask(Path(holes), path)
        elif alpha is not None:
            hole = alpha[None] < 1
        else:
            raise ValueError(f"{path}: no pixel is transparent; say where the hole is with media.color or media.holes.")
        if hole.shape[-2:] != image.shape[-2:]:
            raise ValueError(f"{path}: the mask has another size, {tuple(hole.shape[-2:])}, than the picture's.")
        file = {"suffix": path.suffix, "alpha": None, "levels": levels}
        return {"inputs": {"image": image[None], "hole": hole}, "file": file}

    return PICTURE._replace(read=read)


def encircled(*, radius: float = 0.45, n: int = 200) -> Media:
    """Pictures with a circle about the middle to start a contour from.

    Args:
        radius: share of the shorter side.
        n: points of the circle.
    """

    def read(path: Path) -> Item:
        item = picture(path)
        h, w = item["inputs"]["image"].shape[-2:]
        item["inputs"]["points"] = circle(((w - 1) / 2, (h - 1) / 2), radius * min(h, w), n)
        return item

    return PICTURE._replace(read=read)


def _mask(holes: Path, path: Path) -> Tensor:
    """White is missing."""
    paths = [holes] if holes.is_file() else [p for p in sorted(holes.glob(f"{path.stem}.*")) if p.suffix in PICTURES]
    if not paths:
        raise ValueError(f"{path}: no mask of this name in {holes}; see media.holes.")
    return read_picture(paths[0]).image[None, :1] > 0.5


def find(root: Path, suffixes: tuple[str, ...], what: str) -> list[Path]:
    """The files with one of these suffixes under a folder, or the one file, in the order of their names."""
    if not root.exists():
        raise ValueError(f"data.root: expected a file or a folder, but {root} does not exist.")
    paths = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file() and p.name[0] != ".")
    paths = [path for path in paths if path.suffix.lower() in suffixes]
    if not paths:
        raise ValueError(f"data.root: no {what} in {root}; expected one of {', '.join(suffixes)}.")
    return paths


def _named(root: Path, media: Media) -> list[tuple[str, Path]]:
    """Files and their names, which say where the results go below the folder of predictions.

    A name is the path below the root without its suffix, which stays on where two files differ in nothing else.
    """
    paths = find(root, media.suffixes, media.name)
    below = [path.relative_to(root if root.is_dir() else root.parent) for path in paths]
    count = Counter(path.with_suffix("") for path in below)
    names = [path if count[path.with_suffix("")] > 1 else path.with_suffix("") for path in below]
    return [(name.as_posix(), path) for name, path in zip(names, paths, strict=True)]


def _has_result(place: Path) -> bool:
    """Is there a folder or a file of this name, or a file of this name with some suffix?"""
    return place.exists() or any(path.with_suffix("") == place for path in place.parent.glob("*.*"))
