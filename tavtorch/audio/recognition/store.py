"""The database of a library: names and details of songs, and their peaks as packed integers."""

import contextlib
import difflib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

from sqlalchemy import delete, func, insert, inspect, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from tavtorch.audio.recognition import tables
from tavtorch.audio.recognition.address import check_file, engine_at, hide_password, missing
from tavtorch.audio.recognition.constellation import Peaks
from tavtorch.audio.recognition.landmarks import Recipe
from tavtorch.audio.recognition.packing import digest, unpack_peaks
from tavtorch.audio.recognition.tables import FORMAT, Song, about, songs


class Store:
    """The database of a `Library`; arguments as there."""

    def __init__(self, url: str, recipe: Recipe | None = None, *, create: bool = True):
        self.engine = engine_at(url)
        self.name = hide_password(self.engine.url.render_as_string())
        if self.engine.dialect.name == "sqlite":
            check_file(self.engine.url.database, create)
        with self._errors():
            if not inspect(self.engine).has_table(songs.name):
                if not create:
                    raise ValueError(missing(self.name))
                tables.create(self.engine)
            self.recipe = self._stored_recipe(recipe)

    @property
    def place(self) -> str:
        """The absolute path of a file, or the address of a server without its password."""
        return str(self.file) if self.file else self.name

    @property
    def file(self) -> Path | None:
        """The absolute path of a library that is a file."""
        file = self.engine.url.database if self.engine.dialect.name == "sqlite" else None
        return Path(file).resolve() if file and file != ":memory:" else None

    def version(self) -> tuple[int, int]:
        """Number of songs and largest id: one of them changes with every change of names or peaks by any process."""
        with self._errors(), self.engine.connect() as connection:
            count, last = connection.execute(select(func.count(), func.max(songs.c.id))).one()
            return int(count), int(last or 0)

    def has(self, name: str) -> bool:
        with self._errors(), self.engine.connect() as connection:
            return connection.scalar(select(songs.c.id).where(songs.c.name == name)) is not None

    def names(self) -> dict[int, str]:
        with self._errors(), self.engine.connect() as connection:
            return {row.id: row.name for row in connection.execute(select(songs.c.id, songs.c.name))}

    def lengths(self) -> dict[int, tuple[str, int]]:
        """Name and number of frames of each song, by its id."""
        columns = (songs.c.id, songs.c.name, songs.c.frames)
        with self._errors(), self.engine.connect() as connection:
            return {row.id: (row.name, row.frames) for row in connection.execute(select(*columns))}

    def songs(self) -> Iterator[Song]:
        """The songs, in the order in which they were added or got their name."""
        columns = [songs.c[field.name] for field in fields(Song)]
        with self._errors(), self.engine.connect() as connection:
            for row in connection.execute(select(*columns).order_by(songs.c.id)):
                yield Song(*row)

    def peaks(self, ids: Iterable[int]) -> Iterator[tuple[int, Peaks, int]]:
        """Id, peaks and number of frames of songs."""
        columns = (songs.c.id, songs.c.name, songs.c.peaks, songs.c.digest, songs.c.frames)
        with self._errors(), self.engine.connect() as connection:
            wanted = sorted(ids)
            for some in (wanted[i : i + 500] for i in range(0, len(wanted), 500)):
                for row in connection.execute(select(*columns).where(songs.c.id.in_(some))):
                    if digest(row.peaks) != row.digest:
                        raise ValueError(f"{self.name}: the peaks of {row.name!r} are damaged. Restore a copy.")
                    yield row.id, unpack_peaks(row.peaks, self.recipe), row.frames

    def add(self, song: Song, packed: bytes, frames: int, *, overwrite: bool = False) -> bool:
        """Insert a song in one transaction, with `overwrite` in place of another recording of its name.

        False if the same recording has this name already; its details are then those of `song`, where these are known.
        """
        values = asdict(song)
        try:
            with self._errors(), self.engine.begin() as connection:
                if overwrite:
                    other = (songs.c.name == song.name) & (songs.c.digest != song.digest)
                    connection.execute(delete(songs).where(other))
                connection.execute(insert(songs).values(values | {"peaks": packed, "frames": frames}))
            return True
        except IntegrityError:
            with self._errors(), self.engine.begin() as connection:
                details = {key: value for key, value in values.items() if value is not None}
                same = (songs.c.name == song.name) & (songs.c.digest == song.digest)
                if connection.execute(update(songs).where(same).values(details)).rowcount:
                    return False
                known = (songs.c.digest == song.digest, songs.c.name == song.name)
                twin, namesake = (
                    connection.execute(select(songs.c.name, songs.c.path).where(which)).one_or_none() for which in known
                )
        if twin:
            raise ValueError(
                f"name: {song.name!r} is the same recording as {twin.name!r}{_from(twin.path)}, which is in the "
                "library; leave it out, or rename the known song."
            )
        if namesake is None:
            return self.add(song, packed, frames, overwrite=overwrite)  # it was removed just now
        if song.path is not None and song.path == namesake.path:
            raise ValueError(
                f"name: {song.name!r} has changed since it was added from {song.path}; overwrite=true replaces it."
            )
        raise ValueError(
            f"name: another recording is called {song.name!r}{_from(namesake.path)}; choose another name, or rename or "
            "remove the known song, or replace it with overwrite=true."
        )

    def remove(self, name: str) -> None:
        """Remove a song; `KeyError` if there is none of that name."""
        with self._errors(), self.engine.begin() as connection:
            count = connection.execute(delete(songs).where(songs.c.name == name)).rowcount
        if not count:
            raise self.unknown(name)

    def rename(self, old: str, new: str) -> None:
        """Give a song another name; it gets another id, by which other processes notice."""
        columns = [column for column in songs.columns if column.name != "id"]
        try:
            with self._errors(), self.engine.begin() as connection:
                removed = delete(songs).where(songs.c.name == old).returning(*columns)
                row = connection.execute(removed).one_or_none()
                if row is not None:
                    connection.execute(insert(songs).values({**row._mapping, "name": new}))
        except IntegrityError:
            raise ValueError(f"new: a song is called {new!r} already; choose another name, or remove it.") from None
        if row is None:
            raise self.unknown(old)

    def unknown(self, name: str) -> KeyError:
        """The error that no song has a name, with the nearest one."""
        near = difflib.get_close_matches(name, self.names().values(), 1)
        return KeyError(f"name: no song is called {name!r}" + (f"; the nearest name is {near[0]!r}." if near else "."))

    def note(self, name: str) -> str | None:
        """What was kept under a name with `keep`."""
        with self._errors(), self.engine.connect() as connection:
            return connection.scalar(select(about.c.value).where(about.c.name == name))

    def keep(self, name: str, value: str) -> None:
        """Keep a text with the library, in place of an earlier one of this name."""
        with self._errors(), self.engine.begin() as connection:
            connection.execute(delete(about).where(about.c.name == name))
            connection.execute(insert(about).values(name=name, value=value))

    def _stored_recipe(self, recipe: Recipe | None) -> Recipe:
        """The recipe of the library; `recipe`, or the default one, becomes that of a new library."""
        with self.engine.connect() as connection:
            known = {row.name: row.value for row in connection.execute(select(about))}
        if "recipe" not in known:
            values = {"format": str(FORMAT), "recipe": json.dumps(asdict(recipe or Recipe()))}
            rows = [{"name": name, "value": value} for name, value in values.items()]
            with contextlib.suppress(IntegrityError), self.engine.begin() as connection:
                connection.execute(insert(about), rows)
            return self._stored_recipe(recipe)  # as stored, by this or by another process

        if known.get("format", "1") == "1":
            tables.migrate(self.engine)
        elif known["format"] != str(FORMAT):
            raise ValueError(
                f"{self.name}: the library has format {known['format']}, this version reads format {FORMAT}; "
                "use the version of tavtorch that made it, or index again."
            )
        stored = self._parsed(known["recipe"])
        if recipe is not None and recipe != stored:
            raise ValueError(
                f"recipe: {self.name} was made with {stored}, got {recipe}; leave it out or begin a new one."
            )
        return stored

    def _parsed(self, recipe: str) -> Recipe:
        try:
            values = json.loads(recipe)
            if values.keys() != {field.name for field in fields(Recipe)}:
                raise ValueError("other settings than a recipe has")
            return Recipe(**values)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.name}: the stored recipe cannot be read ({error}); index again.") from error

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of the database into a ValueError that names it."""
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            reason = hide_password(str(error.orig))
            raise ValueError(f"{self.name}: the database cannot be used ({reason}).") from error


def _from(path: str | None) -> str:
    return f", from {path}" if path else ""


def check_text(argument: str, value: str | None) -> None:
    """Raise a ValueError unless every database can store `value`."""
    try:
        (value or "").encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{argument}: {value!r} is no valid Unicode ({error.reason}).") from error
    if "\0" in (value or ""):
        raise ValueError(f"{argument}: expected text without NUL characters, got {value!r}.")


def check_name(name: str, argument: str = "name") -> None:
    """As `check_text`; a name is not empty."""
    if not name:
        raise ValueError(f"{argument}: expected some text, got {name!r}.")
    check_text(argument, name)
