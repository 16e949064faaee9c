"""Predictions to files, each written whole or not at all, with an account at the end."""

import csv
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from torch import Tensor

from tavtorch.audio.recognition.landmarks import Landmarks
from tavtorch.audio.recognition.library import Library
from tavtorch.audio.recognition.match import Match
from tavtorch.audio.recognition.setlist import Track
from tavtorch.audio.separation.components import Components
from tavtorch.image.contours.polygons import fill
from tavtorch.image.splitting.split import Split
from tavtorch.lab.data.batches import Batch, alone
from tavtorch.lab.data.files import Picture, whole, write_audio, write_picture
from tavtorch.lab.task import Task, everyones
from tavtorch.solve import Solution

log = logging.getLogger(__name__)


class Write(L.Callback):
    """Writes what `run=predict` gives and says at the end how many were done, how many were not, and how fast.

    Args:
        folder: where the results go, each under its item's name.
        save: `save(place, output, batch)` writes one result, in batches of one; `place` has no suffix yet.
    """

    def __init__(self, folder: str, save: Callable[[Path, Any, Batch], None]) -> None:
        self.folder, self.save = Path(folder), save
        self.written, self.heard = 0, 0.0

    def on_predict_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.written, self.heard, self.begun = 0, 0.0, time.monotonic()

    def on_predict_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, output: Any, batch: Batch, *_: int
    ) -> None:
        assert isinstance(task, Task)
        for i, name in enumerate(batch.get("name", ())):
            try:
                self.save(self.folder / name, alone(output, i), alone(batch, i))
            except ValueError as error:
                task.errors[name] = f"{name}: {error}"
            except OSError as error:
                raise ValueError(
                    f"{self.folder / name}: cannot be written ({error}). What was written is whole; make room or "
                    "choose another folder with hydra.run.dir=..., and run again to do the rest."
                ) from error
            else:
                self.written += 1
                self.heard += _seconds(batch["inputs"])

    def on_predict_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        assert isinstance(task, Task)
        written, heard = everyones(self.written, sum), everyones(self.heard, sum)
        if trainer.is_global_zero:
            where = f" to {self.folder}" if self.folder.exists() else ""  # a library is elsewhere
            elapsed = time.monotonic() - self.begun
            pace = f"{heard / elapsed:.1f} × real time" if heard else f"{written / elapsed:.1f} a second"
            log.info("%d written%s, %d passed over; %s.", written, where, len(task.errors), pace)


def _seconds(inputs: dict[str, Any]) -> float:
    """How long a recording lasts; nothing for a picture."""
    frames = inputs["wave"].shape[-1] if "wave" in inputs else inputs.get("length", 0)
    return frames / inputs.get("sample_rate", 1)


def write_stems(place: Path, output: Tensor, batch: Batch, *, stems: Sequence[str], suffix: str = ".wav") -> None:
    """One file a stem in a folder named for the song: `<place>/vocals.wav`, …, at the song's rate."""
    with whole(place) as folder:
        for stem, wave in zip(stems, output[0], strict=True):
            write_audio(folder / f"{stem}{suffix}", wave, batch["inputs"]["sample_rate"])


def write_components(place: Path, output: Components, batch: Batch) -> None:
    """As `write_stems`, from low to high: `<place>/component_1.wav`, …"""
    names = [f"component_{k + 1}" for k in range(output.stems.shape[1])]
    write_stems(place, output.stems, batch, stems=names)


def write_image(place: Path, output: Tensor | Solution, batch: Batch) -> None:
    """A picture in the format and depth of the one that it comes from, with its transparency: `<place>.png`, …"""
    image = output.value if isinstance(output, Solution) else output
    (file,) = batch["file"]
    suffix = file["suffix"] if place.suffix != file["suffix"] else ""
    write_picture(place.parent / (place.name + suffix), Picture(image[0], file["alpha"], file["levels"]))


def write_parts(place: Path, output: Split, batch: Batch) -> None:
    """Structure and texture, around mid-grey, as two pictures in a folder of the item's name."""
    (file,) = batch["file"]
    with whole(place) as folder:
        for name, image in {"structure": output.structure, "texture": 0.5 + output.texture}.items():
            write_picture(folder / f"{name}{file['suffix']}", Picture(image[0], file["alpha"], file["levels"]))


def write_field(place: Path, output: Tensor | Solution, batch: Batch) -> None:
    """A field `(2, h, w)`, components (x, y), as `<place>.npy`."""
    value = output.value if isinstance(output, Solution) else output
    with whole(place.parent / f"{place.name}.npy") as part, part.open("wb") as file:
        np.save(file, value[0].cpu().numpy())


def write_contours(place: Path, output: Solution, batch: Batch) -> None:
    """In a folder of the item's name: `contour.csv`, a line (x, y) in pixels a point, and `mask.png`, white inside."""
    mask = fill(output.value, (*batch["inputs"]["image"].shape[-2:],)).any(1)
    with whole(place) as folder:
        write_picture(folder / "mask.png", Picture(mask.float()))
        points = output.value[0].reshape(-1, 2).cpu().numpy()
        np.savetxt(folder / "contour.csv", points, fmt="%.3f", delimiter=",", header="x,y", comments="")


def write_song(place: Path, output: Landmarks, batch: Batch, *, library: Library) -> None:
    """Into the library instead of a file, under the item's name."""
    library.add(batch["name"][0], output, path=batch["path"][0])


def write_answers(place: Path, output: list[list[Match | Track]], batch: Batch) -> None:
    """What was recognised as `<place>.csv`, a line an answer, and as a line of the log."""
    (answers,) = output
    lines = [type(answer)._fields for answer in answers[:1]] + [tuple(answer) for answer in answers]
    with whole(place.parent / f"{place.name}.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    for answer in answers:
        log.info("%s: %s", batch["name"][0], _said(answer))
    if not answers:
        log.info("%s: nothing that the library knows", batch["name"][0])


def _said(answer: Match | Track) -> str:
    if isinstance(answer, Track):
        return f"{_clock(answer.start)} to {_clock(answer.stop)}: {answer.name}, score {answer.score:.1f}"
    sure = "" if answer.accepted else ", but not surely"
    return f"{answer.name} from {_clock(answer.offset)} on{sure}, score {answer.score:.1f}"


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}" if math.isfinite(seconds) else "an unknown time"
