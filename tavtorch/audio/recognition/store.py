"""The database of a library: names and details of songs, and their peaks as packed integers."""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Engine,
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
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.pool import StaticPool

from tavtorch.audio.recognition.constellation import Peaks
from tavtorch.audio.recognition.landmarks import Recipe
from tavtorch.audio.recognition.packing import digest, unpack_peaks

APPLICATION = 0x74617674
"""Application number in the header of an SQLite file ("tavt"), by which libraries are told from other databases."""

FORMAT = 1
"""Format of tables, recipe and packed peaks; a library without a number has format 1."""

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
    sqlite_autoincrement=True,  # ids of removed songs are not used again
)


@dataclass(frozen=True)
class Song:
    """What the library stores of a song beside its landmarks."""

    name: str
    title: str | None
    artist: str | None
    path: str | None
    duration: float
    """Seconds."""
    digest: str
    """SHA-256 of the stored peaks, equal for the same recording."""


class Store:
    """The database of a `Library`; arguments as there."""

    def __init__(self, url: str, recipe: Recipe | None = None, *, create: bool = True):
        self.engine = _engine(url)
        self.name = self.engine.url.render_as_string(hide_password=True)
        if self.engine.dialect.name == "sqlite":
            _check_file(self.engine.url.database, create)
        with self._errors():
            if not inspect(self.engine).has_table(_songs.name):
                if not create:
                    raise ValueError(_missing(self.name))
                self._create()
            self.recipe = self._stored_recipe(recipe)

    def version(self) -> tuple[int, int]:
        """Number of songs and largest id: they change with every addition or removal by any process."""
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
        """The songs, in the order in which they were added."""
        columns = [_songs.c[field.name] for field in fields(Song)]
        with self._errors(), self.engine.connect() as connection:
            for row in connection.execute(select(*columns).order_by(_songs.c.id)):
                yield Song(*row)

    def peaks(self, ids: Iterable[int]) -> Iterator[tuple[int, Peaks, int]]:
        """Id, peaks and number of frames of songs."""
        columns = (_songs.c.id, _songs.c.name, _songs.c.peaks, _songs.c.digest, _songs.c.frames)
        with self._errors(), self.engine.connect() as connection:
            wanted = sorted(ids)
            for some in (wanted[i : i + 500] for i in range(0, len(wanted), 500)):
                for row in connection.execute(select(*columns).where(_songs.c.id.in_(some))):
                    if digest(row.peaks) != row.digest:
                        raise ValueError(f"{self.name}: the peaks of {row.name!r} are damaged. Restore a copy.")
                    yield row.id, unpack_peaks(row.peaks, self.recipe), row.frames

    def add(self, song: Song, packed: bytes, frames: int) -> bool:
        """Insert a song in one transaction; False if the same recording has this name already."""
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
        """Make the tables, locked against other processes that do so at the same time."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if self.engine.dialect.name != "sqlite":
                connection.execute(text("BEGIN"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": APPLICATION})
            else:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION}")
            _tables.create_all(connection)
            connection.exec_driver_sql("COMMIT")

    def _stored_recipe(self, recipe: Recipe | None) -> Recipe:
        """The recipe of the library; `recipe`, or the default one, becomes that of a new library."""
        with self.engine.connect() as connection:
            about = {row.name: row.value for row in connection.execute(select(_about))}
        if "recipe" not in about:
            values = {"format": str(FORMAT), "recipe": json.dumps(asdict(recipe or Recipe()))}
            rows = [{"name": name, "value": value} for name, value in values.items()]
            with contextlib.suppress(IntegrityError), self.engine.begin() as connection:
                connection.execute(insert(_about), rows)
            return self._stored_recipe(recipe)  # as stored, by this or by another process

        if about.get("format", "1") != str(FORMAT):
            raise ValueError(
                f"{self.name}: the library has format {about['format']}, this version reads format {FORMAT}; "
                "use the version of tavtorch that made it, or index again."
            )
        try:
            values = json.loads(about["recipe"])
            if values.keys() != {field.name for field in fields(Recipe)}:
                raise ValueError("other settings than a recipe has")
            known = Recipe(**values)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.name}: the stored recipe cannot be read ({error}); index again.") from error
        if recipe is not None and recipe != known:
            raise ValueError(
                f"recipe: {self.name} was made with {known}, got {recipe}; leave it out or begin a new one."
            )
        return known

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of the database into a ValueError that names it."""
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise ValueError(f"{self.name}: the database cannot be used ({error.orig}).") from error


def _engine(url: str) -> Engine:
    """SQLAlchemy's engine: `scheme://...` is a URL, anything else the name of an SQLite file, taken literally."""
    try:
        address = make_url(url) if re.match(r"[A-Za-z][\w+.-]*://", url) else URL.create("sqlite", database=url)
        if address.get_backend_name() != "sqlite":
            return create_engine(address)
        options: dict[str, Any] = {"connect_args": {"timeout": 60}}  # seconds to wait for other processes
        if address.database in (None, "", ":memory:"):  # one database for all threads, not one for each
            options = {"connect_args": {"check_same_thread": False}, "poolclass": StaticPool}
        return create_engine(address, **options)
    except (ArgumentError, ImportError) as error:
        raise ValueError(f"url: no database can be reached by {url!r} ({error}); give a file's name.") from error


def _missing(name: str) -> str:
    return f"url: there is no library at {name}; check the name, or add songs to it first."


def _check_file(path: str | None, create: bool) -> None:
    """Raise a ValueError if a file is not a whole library, before SQLite opens it and creates or changes it."""
    if path in (None, "", ":memory:"):
        return
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"url: {path} is a folder; give the name of a file, such as {file / 'songs.db'}.")
    if not create and not file.exists():
        raise ValueError(_missing(str(path)))
    if not file.exists() or not file.stat().st_size:
        return
    with file.open("rb") as opened:
        header = opened.read(100)
    if not header.startswith(b"SQLite format 3\0") or int.from_bytes(header[68:72], "big") != APPLICATION:
        raise ValueError(f"{path}: not a library of tavtorch; it was left as it is. Give the name of a new file.")

    # The header has the page size (1 stands for 65536) and the number of pages; a journal lets SQLite restore the file.
    page = int.from_bytes(header[16:18], "big")
    expected = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
    size = file.stat().st_size
    if size < expected and not Path(f"{path}-journal").exists():
        raise ValueError(
            f"{path}: the library is cut short, {size} of {expected} bytes. Restore a copy, or index again."
        )


def check_name(name: str) -> None:
    """Raise a ValueError unless every database can store `name`."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"name: {name!r} is no valid Unicode ({error.reason}); rename the song.") from error
    if not name or "\0" in name:
        raise ValueError(f"name: expected some text without NUL characters, got {name!r}.")
