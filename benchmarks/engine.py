"""How much of a folder run its op has: `uv run benchmarks/engine.py`, for pictures of two megapixels.

The op waits for so many milliseconds as a card would take (`--op`), and needs no processor. What is left is reading,
decoding, encoding and writing, which other threads and processes do meanwhile (`--threads`, `--workers`); at the floor
the processor's time for a picture is shared by all cores.
"""

import argparse
import itertools
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning as L
import torch
from measure import tabled
from skimage import data

from tavtorch.lab.data.files import Picture, write_picture
from tavtorch.lab.data.folder import Folder
from tavtorch.lab.data.media import PICTURE
from tavtorch.lab.kinds.pictures import write_image
from tavtorch.lab.task import Task
from tavtorch.lab.write import Write

SIDES = 1224, 1632


class Op:
    """Waits as if a card were computing, and counts how long."""

    def __init__(self, seconds: float) -> None:
        self.wait, self.spent = seconds, 0.0

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter()
        time.sleep(self.wait * len(image))
        self.spent += time.perf_counter() - start
        return image


def folder_of_photos(folder: Path, suffix: str, count: int) -> None:
    """A noisy photograph, each time turned a little further."""
    photo = torch.from_numpy(data.coffee()).permute(2, 0, 1)[None].float() / 255
    photo = torch.nn.functional.interpolate(photo, SIDES, mode="bicubic")[0]
    noise = 0.02 * torch.randn(3, *SIDES, generator=torch.Generator().manual_seed(0))
    for i in range(count):
        image = (photo + noise).roll(50 * i, -1).clamp(0, 1)
        write_picture(folder / f"{i}{suffix}", Picture(image, None, 255))


def run(photos: Path, out: Path, op: Op, *, threads: int, workers: int) -> float:
    """Seconds of a whole run, from its first picture on."""
    callback, task = Write(str(out), threads=threads), Task(op, save=write_image)
    files = Folder(str(photos), PICTURE, results=str(out), workers=workers)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = L.Trainer(accelerator="cpu", callbacks=[callback], **quiet)
    trainer.predict(task, files, return_predictions=False)
    return time.monotonic() - callback.begun


def measure(suffix: str, asked: argparse.Namespace, row: Callable[[str, dict[str, float]], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        folder_of_photos(photos, suffix, asked.photos)
        for workers, threads in itertools.product(asked.workers, asked.threads):
            op, begin = Op(asked.op / 1000), time.process_time()
            out = Path(folder, f"written {workers} {threads}")
            whole = run(photos, out, op, threads=threads, workers=workers)
            cpu = 1000 * (time.process_time() - begin) / asked.photos
            values = {"pictures (a second)": asked.photos / whole, "time in the op (%)": 100 * op.spent / whole}
            name = f"{suffix}, op of {asked.op:g} ms, reading processes {workers}, writing threads {threads}"
            row(name, values | {"processor time of one (ms)": cpu})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--op", type=float, default=30, help="milliseconds of a picture (default: %(default)s)")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1])
    asked = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    with tabled("engine: a folder of pictures of two megapixels through an op that waits") as row:
        for suffix in (".jpg", ".png"):
            measure(suffix, asked, row)


if __name__ == "__main__":
    main()
