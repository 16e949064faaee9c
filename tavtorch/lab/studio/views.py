"""What a result looks like and sounds like: pictures, contours, tracks and tables for the browser, and downloads."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import soundfile
import torch
from jaxtyping import Float
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from tavtorch.audio.recognition.tracks import Track
from tavtorch.audio.sonogram import sonogram
from tavtorch.image.contours.polygons import area
from tavtorch.image.patches import Filling
from tavtorch.lab.kinds import copies, forces, splits
from tavtorch.lab.kinds.music import change_of, clock
from tavtorch.lab.kinds.pictures import marked
from tavtorch.lab.kinds.solutions import solutions_in, value_of
from tavtorch.lab.kinds.stems import part_names
from tavtorch.lab.panels import Panel

_COLUMNS, _ROWS = 1200, 160  # of a sonogram
_FRAMES = 60  # of a moving contour, at most


class View:
    """What is shown of one result; `result` is sent to the browser, which asks for its `files` by their names.

    Args:
        folder: where files for the browser are written.
        facts: names and values.
    """

    def __init__(self, folder: Path, facts: list[list[str]] | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.files: dict[str, str] = {}
        self.result: dict[str, Any] = {"shown": [], "facts": facts or [], "downloads": [], "files": self.files}

    def picture(self, caption: str, image: Float[Tensor, "c h w"], before: str | None = None) -> None:
        """Pixel by pixel, clipped to [0, 1]; `before` is the caption that a slider compares it with."""
        pixels = (image.detach().float().clamp(0, 1) * 255).round().byte().movedim(0, -1).squeeze(-1).numpy()
        name = f"{len(self.files)}.png"
        Image.fromarray(pixels).save(self.folder / name, compress_level=1)
        self._show("picture", name, caption=caption, before=before)

    def panel(self, panel: Panel) -> None:
        """A picture or a plot of the report."""
        self.result["shown"].append({"kind": "picture", "url": panel.picture, "caption": panel.caption,
                                     "before": panel.before})  # fmt: skip

    def sounds(self, waves: dict[str, Float[Tensor, "c t"]], rate: int) -> None:
        """Tracks that are heard together, with sonograms of one range of decibels."""
        levels = {name: _levels(wave) for name, wave in waves.items()}
        top = max(float(one.max()) for one in levels.values())
        tracks = []
        for i, (name, wave) in enumerate(waves.items()):
            sound, drawn = f"{i}.flac", f"{i}-sonogram.png"
            shown = wave if len(wave) <= 2 else wave.mean(0, keepdim=True)
            peak = max(1.0, float(shown.abs().max()))
            soundfile.write(self.folder / sound, (shown / peak).T.numpy(), min(rate, 655350), "PCM_16")
            colors = matplotlib.colormaps["magma"](((levels[name] - top) / 80 + 1).clamp(0, 1).flip(0).numpy())
            Image.fromarray((colors[..., :3] * 255).astype(np.uint8)).save(self.folder / drawn)
            self.files |= {sound: str(self.folder / sound), drawn: str(self.folder / drawn)}
            tracks.append({"name": name, "sound": sound, "sonogram": drawn, "gain": peak})
        seconds = next(iter(waves.values())).shape[-1] / rate
        self.result["shown"].append({"kind": "sounds", "tracks": tracks, "seconds": seconds, "kilohertz": rate / 2000})

    def download(self, path: Path, name: str) -> None:
        self.files[f"results/{name}"] = str(path)
        self.result["downloads"].append(f"results/{name}")

    def downloads(self, place: Path | None) -> None:
        """The file that a writer has written, or all files of the folder."""
        if place:
            for path in sorted(place.iterdir()) if place.is_dir() else [place]:
                self.download(path, path.name)

    def _show(self, kind: str, name: str, **more: Any) -> None:
        self.files[name] = str(self.folder / name)
        self.result["shown"].append({"kind": kind, "file": name, **more})


def show(view: View, config: DictConfig, output: Any, batch: Any, *, frames: Sequence[Tensor]) -> None:
    """A result by the writer of its kind."""
    for solution in solutions_in(output):
        steps, gap = int(solution.iterations.max()), float(solution.gap.max())
        if isinstance(solution, Filling):  # textures go on changing
            view.result["facts"] += [["iterations", f"{steps}"], ["changed by the last one", f"{gap:.0%}"]]
            continue
        ended = "" if bool(solution.converged.all()) else ": not converged; give it more steps, or a larger tol"
        view.result["facts"] += [["iterations", f"{steps}{ended}"], ["certificate (gap)", f"{gap:.3g}"]]
    kind = config.task.save._target_.rpartition(".")[2]
    if kind == "write_contours":
        _contours(view, output, batch, frames)
    elif kind in _SHOWN:
        _SHOWN[kind](view, config, output, batch)


def _pictures(view: View, config: DictConfig, output: Any, batch: Any) -> None:
    before, after = batch["inputs"]["image"][0], value_of(output)[0].detach()
    hole = batch["inputs"].get("hole")
    view.result["shown"].append({"kind": "picture", "caption": "before"})  # which the browser has
    view.picture("after", after, before="before")
    if hole is None:
        view.picture("what is taken away, around mid-grey, × 2", 0.5 + 2 * (before - after))
    else:
        view.picture("the hole", marked(before, hole[0]))


def _copies(view: View, config: DictConfig, output: Any, batch: Any) -> None:
    _pictures(view, config, output, batch)
    view.picture(copies.CAPTION, copies.origins(output))


def _parts(view: View, config: DictConfig, output: Any, batch: Any) -> None:
    for panel in splits.parts(output, batch):
        view.panel(panel)


def _field(view: View, config: DictConfig, output: Any, batch: Any) -> None:
    for panel in forces.field(output, batch):
        view.panel(panel)


def _stems(view: View, config: DictConfig, output: Any, batch: Any) -> None:
    stems = output if isinstance(output, Tensor) else output.stems
    names = (
        part_names(config.form.stems, stems)
        if isinstance(output, Tensor)
        else [f"component {k + 1}" for k in range(stems.shape[1])]
    )
    waves = {"the recording": batch["inputs"]["wave"][0]} | dict(zip(names, stems[0].detach(), strict=True))
    view.sounds(waves, batch["inputs"]["sample_rate"])


def _wave(view: View, config: DictConfig, output: Any, batch: Any) -> None:
    before, after = batch["inputs"]["wave"][0], value_of(output)[0]
    view.sounds({"before": before, "after": after, "taken away": before - after}, batch["inputs"]["sample_rate"])


def _answers(view: View, config: DictConfig, output: Any, batch: Any) -> None:
    rows = [
        [one.name, f"{clock(one.start)} to {clock(one.stop)}", "", f"{one.score:.1f}"]
        if isinstance(one, Track)
        else [one.name, clock(one.offset) + change_of(one), str(one.votes), f"{one.score:.1f}"]
        for one in output[0]
        if isinstance(one, Track) or one.accepted
    ]
    head = ["song", "place", "votes", "score"]
    view.result["shown"].append({"kind": "answer", "head": head, "rows": rows, "none": "not in the library"})


def _contours(view: View, output: Any, batch: Any, frames: Sequence[Tensor]) -> None:
    """The way of all contours of a picture, `(frames, contours, points, 2)`, and an SVG of the end."""
    h, w = batch["inputs"]["image"].shape[-2:]
    last, count = max(len(frames) - 1, 0), min(_FRAMES, len(frames))
    chosen = sorted(set(torch.linspace(0, last, count).round().int().tolist()))
    way = [frames[i].reshape(-1, *frames[i].shape[-2:]) for i in chosen] + [output.value[0]]
    areas = area(output.value[0]).abs().tolist()
    view.result["shown"].append({
        "kind": "contours", "width": w, "height": h, "areas": [round(one, 1) for one in areas],
        "frames": [(10 * one).round().div(10).tolist() for one in way],
    })  # fmt: skip
    corners = [" ".join(f"{x:.2f},{y:.2f}" for x, y in contour.tolist()) for contour in output.value[0]]
    paths = "".join(f'<polygon points="{points}"/>' for points in corners)
    box = f'viewBox="-0.5 -0.5 {w} {h}" fill="none" stroke="#0aa"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{paths}</svg>\n'
    (view.folder / "contour.svg").write_text(svg, encoding="utf-8")
    view.download(view.folder / "contour.svg", "contour.svg")
    for i, pixels in enumerate(areas):
        label = "area" if len(areas) == 1 else f"area {i + 1}"
        view.result["facts"].append([label, f"{pixels:.0f} square pixels, {pixels / (h * w):.2%} of the picture"])


_SHOWN: dict[str, Callable[[View, DictConfig, Any, Any], None]] = {
    "write_image": _pictures,
    "write_filled": _copies,
    "write_parts": _parts,
    "write_field": _field,
    "write_stems": _stems,
    "write_components": _stems,
    "write_wave": _wave,
    "write_answers": _answers,
}


def _levels(wave: Float[Tensor, "c t"]) -> Float[Tensor, "rows columns"]:
    """Decibels, as many as a screen shows; of a long recording piece by piece."""
    mono = wave.mean(0)
    pieces = mono.tensor_split(max(1, min(_COLUMNS, len(mono) >> 20)))
    drawn = []
    for piece in pieces:
        levels = sonogram(piece, n_fft=1024, hop=min(512, max(256, len(mono) // (2 * _COLUMNS))))
        size = (_ROWS, min(max(1, _COLUMNS // len(pieces)), levels.shape[-1]))
        drawn.append(torch.nn.functional.adaptive_max_pool2d(levels[None], size)[0])
    return torch.cat(drawn, -1)
