"""One HTML page a run: scores, learning curves, items to look at and listen to. It opens from disk, without network."""

import base64
import io
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import lightning as L
import matplotlib
import numpy as np
import soundfile
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from tavtorch.audio.sonogram import sonogram
from tavtorch.data.batches import Batch, alone
from tavtorch.data.files import whole
from tavtorch.task import Row, Task

log = logging.getLogger(__name__)
_LISTEN = 15.0  # seconds of a song that a page plays


class Panel(NamedTuple):
    """A picture with its caption, and a sound under it where it is one; both as data URLs."""

    caption: str
    picture: str
    sound: str | None = None


class Report(L.Callback):
    """Writes the page when a test ends.

    Args:
        path: of the page.
        title: its heading.
        show: `show(output, batch)` gives the panels of an item, which comes as a batch of one.
        items: how many of the first items are shown.
    """

    def __init__(self, path: str, *, title: str, show: Callable[[Any, Batch], list[Panel]], items: int = 3) -> None:
        self.path, self.title, self.show, self.items = Path(path), title, show, items
        self.history: list[dict[str, float]] = []
        self.exhibits: list[tuple[str, list[Panel]]] = []

    def state_dict(self) -> dict[str, Any]:
        """The learning curves travel in the checkpoint, so that a run that goes on shows them from its start."""
        return {"history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = state["history"]

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.history.append({"epoch": trainer.current_epoch + 1, "learning rate": rate, **metrics})

    def on_test_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.exhibits = []

    def on_test_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, output: Any, batch: Batch, *_: int
    ) -> None:
        for i, name in enumerate(batch.get("name", ())):
            if trainer.is_global_zero and len(self.exhibits) < self.items:
                self.exhibits.append((name, self.show(alone(output, i), alone(batch, i))))

    def on_test_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        assert isinstance(task, Task)
        if trainer.is_global_zero:
            page = render(self.title, task.rows, task.errors, self.history, self.exhibits)
            with whole(self.path) as part:
                part.write_text(page, encoding="utf-8")
            log.info("\n%s\n\nreport: %s", as_text(summary(task.rows)), self.path)


def render(
    title: str,
    rows: Sequence[Row],
    errors: dict[str, str],
    history: Sequence[dict[str, float]] = (),
    exhibits: Sequence[tuple[str, list[Panel]]] = (),
) -> str:
    """The page as one self-contained HTML text."""
    loader = jinja2.PackageLoader("tavtorch", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["label"] = label
    return environment.get_template("report.html").render(
        title=title,
        table=summary(rows),
        rows=rows,
        columns=[column for column in rows[0] if column != "name"] if rows else [],
        errors=errors,
        curves=curves(history) if len(history) > 1 else None,
        exhibits=exhibits,
    )


def summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Medians over the items: `{"si_sdr": {"vocals": …}, …}` from columns named `vocals/si_sdr`."""
    table: dict[str, dict[str, float]] = {}
    for column in rows[0] if rows else ():
        if column != "name":
            what, _, measure = column.rpartition("/")
            values = np.array([row[column] for row in rows], dtype=float)
            table.setdefault(measure, {})[what] = float(np.nanmedian(values)) if np.isfinite(values).any() else np.nan
    return table


def as_text(table: dict[str, dict[str, float]]) -> str:
    """The medians for a terminal."""
    columns = next(iter(table.values()), {})
    lines = [f"{'median':16}" + "".join(f"{column:>16}" for column in columns)]
    for measure, values in table.items():
        lines.append(f"{label(measure):16}" + "".join(f"{value:16.2f}" for value in values.values()))
    return "\n".join(lines)


def label(measure: str) -> str:
    """How a measure is written for people: `si_sdr_gain` is the SI-SDR gain."""
    words = measure.replace("si_", "SI-").replace("_", " ")
    return re.sub("sdr|isr|sir|sar", lambda name: name[0].upper(), words)


def stems_panels(output: Float[Tensor, "1 s c t"], batch: Batch, *, stems: Sequence[str]) -> list[Panel]:
    """Mixture, estimates and truths of the middle of a song, all drawn to one scale of decibels."""
    rate, wave = batch["inputs"]["sample_rate"], batch["inputs"]["wave"]
    middle, half = wave.shape[-1] // 2, round(_LISTEN / 2 * rate)
    heard = slice(max(0, middle - half), middle + half)
    waves = {"mixture": wave[0]}
    for stem, estimate, truth in zip(stems, output[0], batch["truth"][0], strict=True):
        waves |= {f"{stem}, estimated": estimate, f"{stem}, true": truth}
    top = float(sonogram(wave[0, :, heard]).max())
    return [sound_panel(caption, one[:, heard].float().cpu(), rate, top) for caption, one in waves.items()]


def sound_panel(caption: str, wave: Float[Tensor, "c t"], sample_rate: int, top: float) -> Panel:
    """A player under its sonogram, drawn from `top` dB down to 80 dB below it."""
    levels = sonogram(wave.mean(0))
    figure = Figure(figsize=(6, 2.2), layout="constrained")
    axes = figure.add_subplot(xlabel="time in s", ylabel="frequency in kHz")
    extent = (0.0, wave.shape[-1] / sample_rate, 0.0, sample_rate / 2000)
    axes.imshow(levels, origin="lower", aspect="auto", extent=extent, vmin=top - 80, vmax=top, cmap="magma")
    return Panel(caption, _png(figure), _mp3(wave, sample_rate))


def curves(history: Sequence[dict[str, float]]) -> str:
    """Losses and learning rate over the epochs, as a data URL."""
    with matplotlib.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9, 3), layout="constrained")
        left, right = figure.subplots(1, 2)
    epochs = [record["epoch"] for record in history]
    for name in ("train/loss", "val/loss"):
        left.plot(epochs, [record.get(name, np.nan) for record in history], marker=".", label=name)
    left.set(xlabel="epoch", ylabel="loss")
    left.xaxis.get_major_locator().set_params(integer=True)
    right.xaxis.get_major_locator().set_params(integer=True)
    left.legend(frameon=False)
    right.semilogy(epochs, [record["learning rate"] for record in history], marker=".", color="tab:green")
    right.set(xlabel="epoch", ylabel="learning rate")
    return _png(figure)


def _png(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return _url("image/png", file)


def _mp3(wave: Tensor, sample_rate: int) -> str:
    """MP3 plays in every browser; its rates end at 48 kHz, so that faster waves are brought there."""
    from torchaudio.functional import resample

    rate = min(sample_rate, 48000)
    file = io.BytesIO()
    loud = wave.abs().max().clamp(min=1)  # MP3 would clip what an estimate overshoots
    soundfile.write(file, (resample(wave, sample_rate, rate) / loud).T.numpy(), rate, format="MP3")
    return _url("audio/mpeg", file)


def _url(kind: str, file: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
