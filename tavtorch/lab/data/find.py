"""Which files of a kind lie under a path, and the name of each, under which its result is written."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

DONE = ".done.jsonl"  # ends the name of the file beside a folder of results, see `results`


class Found(NamedTuple):
    """What lies under a path."""

    paths: list[Path]
    """The files of the kind that was looked for, and the folders that may not be read."""
    left_out: dict[str, int]
    """How many files there are of every other suffix."""
    results: list[Path]
    """Folders with results of earlier runs, which are left out too."""


def find(root: Path | Sequence[Path], suffixes: tuple[str, ...], kind: str) -> list[Path]:
    """The files with one of these suffixes under a folder, sorted by path, or the one file; see `search`."""
    return search(root, suffixes, kind).paths


def search(root: Path | Sequence[Path], suffixes: tuple[str, ...], kind: str) -> Found:
    """What lies under a path, or under several; hidden files and folders, and results of earlier runs, are left out.

    Args:
        root: a file, a folder, or several of them.
        suffixes: of the files that are looked for, in small letters.
        kind: what they are, for messages.

    Raises:
        ValueError: a path does not exist, or nothing of this kind is there.
    """
    found = Found([], {}, [])
    for path in _roots(root):
        if not path.exists():
            raise ValueError(f"data.root: expected a file or a folder, but {path} does not exist.")
        for file in [path] if path.is_file() else sorted(_walk(path, found.results.append)):
            if file.suffix.lower() in suffixes or file.is_dir():
                found.paths.append(file)
            else:
                found.left_out[file.suffix] = found.left_out.get(file.suffix, 0) + 1
    if not found.paths:
        earlier = f"; {', '.join(map(str, found.results))} holds results of an earlier run" if found.results else ""
        where = ", ".join(map(str, _roots(root)))
        raise ValueError(f"data.root: no {kind} in {where}; expected one of {', '.join(suffixes)}{earlier}.")
    return found._replace(paths=list(dict.fromkeys(found.paths)))


def named(root: Path | Sequence[Path], paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Each file, or folder of files that belong together, with a name of its own.

    A name is the path below the root without its suffix. It keeps the suffix where another file's name would be the
    same, or would lie below it, so that no result is in the place of another: `album.wav` beside `album/1.wav` is
    `album.wav`. Bytes that are no UTF-8 are written as `\\xNN`.
    """
    roots = [path.absolute() for path in _roots(root)]
    base = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in roots]))
    base = base.parent if any(path.absolute() == base for path in paths) else base
    full = [path.absolute().relative_to(base) for path in paths]
    short = [name if path.is_dir() else name.with_suffix("") for name, path in zip(full, paths, strict=True)]
    count = Counter([*full, *short])
    count.update({path for name in full for path in name.parents})
    return [(_text(a if count[b] - (a == b) > 1 else b), path) for a, b, path in zip(full, short, paths, strict=True)]


def find_named(root: Path | Sequence[Path], suffixes: tuple[str, ...], kind: str) -> list[tuple[str, Path]]:
    """As `find`, each file with its name; see `named`."""
    return named(root, find(root, suffixes, kind))


def _roots(root: Path | Sequence[Path]) -> list[Path]:
    return [root] if isinstance(root, Path) else list(root)


def _walk(root: Path, leave_out: Callable[[Path], None]) -> Iterator[Path]:
    """The files below a folder and the folders that may not be read; links to folders are followed, once each."""
    refused: list[Path] = []
    seen = set()
    for place, folders, files in os.walk(root, onerror=lambda e: refused.append(Path(e.filename)), followlinks=True):
        folder, real = Path(place), os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        results = {name for name in folders if name + DONE in files}
        for name in sorted(results):
            leave_out(folder / name)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in results)
        yield from (path for name in files if not name.startswith(".") and (path := folder / name).is_file())
    yield from refused


def _text(path: Path) -> str:
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
