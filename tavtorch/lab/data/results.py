"""What is done already: which file, with which settings, each result of a folder is of."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tavtorch.lab.data.find import DONE


class Source(NamedTuple):
    """State of a file that a result is made of."""

    path: str
    """Absolute."""
    size: int
    """Bytes."""
    modified: int
    """Nanoseconds."""
    digest: str = ""
    """Of the content, once it is computed."""

    @classmethod
    def of(cls, path: Path) -> "Source":
        """As the file is now, without its digest; of size -1 if there is none."""
        try:
            state = path.stat()
        except OSError:
            return cls(str(path.absolute()), -1, 0)
        return cls(str(path.absolute()), state.st_size, state.st_mtime_ns)

    def with_digest(self) -> "Source":
        """With the digest of the content, unless the file has changed or cannot be read."""
        path = Path(self.path)
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
            return self._replace(digest=digest if self == self.of(path) else "")
        except OSError:
            return self

    def same(self, now: "Source") -> bool:
        """Whether a file has the content that is recorded here; it is read only where size and time do not tell."""
        if self.size != now.size:
            return False
        unchanged = (self.path, self.modified) == (now.path, now.modified)
        return unchanged or (self.digest != "" and self.digest == now.with_digest().digest)


class Line(NamedTuple):
    """What is recorded of a result."""

    name: str
    """Of the item."""
    result: str
    """File or folder, as a path below the folder of all results."""
    converged: bool
    settings: str
    sources: list[Source]


class Results:
    """The results in a folder; the file `<folder>.done.jsonl` beside it has a `Line` for each.

    A line is added when a result is whole, so that a run that is killed does again at most what it was writing. The
    last line of a name holds, and a line that is cut short is none. Several processes may add lines.

    Args:
        folder: of the results.
        settings: what decides the results beside the files, as a text; see `run.settings_of`.
    """

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.folder, self.file, self.settings = folder, folder.absolute().with_name(folder.name + DONE), settings
        self.lines: dict[str, Line] = {}
        if self.file.is_file():
            for text in self.file.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError, TypeError, KeyError):
                    line = json.loads(text)
                    self.lines[line["name"]] = Line(**line | {"sources": [Source(**one) for one in line["sources"]]})

    def has(self, name: str, sources: Sequence[Source]) -> bool:
        """Whether an item's result is here, of files of the same content and with the same settings.

        Raises:
            ValueError: the place has the result of another file.
        """
        line = self.lines.get(name)
        if line is None or not (self.folder / line.result).exists():
            return False
        known = line.sources
        if len(known) == len(sources) and all(a.same(b) for a, b in zip(known, sources, strict=True)):
            return line.settings == self.settings
        if known[0].path != sources[0].path and Path(known[0].path).is_file():
            raise ValueError(
                f"{self.folder / line.result} is the result of {known[0].path}, another file of the same name; "
                "choose another folder with hydra.run.dir=PATH, or replace it with overwrite=true."
            )
        return False

    def add(self, name: str, sources: Sequence[Source], result: Path, *, converged: bool = True) -> None:
        """Record a result that is whole.

        Args:
            name: of the item.
            sources: of the files, from before they were read.
            result: file or folder.
        """
        place = result.relative_to(self.folder).as_posix()
        line = Line(name, place, converged, self.settings, [source.with_digest() for source in sources])
        self.lines[name] = line
        text = json.dumps(line._asdict() | {"sources": [source._asdict() for source in line.sources]})
        with self.file.open("a", encoding="utf-8") as file:
            file.write(text + "\n")  # in ASCII, and in one piece
