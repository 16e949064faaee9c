"""The tracks of what a microphone hears, all day, in a process of its own: blocks come as files, and go when heard."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from tavtorch.audio.recognition.tracks import Heard, Track
from tavtorch.lab.data.files import read_audio
from tavtorch.lab.kinds.music import clock
from tavtorch.lab.listen import listen as listen_to
from tavtorch.lab.run import CONFIGS, plain
from tavtorch.lab.studio.lines import arguments
from tavtorch.lab.studio.views import View

_GONE = 60.0  # seconds without a block, after which nobody is there any more
_EVERY = 0.05  # seconds between two looks for the next block


def listen(request: dict[str, Any], *, tell: Callable[[tuple[str, Any]], None]) -> dict[str, Any]:
    """Tracks as `task=listen` hears them, until an empty block comes or nobody is there; then their lists.

    Args:
        tell: takes `("so far", {"tracks": rows})` with each start and end of a track.
    """
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("listen")
    config.library.url = request["library"]
    listener = instantiate(config.task.op)(instantiate(config.library))
    folder, heard_so_far = Path(request["folder"]), dict[tuple[str, float], Heard]()

    def hear(heard: Heard) -> None:
        if heard.track:
            heard_so_far[heard.track.name, heard.track.start] = heard
            tell(("so far", {"tracks": _rows(heard_so_far.values())}))

    listen_to(listener, _blocks(folder), folder, "microphone", hear)
    view = View(folder, [["listened", clock(listener.seconds)], ["tracks", str(len(heard_so_far))]])
    for name in ("tracks.cue", "tracks.csv"):
        view.download(folder / name, name)
    settings = ", ".join(['tavtorch.Library("library.sqlite")', *arguments(plain(config.task.op))])
    return view.result | {
        "tracks": _rows(heard_so_far.values()),
        "command": "python evaluate.py task=listen data.root=microphone",
        "python": "import tavtorch\nfrom tavtorch.lab.stream import blocks\n"
        f"listener = tavtorch.Listener({settings})\n"
        'for block, rate in blocks("microphone"):\n    print(*listener.feed(block, rate))',
    }


def _rows(told: Iterable[Heard]) -> list[dict[str, Any]]:
    return [_row(heard.track, heard.kind == "end") for heard in told if heard.track]


def _row(track: Track, ended: bool) -> dict[str, Any]:
    """Times in seconds of the stream; `stop` is null while it plays."""
    stop = track.stop if ended else None
    return {"name": track.name, "start": max(0.0, track.start), "stop": stop, "place": clock(track.offset)}


def _blocks(folder: Path) -> Iterator[tuple[Tensor, int]]:
    """The blocks that come into a folder, each removed when it is read."""
    for number in itertools.count():
        place, since = folder / f"{number}.wav", time.monotonic()
        while not place.exists():
            if time.monotonic() - since > _GONE:
                return
            time.sleep(_EVERY)
        block = read_audio(place) if place.stat().st_size else None
        place.unlink()
        if block is None:
            return
        yield block
