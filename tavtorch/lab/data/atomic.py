"""Results appear whole or not at all."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 240  # bytes of a name that leave room for the number of the process: file systems allow 255


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary place beside `path`, for a file or a folder, that becomes `path` when the block ends well.

    Whoever looks at `path` sees nothing or all of it, also where the program is killed in between.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name
    if len(os.fsencode(name)) > _LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest() + path.suffix[:20]
    part = path.with_name(f".{os.getpid()}.{name}")
    try:
        yield part
        if path.is_dir():
            shutil.rmtree(path)
        part.replace(path)
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
