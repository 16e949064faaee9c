"""Results appear whole or not at all."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 240  # bytes of a name that leave room for the number of the process: file systems allow 255


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary place beside `path`, for a file or a folder, that becomes `path` when the block ends well.

    Whoever looks at `path` sees nothing or all of it, also where the program is killed in between. A file takes the
    place of a file and a folder that of a folder; a file that would take that of a folder is an `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name
    if len(os.fsencode(name)) > _LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest() + path.suffix[:20]
    part = path.with_name(f".{os.getpid()}.{name}")
    try:
        yield part
        if path.is_dir() and part.is_dir():  # which `replace` does not do
            old = part.with_name(f"{part.name}.old")
            path.replace(old)
            part.replace(path)
            _remove(old)
        else:
            part.replace(path)
    finally:
        _remove(part)


def remove_parts(folder: Path) -> None:
    """Remove what `whole` left below a folder in processes that were killed."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            found = re.match(r"\.(\d+)\.", name)
            if found and not _alive(int(found[1])):
                _remove(Path(place, name))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
