"""The tables of a library, how they are made, and how those of older libraries are brought to today's format."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    select,
    text,
    update,
)

from tavtorch.audio.recognition.address import APPLICATION

FORMAT = 2
"""Format of tables, recipe and packed peaks; a library without a number has format 1, without the `file_` columns."""

_tables = MetaData()
about = Table("tavtorch_about", _tables, Column("name", String(32), primary_key=True), Column("value", Text))
songs = Table(
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
    Column("file_size", BigInteger),
    Column("file_modified", BigInteger),
    Column("file_digest", String(64)),
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
    file_size: int | None = None
    """Bytes of the file at `path`, when the song was added."""
    file_modified: int | None = None
    """Time of the file's last change, in nanoseconds."""
    file_digest: str | None = None
    """Of the file's content."""


def create(engine: Engine) -> None:
    """Make the tables that are not there."""
    with _locked(engine) as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION}")
        _tables.create_all(connection)


def migrate(engine: Engine) -> None:
    """Bring a library of format 1 to today's."""
    with _locked(engine) as connection:
        there = {column["name"] for column in inspect(connection).get_columns(songs.name)}
        for column in songs.columns:
            if column.name not in there:  # another process may have been first
                kind = column.type.compile(engine.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {songs.name} ADD COLUMN {column.name} {kind}")
        if connection.scalar(select(about.c.value).where(about.c.name == "format")) is None:
            connection.execute(about.insert().values(name="format", value=str(FORMAT)))
        connection.execute(update(about).where(about.c.name == "format").values(value=str(FORMAT)))


@contextmanager
def _locked(engine: Engine) -> Iterator[Connection]:
    """A transaction that waits for other processes that make or change tables at the same time."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("BEGIN"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": APPLICATION})
        try:
            yield connection
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")
