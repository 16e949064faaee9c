"""In a process of its own: looks at a file, runs a task, fills a library; so that all of it can be stopped."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, cast

import numpy as np
import torch
from hydra.utils import instantiate

from tavtorch.audio.separation.separate import separate
from tavtorch.image.restoration.weight import estimated_weight, noise_level
from tavtorch.lab import checkpoints
from tavtorch.lab.data.batches import Item, collate
from tavtorch.lab.data.files import AUDIO, PICTURES, audio_info, read_audio, read_picture
from tavtorch.lab.data.music import SONG
from tavtorch.lab.data.results import Source
from tavtorch.lab.messages import message_of
from tavtorch.lab.run import weights
from tavtorch.lab.studio import lines, listening, systems, views
from tavtorch.lab.task import Task
from tavtorch.solve import iterate

log = logging.getLogger(__name__)
_EVERY = 0.25  # seconds between two reports of progress
Request = dict[str, Any]


def main(connection: Connection, threads: int) -> None:
    """Answer requests, one at a time, until the other end is closed."""
    torch.set_num_threads(threads)
    logging.getLogger("lightning").setLevel(logging.ERROR)
    if not connection.poll():  # what the first request would wait for
        systems.ops()
        instantiate(systems.composed("segment").task, _convert_="all")
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        if request["do"] == "listen":
            answer = _answered(request, partial(listening.listen, tell=connection.send))
        else:
            with _progress(connection.send):
                answer = _answered(request)
        connection.send(answer)


def _answered(request: Request, action: Callable[[Request], dict[str, Any]] | None = None) -> tuple[str, Any]:
    """`("done", result)`, or `("failed", message)` if the input is bad."""
    try:
        return "done", (action or _ACTIONS[request["do"]])(request)
    except Exception as error:
        try:
            message = message_of(error)
        except Exception:
            message = None
        if isinstance(error, RuntimeError) and "memory" in str(error):
            message = "memory is full; take a smaller picture or a shorter recording."
        if message is None:
            log.exception("a defect of the program")
            message = f"a defect of the program: {type(error).__name__}: {error}"
        return "failed", message.replace(f"{request.get('place', '')}{os.sep}", "")


def describe(request: Request) -> dict[str, Any]:
    """All tasks, and what a network lacks."""
    found = []
    for name in systems.system_names():
        config, fault = systems.composed(name), ""
        if systems.is_network(config):
            try:
                weights(config, Path("train.py"))
            except ValueError as error:
                fault = str(error)
        found.append(systems.system(name) | {"fault": fault})
    return {"systems": found}


def open_experiment(request: Request) -> dict[str, Any]:
    """The page of an experiment of the report."""
    return systems.experiment(request["name"])


def look(request: Request) -> dict[str, Any]:
    """What a file is, as a person sees or hears it."""
    path, folder = Path(request["file"]), Path(request["folder"])
    if path.suffix.lower() in PICTURES:
        image, alpha, levels, _ = read_picture(path, nan=True)
        h, w = image.shape[-2:]
        if h * w > request["pixels"]:
            raise ValueError(f"{path}: {w} x {h} pixels, more than {request['pixels'] / 1e6:.0f} million; shrink it.")
        view = views.View(folder)
        depth = {255: "8 bits", 65535: "16 bits", None: "numbers"}[levels]
        facts = [["size", f"{w} × {h} pixels, {depth}{', with opacity' if alpha is not None else ''}"]]
        if min(h, w) > 1 and bool(image.isfinite().all()):
            facts.append(["noise σ", f"{float(noise_level(image[None])):.3g}"])
        view.picture("preview", image.nan_to_num(0.5))
        return view.result | {"kind": "picture", "width": w, "height": h, "facts": facts}
    if path.suffix.lower() in AUDIO:
        rate, channels, frames = audio_info(path)
        if frames > request["seconds"] * rate:
            raise ValueError(f"{path}: it is longer than {request['seconds'] / 60:g} minutes; cut it.")
        view = views.View(folder)
        view.sounds({"the recording": read_audio(path)[0]}, rate)
        facts = [["length", f"{frames / rate:.1f} s, {channels} channel{'s' * (channels > 1)}, {rate} Hz"]]
        return view.result | {"kind": "recording", "facts": facts}
    raise ValueError(f"{path}: expected a picture ({', '.join(PICTURES)}) or a recording ({', '.join(AUDIO)}).")


def run(request: Request) -> dict[str, Any]:
    """A task on a file."""
    name, path, folder = request["task"], Path(request["file"]), Path(request["folder"])
    if name not in systems.system_names():
        raise ValueError(f"task: there is no {name!r}.")
    preset: tuple[str, ...] = ()
    if published := request.get("experiment"):
        name, preset, _ = systems.preset(str(published))
    words = lines.overrides(name, request["settings"], preset)
    start = _write_start(folder / "start.csv", request["shapes"]) if request.get("shapes") else None
    hole = Path(request["hole"]) if request.get("hole") else None
    config = lines.configured(name, words, holes=hole, start=start)
    if library := request.get("library"):
        config.library.url = library
    ckpt = weights(config, Path("train.py"))
    task: Task = instantiate(config.task, _convert_="all")
    if ckpt:
        task.load_state_dict(checkpoints.read(Path(ckpt))["state_dict"])
    task.eval()

    media = instantiate(config.data.media if name == "recognise" else config.media)
    item = _item(path, media.read(path))
    batch, frames, facts = collate([item]), list[torch.Tensor](), list[list[str]]()
    if start:
        task = _remembering(task, frames)
    if request["settings"].get("task.op.weight") == "sure":
        weight = estimated_weight("sure", batch["inputs"]["image"], config.task.op.coupling)
        task.op, facts = partial(task.op, weight=weight), [["weight λ by SURE", f"{float(weight):.4g}"]]

    begun = time.monotonic()
    with torch.no_grad():
        output = task.predict_step(batch, 0)
    facts += [["time", f"{time.monotonic() - begun:.2f} s"]]
    if task.errors:
        raise ValueError(next(iter(task.errors.values())))

    view = views.View(folder, facts)
    assert task.save is not None
    views.show(view, config, output, batch, frames=frames)
    view.downloads(task.save(folder / "results" / path.stem, output, batch))
    for place in (start, hole):
        if place:
            view.download(place, f"{'start' if place is start else 'hole'}{place.suffix}")
    more = ["media.holes=hole.png"] * bool(hole) + ["media.start=start.csv"] * bool(start)
    read = (
        "wave" if "wave" in batch["inputs"] or name == "recognise" else "image" + " hole" * ("hole" in batch["inputs"])
    )
    view.result["command"] = lines.command(name, words, path.name, more)
    view.result["python"] = lines.python(config, path.name, read + " points" * bool(start))
    return view.result


def add(request: Request) -> dict[str, Any]:
    """A song into the library of the visitor."""
    path, config = Path(request["file"]), systems.composed("fingerprint")
    config.library.url = request["library"]
    task: Task = instantiate(config.task, _convert_="all")
    batch = collate([_item(path, SONG.read(path))])
    output = task.predict_step(batch, 0)
    if task.errors:
        raise ValueError(next(iter(task.errors.values())))
    assert task.save is not None
    task.save(Path(request["folder"]), output, batch)
    return {"facts": [["added", path.stem]]}


_ACTIONS = {"describe": describe, "experiment": open_experiment, "look": look, "run": run, "add": add}


def _item(path: Path, read: dict[str, Any]) -> Item:
    return cast(Item, {"name": path.stem, "sources": [Source.of(path)]} | read)


def _write_start(path: Path, shapes: list[dict[str, Any]], n: int = 200) -> Path:
    """Circles and polygons as contours of `n` points each, one after the other."""
    from tavtorch.image.contours.polygons import circle, equidistant

    contours = []
    for shape in shapes:
        if "radius" in shape:
            points = circle((shape["x"], shape["y"]), shape["radius"], n)[0]
        else:
            corners = torch.tensor(shape["points"], dtype=torch.float32)
            if len(corners) < 3:
                raise ValueError("points: a polygon needs three corners or more.")
            along = torch.linspace(0, len(corners), n + 1)[:-1]
            i = along.long()
            points = torch.lerp(corners[i], corners[(i + 1) % len(corners)], (along - i)[:, None])
            points = equidistant(points[None])[0]
        contours.append(points)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, torch.cat(contours).numpy(), fmt="%.3f", delimiter=",", header="x,y", comments="")
    return path


def _remembering(task: Task, frames: list[torch.Tensor]) -> Task:
    """The task, whose op appends its contours on the way to `frames`."""
    if task.inference:
        task.inference = partial(task.inference, history=frames)
    else:
        task.op = partial(task.op, history=frames)
    return task


@contextmanager
def _progress(send: Callable[[tuple[str, Any]], None]) -> Iterator[None]:
    """Reports of how far the loops of the package are, by a look over the shoulder of the thread that runs them."""
    done, thread = threading.Event(), threading.get_ident()

    def report() -> None:
        while not done.wait(_EVERY):
            if words := _where(sys._current_frames().get(thread)):
                send(("progress", words))

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()


def _where(frame: FrameType | None) -> str:
    """The innermost loop that a thread is in: "step 40 of at most 1000"."""
    while frame is not None:
        if tell := _LOOPS.get(frame.f_code):
            return tell(frame.f_locals)
        frame = frame.f_back
    return ""


def _step(seen: dict[str, Any]) -> str:
    return f"step {seen['k']} of at most {seen['stop'].max_iter}" if "k" in seen else ""


def _second(seen: dict[str, Any]) -> str:
    return f"{seen['start'] / seen['wave'].shape[-1]:.0%} of the recording" if "start" in seen else ""


_LOOPS: dict[CodeType, Callable[[dict[str, Any]], str]] = {iterate.__code__: _step, separate.__code__: _second}
