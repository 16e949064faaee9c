"""The files of each visitor, in a folder that nobody else sees and that is removed when it is not used."""

import itertools
import re
import secrets
import shutil
import tempfile
import time
from pathlib import Path


class RefusedError(ValueError):
    """What a visitor asks for cannot be had."""


class Session:
    """One visitor: files by number, and a library of songs."""

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        self.files: dict[str, Path] = {}
        self.seen = time.monotonic()
        self.numbers = itertools.count(1)

    @property
    def library(self) -> Path:
        return self.folder / "library.sqlite"

    def new_file(self, name: str) -> tuple[str, Path]:
        """A number and a place for a file; of the name that the browser tells only letters and the suffix count."""
        number = str(next(self.numbers))
        clean = re.sub(r"[^\w .()+,'-]", "_", Path(name.replace("\\", "/")).name).strip(". ")[-100:] or "file"
        place = self.folder / number / clean
        place.parent.mkdir()
        return number, place

    def new_folder(self) -> Path:
        """For what a job writes."""
        place = self.folder / f"job-{next(self.numbers)}"
        place.mkdir()
        return place

    def file(self, number: str) -> Path:
        """A file of this visitor."""
        if number not in self.files:
            raise RefusedError("file: there is no such file; drop it again.")
        return self.files[number]

    def check_room(self) -> None:
        """Raise where the visitor's files are too many."""
        used = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        if used > self.most:
            raise RefusedError(f"your files take more than {self.most / 2**20:.0f} MB; start over with an empty page.")


class Sessions:
    """All visitors.

    Args:
        most: bytes of one visitor.
        idle: seconds after which a visitor's files are removed.
    """

    def __init__(self, *, most: int, idle: float = 3600.0) -> None:
        self.most, self.idle = most, idle
        self.root = Path(tempfile.mkdtemp(prefix="tavtorch-studio-"))
        self.all: dict[str, Session] = {}

    def new(self) -> str:
        """The secret of a new visitor."""
        key = secrets.token_urlsafe(24)
        self.all[key] = Session(Path(tempfile.mkdtemp(dir=self.root)), self.most)
        return key

    def get(self, key: str | None) -> Session:
        """The visitor with a secret."""
        session = self.all.get(key or "")
        if session is None:
            raise RefusedError("this page has been unused for long and its files are removed; load it again.")
        session.seen = time.monotonic()
        return session

    def remove_idle(self) -> list[str]:
        """Remove who has not been seen for long."""
        gone = [key for key, session in self.all.items() if time.monotonic() - session.seen > self.idle]
        for key in gone:
            shutil.rmtree(self.all.pop(key).folder, ignore_errors=True)
        return gone

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
