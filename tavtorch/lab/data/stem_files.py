"""The stems of a recording as files, written block by block, together whole or not at all."""

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from tavtorch.atomic import whole
from tavtorch.lab.data.sound_results import Form, form_of_peak
from tavtorch.lab.data.sound_writer import AudioWriter, sample_bytes

log = logging.getLogger(__name__)
_INTERVAL = 30.0  # seconds between two lines of progress where there is no terminal


class Stems(NamedTuple):
    """What is known of stems before they are there."""

    names: Sequence[str]
    wanted: Sequence[str]
    """Those of the names that are written."""
    sample_rate: int
    channels: int
    frames: int
    """How many are to come."""
    counted: bool = True
    """Whether that is a count; else it is an estimate, by which no room is asked for and a WAV is RF64 early."""


def write_stem_files(
    path: Path, blocks: Callable[[], Iterable[Float[Tensor, "s c _n"]]], stems: Stems, form: Form
) -> None:
    """One file a stem in the folder `path`: `vocals.wav`, …

    All have one form. The first block beyond [-1, 1], where integers would clip it, begins them anew in `form.louder`:
    there is no second look at a recording, but at its part before that block. Integers are rounded so that the sum of
    the files is the rounded sum of the stems. A block is encoded by threads while the next one is made.

    Args:
        path: of the folder, which is complete when it is there.
        blocks: begins the stems in blocks, in the order of their names.
        stems: what they are.
        form: of the files.

    Raises:
        ValueError: the disk has no room for them.
        OSError: it is full now, or the place cannot be written.
    """
    with whole(path) as folder:
        folder.mkdir()
        while (louder := _written(path, folder, blocks(), stems, form)) != form:
            form = louder
            for file in folder.iterdir():
                file.unlink()


def _written(path: Path, folder: Path, blocks: Iterable[Tensor], stems: Stems, form: Form) -> Form:
    """The form itself when all is written in it, or the one that louder blocks need."""
    _check_room(path, folder, stems, form)
    files: dict[str, AudioWriter] = {}

    def write(block: Tensor, i: int) -> None:
        files[stems.names[i]].write(block[i], block[:-1] if i == len(stems.names) - 1 else None)

    peak, written = 0.0, iter([None])  # the latter raises the errors of the threads as it is gone through
    with ExitStack() as opened:
        for name in stems.wanted:
            file = f"{name}{form.suffix}"
            files[name] = opened.enter_context(
                AudioWriter(
                    folder / file,
                    stems.channels,
                    stems.sample_rate,
                    frames=stems.frames * (1 if stems.counted else 2),
                    subtype=form.subtype,
                    tags=form.tags,
                    name=path / file,
                )
            )
        threads = opened.enter_context(ThreadPoolExecutor(len(stems.names)))  # which end before the files are closed
        for block in _told(path.name, blocks, stems):
            peak = max(peak, float(block.max()), -float(block.min()))
            if peak > 1 and form.louder:
                return form_of_peak(path, form, peak)
            list(written)
            written = threads.map(partial(write, block), [i for i, name in enumerate(stems.names) if name in files])
        list(written)
    return form_of_peak(path, form, peak)


def _check_room(path: Path, folder: Path, stems: Stems, form: Form) -> None:
    """Raise a `ValueError` if the disk has less room than files of a known size need."""
    needed = stems.frames * stems.channels * sample_bytes(form.subtype) * len(stems.wanted)
    free = shutil.disk_usage(folder).free
    if needed > free and stems.counted and form.suffix != ".flac":
        raise ValueError(
            f"{path}: {len(stems.wanted)} stems in {form.subtype} need {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB "
            "are free; make room, choose another folder with hydra.run.dir=PATH, or task.save.suffix=.flac."
        )


def _told(name: str, blocks: Iterable[Tensor], stems: Stems) -> Iterator[Tensor]:
    """The blocks, with a bar that tells the time left; where there is no terminal, with a line every half a minute."""
    begun = spoke = time.monotonic()
    done, rate = 0, stems.sample_rate
    with tqdm(total=stems.frames / rate, desc=name, unit="s", unit_scale=True, leave=False, disable=None) as bar:
        for block in blocks:
            yield block
            done += block.shape[-1]
            bar.update(block.shape[-1] / rate)
            now = time.monotonic()
            if bar.disable and now - spoke > _INTERVAL:
                left = (now - begun) * max(stems.frames - done, 0) / done
                at, end, rest = (timedelta(seconds=round(one)) for one in (done / rate, stems.frames / rate, left))
                log.info("%s: %s of %s, %s left", name, at, end, rest)
                spoke = now
