"""Wave → names of songs: a list of `Match` or `Track` per item; and songs into a library."""

import csv
import logging
import math
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from tavtorch.audio.recognition.constellation import Peaks, pairs, unpack
from tavtorch.audio.recognition.landmarks import Landmarks, Recipe, fingerprint
from tavtorch.audio.recognition.library import Library
from tavtorch.audio.recognition.match import Match
from tavtorch.audio.recognition.tracks import Track
from tavtorch.audio.sonogram import sonogram
from tavtorch.lab.data.batches import Batch
from tavtorch.lab.data.files import whole
from tavtorch.lab.data.music import readable
from tavtorch.lab.panels import Panel, plot, sound_panel

log = logging.getLogger(__name__)

# score


def recognition(output: list[list[Match]], batch: Batch) -> dict[str, Tensor]:
    """Whether the song of a clip was recognised, by its condition: 0 or 1, so that the mean is a rate.

    - `recall@1`: the best answer is the right song, whatever its score;
    - `recall`: and it was accepted;
    - `unknown accepted`: an answer was accepted although the library does not have the song.
    """
    (condition,) = set(batch["condition"])
    best = [answers[0] if answers else None for answers in output]
    right = torch.tensor([a is not None and a.name == song for a, song in zip(best, batch["song"], strict=True)])
    accepted = torch.tensor([a is not None and a.accepted for a in best])
    known = torch.tensor([song != "" for song in batch["song"]])
    return {
        f"{condition}/recall@1": torch.where(known, right.float(), torch.nan),
        f"{condition}/recall": torch.where(known, (right & accepted).float(), torch.nan),
        f"{condition}/unknown accepted": torch.where(known, torch.nan, accepted.float()),
    }


# panels


def recognised(output: list[list[Match]], batch: Batch, *, library: Library) -> list[Panel]:
    """The clip, its peaks and pairs over the sonogram, and how many pairs vote for each offset in the song."""
    wave, rate, recipe = batch["inputs"]["wave"], batch["inputs"]["sample_rate"], library.recipe
    marks = fingerprint(wave, rate, recipe)
    answer = output[0][0] if output and output[0] else None
    text = f"{answer.name}, score {answer.score:.1f}{'' if answer.accepted else ', refused'}" if answer else "nothing"
    clip = wave[0].float().cpu()
    panels = [
        sound_panel(f"the clip; recognised: {text}", clip, rate, float(sonogram(clip).max())),
        Panel("peaks of the sonogram", _constellation(clip, rate, marks.peaks, recipe, None)),
        Panel("each with its nearest neighbours", _constellation(clip, rate, marks.peaks, recipe, recipe.neighbours)),
    ]
    if answer:
        (offsets,) = library.offsets(marks, answer.name)
        panels.append(Panel(f"votes for the places in {answer.name}", _votes(offsets)))
    return panels


def _constellation(wave: Tensor, rate: int, peaks: Peaks, recipe: Recipe, neighbours: int | None) -> str:
    """The peaks over the sonogram, and lines between the pairs if `neighbours` are given."""
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.add_subplot(xlabel="time in s", ylabel="frequency in kHz")
    _draw_sonogram(axes, wave, rate, recipe)
    shown = Peaks(*(field.cpu() for field in peaks))
    seconds, kilohertz = recipe.seconds, recipe.rate / recipe.n_fft / 1000
    there = shown.time[0] >= 0
    axes.scatter(shown.time[0][there] * seconds, shown.frequency[0][there] * kilohertz, s=6, color="tab:cyan")
    if neighbours:
        found = pairs(shown.loudest(recipe.paired), neighbours)
        known = found.time[0] >= 0
        begin, (low, rise, step) = found.time[0][known], unpack(found.hash[0][known])
        times, tones = torch.stack((begin, begin + step)), torch.stack((low, low + rise))
        axes.plot((times * seconds).numpy(), (tones * kilohertz).numpy(), color="tab:cyan", linewidth=0.4)
    return plot(figure)


def _draw_sonogram(axes: Axes, wave: Tensor, rate: int, recipe: Recipe) -> None:
    from torchaudio.functional import resample

    levels = sonogram(resample(wave.mean(0), rate, recipe.rate), n_fft=recipe.n_fft, hop=recipe.hop).numpy()
    extent = (0.0, wave.shape[-1] / rate, 0.0, recipe.rate / 2000)
    axes.imshow(levels, origin="lower", aspect="auto", extent=extent, vmin=levels.max() - 80, cmap="magma")


def _votes(offsets: Tensor) -> str:
    """A histogram with bins of half a second: pairs of the right song agree on one offset."""
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.add_subplot(xlabel="position in the song in s", ylabel="votes")
    seconds = offsets.cpu().numpy()
    low, high = (seconds.min(), seconds.max()) if len(seconds) else (0.0, 1.0)
    axes.hist(seconds, bins=np.arange(low, high + 1.0, 0.5).tolist(), color="tab:orange")
    axes.spines[["top", "right"]].set_visible(False)
    return plot(figure)


# writers


def write_song(path: Path, output: Landmarks, batch: Batch, *, library: Library, overwrite: bool = False) -> None:
    """Added to the library under the item's name, with what its file tells, instead of a file.

    Args:
        overwrite: replace another recording of this name.
    """
    name, source, tags = batch["name"][0], batch["sources"][0][0].with_digest(), batch["file"][0]
    file = (source.size, source.modified, source.digest)
    library.add(name, output, **tags, path=readable(Path(source.path)), file=file, overwrite=overwrite)


def write_answers(path: Path, output: list[list[Match | Track]], batch: Batch, *, window: float = 15.0) -> Path:
    """The answers as `<path>.csv`, one line each, and as lines of the log.

    Args:
        window: see `recognise`: seconds up to which a recording has a `Match`, and not a `Track`, in each line.
    """
    (answers,), inputs = output, batch["inputs"]
    frames = inputs["length"] if "length" in inputs else inputs["wave"].shape[-1]
    is_long = frames > window * inputs["sample_rate"]
    place = path.parent / f"{path.name}.csv"
    with whole(place) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([(Track if is_long else Match)._fields, *answers])
    for answer in answers:
        log.info("%s: %s", batch["name"][0], _line_of(answer))
    if not answers:
        log.info("%s: nothing that the library knows", batch["name"][0])
    return place


def _line_of(answer: Match | Track) -> str:
    if isinstance(answer, Track):
        return f"{clock(answer.start)} to {clock(answer.stop)}: {answer.name}, score {answer.score:.1f}"
    sure = "" if answer.accepted else ", but not surely"
    return f"{answer.name} from {clock(answer.offset)} on{change_of(answer)}{sure}, score {answer.score:.1f}"


def change_of(match: Match) -> str:
    """How the clip is changed, in words that go on a line; nothing where it is not."""
    factors = {"speed": match.speed, "tempo": match.tempo, "pitch": match.pitch}
    told = [f", at {factor:.3f} times the {kind}" for kind, factor in factors.items() if factor != 1]
    return "".join(told)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours from one hour on, rounded to tenths."""
    if not math.isfinite(seconds):
        return "an unknown time"
    tenths = round(10 * abs(seconds))
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if seconds < 0 and tenths + minutes + hours else ""
    return sign + (f"{hours}:{minutes:02}" if hours else f"{minutes}") + f":{tenths / 10:04.1f}"
