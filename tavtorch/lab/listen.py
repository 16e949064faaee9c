"""What `evaluate.py task=listen` does: lines as tracks are heard, and a list of them at the end."""

import csv
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from tavtorch.audio.recognition.listener import Listener
from tavtorch.audio.recognition.tracks import Heard, Track
from tavtorch.lab.data.files import whole
from tavtorch.lab.kinds.music import clock

log = logging.getLogger(__name__)


def run(config: DictConfig) -> None:
    """Listen as a configuration says, until the stream or the person ends it."""
    listener = instantiate(config.task.op)(instantiate(config.library))
    listen(listener, instantiate(config.data), Path(config.out), str(config.data.root))


def listen(
    listener: Listener,
    blocks: Iterable[tuple[Tensor, int]],
    out: Path,
    source: str,
    hear: Callable[[Heard], None] = lambda heard: log.info(line_of(heard)),
) -> list[Track]:
    """The tracks of a stream, told as they are heard, and written to `out` when it ends or is stopped.

    Args:
        listener: a new one.
        blocks: the stream, each block with its sample rate.
        out: folder of `tracks.csv` and `tracks.cue`.
        source: name of the recording, in the cue sheet.
        hear: takes what is told, at once; by default a line of the log.
    """
    tracks: list[Track] = []

    def tell(told: Sequence[Heard]) -> None:
        for heard in told:
            hear(heard)
            if heard.kind == "end" and heard.track:
                tracks.append(heard.track)

    try:
        for block, sample_rate in blocks:
            tell(listener.feed(block, sample_rate))
    finally:  # also when a signal or a fault ends it
        tell(listener.close())
        tracks.sort(key=lambda track: track.start)
        _write(out, tracks, source)
        log.info("%d tracks in %s: %s/tracks.csv, tracks.cue", len(tracks), clock(listener.seconds), out)
    return tracks


def line_of(heard: Heard) -> str:
    """A line for a person."""
    if heard.track is None:
        return f"{clock(heard.time)}  nothing that the library knows"
    track = heard.track
    if heard.kind == "end":
        return f"{clock(heard.time)}  end of {track.name}, score {track.score:.1f}"
    speed = "" if abs(track.rate - 1) < 0.005 else f", {track.rate:.3f} times as fast"
    return f"{clock(heard.time)}  {track.name} from {clock(track.offset)} on{speed}"


def _write(out: Path, tracks: Sequence[Track], source: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with whole(out / "tracks.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([Track._fields, *tracks])
    with whole(out / "tracks.cue") as part:
        part.write_text(cue_sheet(tracks, source), encoding="utf-8")


def cue_sheet(tracks: Sequence[Track], source: str) -> str:
    """The starts of tracks as players read them: minutes, seconds, and frames of 1/75 s; at most 99 by the format."""
    lines = [f'FILE "{_plain(source)}" WAVE']
    for number, track in enumerate(tracks[:99], 1):
        minutes, frames = divmod(round(75 * max(0.0, track.start)), 75 * 60)
        lines += [
            f"  TRACK {number:02} AUDIO",
            f'    TITLE "{_plain(track.name)}"',
            f"    INDEX 01 {minutes:02}:{frames // 75:02}:{frames % 75:02}",
        ]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Without what a cue sheet cannot quote."""
    return " ".join(text.replace('"', "'").split())
