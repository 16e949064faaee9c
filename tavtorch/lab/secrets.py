"""Passwords in addresses, such as that of a database, are not written down and not printed."""

import logging
import re
from pathlib import Path

_PASSWORD = re.compile(r"(\w://[^\s:/@'\"<>]*:)[^\s/'\"<>]+@")


def masked(text: str) -> str:
    """The text with `***` in place of passwords.

    >>> masked("library.url=postgresql://me:pass@host/songs")
    'library.url=postgresql://me:***@host/songs'
    """
    return _PASSWORD.sub(r"\1***@", text)


def mask_logs() -> None:
    """Mask whatever is logged from now on."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(known, _Masked) for known in handler.filters):
            handler.addFilter(_Masked())


def mask_files(folder: Path) -> None:
    """Mask the configuration that Hydra has written into `.hydra` of a run, and into `multirun.yaml` above it."""
    for path in (*folder.glob(".hydra/*.yaml"), *folder.glob("multirun.yaml")):
        text = path.read_text(encoding="utf-8")
        if masked(text) != text:
            path.write_text(masked(text), encoding="utf-8")


class _Masked(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = masked(record.getMessage()), ()
        return True
