"""Where a library is: the name of a file or the URL of a database, checked before anything is opened or changed."""

import re
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import StaticPool

APPLICATION = 0x74617674
"""Application number in the header of an SQLite file ("tavt"), by which libraries are told from other databases."""


def engine_at(url: str) -> Engine:
    """SQLAlchemy's engine: `scheme://...` is a URL, anything else the name of an SQLite file, taken literally."""
    try:
        address = make_url(url) if re.match(r"[A-Za-z][\w+.-]*://", url) else URL.create("sqlite", database=url)
        if address.get_backend_name() != "sqlite":
            return create_engine(address)
        options: dict[str, Any] = {"connect_args": {"timeout": 60}}  # seconds to wait for other processes
        if address.database in (None, "", ":memory:"):  # one database for all threads, not one for each
            options = {"connect_args": {"check_same_thread": False}, "poolclass": StaticPool}
        return create_engine(address, **options)
    except (ArgumentError, ImportError, ValueError) as error:
        reason = hide_password(str(error))
        raise ValueError(
            f"url: no database can be reached by {hide_password(url)!r} ({reason}); give a file's name."
        ) from None  # the error may tell the password


def hide_password(text: str) -> str:
    """A URL, or a text that has one in it, with *** for its password."""
    return re.sub(r"(?<=://)([^\s:/@]*):.*@", r"\1:***@", re.sub(r"(?<=password=)[^&\s]*", "***", text))


def missing(name: str) -> str:
    """The message that there is no library."""
    return f"url: there is no library at {name}; check the name, or add songs to it first."


def check_file(path: str | None, create: bool) -> None:
    """Raise a ValueError if a file is not a whole library, before SQLite opens it and creates or changes it."""
    if path in (None, "", ":memory:"):
        return
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"url: {path} is a folder; give the name of a file, such as {file / 'songs.db'}.")
    if not create and not file.exists():
        raise ValueError(missing(str(path)))
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
