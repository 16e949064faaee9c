"""What a person types after a script's name, in Hydra's words: paths in any characters, and `files=`."""

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from glob import glob
from pathlib import Path
from typing import Any

_PATHS = ("root", "speech", "holes", "start", "url", "ckpt", "dir", "folder")  # end of the names of paths
_FILES = {"fingerprint": "music", "recognise": "clips"}  # the data that read files, where these are not data=folder
_FLAGS = re.compile(r"-(c|cn|cp|cd|p|-cfg|-package|-config-name|-config-path|-config-dir|-experimental-rerun)")


def literal(script: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates the main function of a script, so that `words` are what Hydra sees.

    Args:
        script: "train" or "evaluate".
    """

    def decorated(main: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(main)
        def literal_main(*args: Any) -> Any:
            if {"--help", "-h"} & set(sys.argv[1:]):
                print(_manual(inspect.getdoc(inspect.getmodule(main)) or "", Path(sys.argv[0])), end="\n\n")
            try:
                sys.argv[1:] = words(script, sys.argv[1:])
            except ValueError as error:
                sys.exit(f"error: {error}")
            return main(*args)

        return literal_main

    return decorated


def _manual(text: str, called: Path) -> str:
    """The docstring of a script; an installed one is called by its name.

    >>> _manual("    python train.py files=PATH", Path("/usr/bin/tavtorch-train"))
    '    tavtorch-train files=PATH'
    """
    return text if called.suffix == ".py" else re.sub(r"python (\w+)\.py", r"tavtorch-\1", text)


def words(script: str, typed: Sequence[str]) -> list[str]:
    r"""The words of a command line, with every path as a quoted text and `files=` in full.

    A path that exists is taken as it stands; `~` is the home. What is no path is left to Hydra's grammar: quoted texts,
    `null`, `${...}`, lists, and with `-m` several values with commas between them.

    `files=` is a file, a folder, a pattern such as `*.png`, or several of them: with commas between them, in `[...]`,
    as further words, or by a second `files=`.

    >>> words("evaluate", ["task=separate", "files=Song (Live).mp3"])
    ['task=separate', 'data=folder', "data.root='Song (Live).mp3'", 'run=predict']
    >>> words("train", ["files=my songs"])
    ['data=stems', "data.root='my songs'"]
    """
    several = bool({"-m", "--multirun"} & set(typed))
    typed = ["-m"] * several + [word for word in typed if word not in ("-m", "--multirun")]  # which Hydra wants first
    found, files = [], list[str]()
    for before, word in zip(("", *typed), typed, strict=False):
        key, equals, value = word.partition("=")
        if key == "files" and equals:
            files += paths(value)
        elif files and not equals and not word.startswith("-") and not _FLAGS.fullmatch(before) and not _deletes(word):
            files += paths(word)
        elif equals and key.lstrip("+").rpartition(".")[2] in _PATHS:
            found.append(f"{key}={_text(value, several)}")
        else:
            found.append(word)
    if script == "evaluate" and "task=listen" in found:  # a root of its own, with `files=` for its one stream
        return ["--config-name=listen", *(word for word in found if word != "task=listen"), *_stream(files)]
    return found + (_of_files(script, files, found) if files else [])


def _deletes(word: str) -> bool:
    """Whether a word takes a setting away, and is no file."""
    return bool(re.fullmatch(r"~\w[\w.]*", word)) and not Path(word).exists()


def _stream(files: Sequence[str]) -> list[str]:
    if len(files) > 1:
        raise ValueError(f"files: expected one recording to listen to, got {', '.join(files)}.")
    return [f"data.root={quoted(one)}" for one in files]


def paths(value: str) -> list[str]:
    """The paths that a value of `files=` stands for; a path that does not exist stands for itself."""
    if not value:
        raise ValueError("files: expected a file, a folder or a pattern such as *.png, got nothing.")
    path = _home(value)
    if Path(path).exists():
        return [path]
    listed = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    parts = [part.strip().strip("'\"") for part in listed.split(",")]
    if listed != value or (len(parts) > 1 and all(Path(_home(part)).exists() for part in parts)):
        return [one for part in parts for one in paths(part)]
    return sorted(glob(path, recursive=True)) or [path]  # noqa: PTH207, which takes hidden files too


def _of_files(script: str, files: Sequence[str], words: Sequence[str]) -> list[str]:
    """`files=` as settings, but for those that were typed."""
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if script == "train" and len(files) > 1:
        raise ValueError(f"files: expected one folder of songs to train on, got {', '.join(files)}.")
    data = "stems" if script == "train" else _FILES.get(given.get("task", ""), "folder")
    root = quoted(files[0]) if len(files) == 1 else f"[{','.join(map(quoted, files))}]"
    full = {"data": data, "data.root": root} | ({} if script == "train" else {"run": "predict"})
    return [f"{key}={value}" for key, value in full.items() if key not in given]


def _text(value: str, several: bool) -> str:
    """The value of a path for Hydra."""
    if value and Path(_home(value)).exists():
        return quoted(_home(value))
    if re.fullmatch(r"'.*'|\".*\"|null|\?\?\?|", value) or re.search(r"\\|\$\{", value):
        return value
    if value.startswith("[") and value.endswith("]"):
        return f"[{','.join(_text(part.strip(), False) for part in value[1:-1].split(','))}]"
    if several and re.search(r",|^\w+\(.*\)$", value):
        return value if "(" in value else ",".join(_text(part, False) for part in value.split(","))
    return quoted(_home(value))


def quoted(text: str) -> str:
    r"""A text for Hydra's grammar, in which it means itself.

    >>> print(quoted("Don't Stop.wav"), quoted("a${b}"))
    'Don\'t Stop.wav' 'a\${b}'
    """
    text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text)
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + (r"\'" if found[2] else ""), text) + "'"


def _home(value: str) -> str:
    return str(Path(value).expanduser()) if re.match(r"~(/|$)", value) else value
