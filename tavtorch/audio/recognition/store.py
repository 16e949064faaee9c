"""Songs in a database: what they are called, and their peaks as packed integers; one transaction a song."""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from sqlalchemy import (
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from tavtorch.audio.recognition.constellation import Peaks
from tavtorch.audio.recognition.landmarks import Recipe

APPLICATION = 0x74617674  # "tavt" in the header of an SQLite file: whose it is

_tables = MetaData()
_about = Table("tavtorch_about", _tables, Column("name", String(32), primary_key=True), Column("value", Text))
_songs = Table(
    "tavtorch_song",
    _tables,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("title", Text),
    Column("artist", Text),
    Column("path", Text),
    Column("duration", Float, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("peaks", LargeBinary, nullable=False),
    sqlite_autoincrement=True,  # an id is never used again
)


@dataclass(frozen=True)
class Song:
    """What the library knows of a song beside its landmarks."""

    name: str
    title: str | None
    artist: str | None
    path: str | None
    duration: float
    """Seconds."""
    digest: str
    """SHA-256 of the stored peaks: the same recording has the same."""


class Store:
    """The database of a `Library`: SQLite by file name, anything else by SQLAlchemy's URL."""

    def __init__(self, url: str, recipe: Recipe | None = None):
        url = url if "://" in url else f"sqlite:///{url}"
        waiting = {"timeout": 60} if url.startswith("sqlite") else {}  # seconds for other processes to finish a song
        try:
            self.engine = create_engine(url, connect_args=waiting)
        except (ArgumentError, ImportError) as error:
            raise ValueError(f"url: no database can be reached by {url!r} ({error}); give a file's name.") from error
        self.name = self.engine.url.render_as_string(hide_password=True)
        if self.engine.dialect.name == "sqlite":
            _check_file(self.engine.url.database)
        with self._errors():
            self._create()
            self.recipe = self._agree(recipe)

    def version(self) -> tuple[int, int]:
        """Changes whenever songs have come or gone, by whichever process."""
        with self._errors(), self.engine.connect() as connection:
            count, last = connection.execute(select(func.count(), func.max(_songs.c.id))).one()
            return int(count), int(last or 0)

    def has(self, name: str) -> bool:
        with self._errors(), self.engine.connect() as connection:
            return connection.scalar(select(_songs.c.id).where(_songs.c.name == name)) is not None

    def names(self) -> dict[int, str]:
        with self._errors(), self.engine.connect() as connection:
            return {row.id: row.name for row in connection.execute(select(_songs.c.id, _songs.c.name))}

    def songs(self) -> Iterator[Song]:
        """In the order in which they were added."""
        columns = [_songs.c[field.name] for field in fields(Song)]
        with self._errors(), self.engine.connect() as connection:
            for row in connection.execute(select(*columns).order_by(_songs.c.id)):
                yield Song(*row)

    def peaks(self, ids: Iterable[int]) -> Iterator[tuple[int, Peaks, int]]:
        """Id, peaks and frames of songs."""
        columns = (_songs.c.id, _songs.c.peaks, _songs.c.frames)
        with self._errors(), self.engine.connect() as connection:
            wanted = sorted(ids)
            for some in (wanted[i : i + 500] for i in range(0, len(wanted), 500)):
                for song, packed, frames in connection.execute(select(*columns).where(_songs.c.id.in_(some))):
                    yield song, unpacked(packed, self.recipe), frames

    def add(self, song: Song, packed: bytes, frames: int) -> bool:
        """Insert a song in one transaction; false where the very song is there already."""
        values = {**asdict(song), "peaks": packed, "frames": frames}
        try:
            with self._errors(), self.engine.begin() as connection:
                connection.execute(insert(_songs).values(values))
            return True
        except IntegrityError:
            query = select(_songs.c.name).where((_songs.c.name == song.name) & (_songs.c.digest == song.digest))
            with self._errors(), self.engine.connect() as connection:
                if connection.scalar(query) is not None:
                    return False
                twin = connection.scalar(select(_songs.c.name).where(_songs.c.digest == song.digest))
        if twin is not None:
            raise ValueError(f"name: {song.name!r} is the same recording as {twin!r}, which is in the library.")
        raise ValueError(f"name: another recording is called {song.name!r}; remove it first, or choose another name.")

    def remove(self, name: str) -> bool:
        with self._errors(), self.engine.begin() as connection:
            return connection.execute(delete(_songs).where(_songs.c.name == name)).rowcount > 0

    def _create(self) -> None:
        """Tables, where they are missing; one process at a time. What exists is only read."""
        if inspect(self.engine).has_table(_songs.name):
            return
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if self.engine.dialect.name != "sqlite":
                connection.execute(text("BEGIN"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": APPLICATION})
            else:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION}")
            _tables.create_all(connection)
            connection.exec_driver_sql("COMMIT")

    def _agree(self, recipe: Recipe | None) -> Recipe:
        """The recipe of the library: the one that it was begun with."""
        with self.engine.connect() as connection:
            stored = connection.scalar(select(_about.c.value).where(_about.c.name == "recipe"))
        if stored is None:
            values = {"name": "recipe", "value": json.dumps(asdict(recipe or Recipe()))}
            with contextlib.suppress(IntegrityError), self.engine.begin() as connection:
                connection.execute(insert(_about).values(values))
            return self._agree(recipe)  # what stands there now, ours or another process's
        known = Recipe(**json.loads(stored))
        if recipe is not None and recipe != known:
            raise ValueError(
                f"recipe: {self.name} was made with {known}, got {recipe}; leave it out or begin a new one."
            )
        return known

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise ValueError(f"{self.name}: the database cannot be used ({error.orig}).") from error


def packed(peaks: Peaks) -> bytes:
    """Peaks `(k,)` of a song as little-endian 32-bit integers, `frame << 11 | bin`, second by second, loudest first."""
    filled = peaks.rank >= 0
    time, frequency = (x[filled].cpu().numpy().astype("<u4") for x in (peaks.time, peaks.frequency))
    if len(time) and time.max() >= 2**21:
        raise ValueError(f"landmarks: expected at most 2^21 frames (18 hours), got {time.max()}; cut the recording.")
    return (time << 11 | frequency).astype("<u4").tobytes()


def unpacked(stored: bytes, recipe: Recipe) -> Peaks:
    """What `packed` packed; a peak's rank is its place in its second."""
    values = torch.from_numpy(np.frombuffer(stored, "<u4").astype(np.int64))
    time = values >> 11
    second = time // recipe.block
    return Peaks(time, values & 2047, torch.arange(len(time)) - torch.searchsorted(second, second))


def digest(stored: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(stored).hexdigest()


def _check_file(path: str | None) -> None:
    """Refuse a file that is no library before SQLite opens it: it is read, and nothing is written."""
    if path in (None, "", ":memory:") or not Path(path).exists() or not Path(path).stat().st_size:
        return
    with Path(path).open("rb") as file:
        header = file.read(100)
    size, page = Path(path).stat().st_size, int.from_bytes(header[16:18], "big")
    page = 65536 if page == 1 else page
    if not header.startswith(b"SQLite format 3\0") or int.from_bytes(header[68:72], "big") != APPLICATION:
        raise ValueError(f"{path}: not a library of tavtorch; it was left as it is. Give the name of a new file.")
    whole = page * int.from_bytes(header[28:32], "big")
    if size < whole and not Path(f"{path}-journal").exists():  # with a journal SQLite restores it
        raise ValueError(f"{path}: the library is cut short, {size} of {whole} bytes. Restore a copy, or index again.")
