"""Time, and figures that can be traced: every benchmark takes them from here."""

import datetime
import json
import math
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tavtorch.lab.page import machine, number

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).with_name("README.md")


def timed(run, repeats=3):
    """Least seconds by the clock and least processor seconds of some runs, after one that compiles."""
    on_gpu, times = torch.cuda.is_available(), []
    run()
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        run()
        if on_gpu:
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return min(wall for wall, _ in times), min(cpu for _, cpu in times)


def seconds(run, repeats=3):
    """Least processor seconds of some runs, which other processes disturb little; with a GPU those of the clock."""
    wall, cpu = timed(run, repeats)
    return wall if torch.cuda.is_available() else cpu


class Figure(NamedTuple):
    """A number, and what it takes to measure it again."""

    what: str
    value: float | None
    """None where there is none: it was not reached, or failed."""
    unit: str
    command: str
    commit: str
    machine: str
    date: str


def record(file: str, figures: Mapping[tuple[str, str], float | None]) -> list[Figure]:
    """Add figures, by what they are of and their unit, to `results/<file>.jsonl`.

    The command is that of any machine: a path of this one is told by its name.
    """
    script = Path(sys.argv[0]).name
    start = "python -m benchmarks" if script == "__main__.py" else f"benchmarks/{script}"
    command = shlex.join(Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:])
    command = f"{start} {command}".strip()
    threads = torch.get_num_threads()
    where = f"{machine()}, {threads} thread{'s' * (threads > 1)}"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    made = [Figure(what, value, unit, command, _commit(), where, today) for (what, unit), value in figures.items()]
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{file}.jsonl").open("a") as lines:
        lines.writelines(json.dumps(figure._asdict(), ensure_ascii=False) + "\n" for figure in made)
    return made


@cache
def _commit() -> str:
    """At the start of a run; `-dirty` if something other than figures is not committed."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", ":/", f":!{RESULTS.name}", f":!{PAGE.name}")
    return git("rev-parse", "--short", "HEAD") + "-dirty" * bool(changed)


def front(system: str, figures: dict[tuple[str, str], float]) -> None:
    """Record figures that the README of the project shows of a system, named as its row begins."""
    record("front", {(f"{system}: {what}", unit): value for (what, unit), value in figures.items()})


@contextmanager
def tabled(name: str) -> Iterator[Callable[[str, dict[str, float]], None]]:
    """A table of the page, `file: title`. What is given to `row("rof", {"PSNR (dB)": 28.1})` is printed at once.

    In the end, and where it is broken off, its figures are added to `results/<file>.jsonl`, and the page shows them:
    those of former runs stay where no row of this one has their name.
    """
    file, title = name.split(": ")
    figures: dict[tuple[str, str], float | None] = {}
    print(f"\n{title}", flush=True)

    def row(what: str, values: dict[str, float]) -> None:
        cells = []
        for column, value in values.items():
            words, _, unit = column.removesuffix(")").partition(" (")
            figures[f"{title}: {what}: {words}", unit] = value = float(value) if math.isfinite(value) else None
            cells.append(f"{words} {shown(value, unit)} {unit}".strip())
        print(f"  {what:40}", ", ".join(cells), flush=True)

    try:
        yield row
    finally:
        record(file, figures)
        put(name, grid(newest(file), title))


def newest(file: str) -> dict[str, Figure]:
    """The last figure of each thing that was measured, the newest last."""
    path = RESULTS / f"{file}.jsonl"
    lines: list[dict[str, Any]] = [json.loads(line) for line in path.open()] if path.is_file() else []
    figures: dict[str, Figure] = {}
    for line in lines:
        figures.pop(line["what"], None)
        figures[line["what"]] = Figure(**line)
    return figures


def table(figures: dict[str, Figure]) -> str:
    """Figures named `what: function` in Markdown: ours, and beside it the peers'."""
    rows: dict[str, dict[str, str]] = {}
    for name, figure in figures.items():
        what, _, function = name.rpartition(": ")
        rows.setdefault(what, {})[function] = f"{number(figure.value, figure.unit)} {figure.unit}".strip()
    lines = ["| | tavtorch | peers |", "|---|---|---|"]
    for what, values in rows.items():
        peers = ", ".join(f"{value} {name}" for name, value in values.items() if name != "tavtorch")
        lines.append(f"| {what} | {values['tavtorch']} | {peers} |")
    return "\n".join([*lines, "", _newest(figures)])


def grid(figures: dict[str, Figure], title: str) -> str:
    """Figures named `title: row: column` in Markdown."""
    figures = {what: figure for what, figure in figures.items() if what.startswith(f"{title}: ")}
    if not figures:
        return f"{title}: not measured by this script yet; see [NOTES.md](NOTES.md)."
    rows: dict[str, dict[str, str]] = {}
    for what, figure in figures.items():
        _, row, column = what.split(": ")
        column += f", {figure.unit}" * bool(figure.unit)
        rows.setdefault(row, {})[column] = shown(figure.value, figure.unit)
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    lines += [f"| {row} | {' | '.join(cells.get(column, '') for column in columns)} |" for row, cells in rows.items()]
    return "\n".join([*lines, "", _newest(figures)])


def shown(value: float | None, unit: str) -> str:
    """A figure of a table: decibels with two decimals, other numbers with three digits or as whole ones."""
    if value is None:
        return ""
    if unit == "dB" or abs(value) < 1 or value == int(value):
        return number(value, unit)
    return f"{value:.{max(0, 3 - len(str(int(abs(value)))))}f}"


def _newest(figures: dict[str, Figure]) -> str:
    last = list(figures.values())[-1]
    return f"Newest: `{last.command}` at {last.commit}, {last.date}, {last.machine}."


def moved(before: dict[str, Figure], now: list[Figure]) -> list[str]:
    """What changed by more than the noise: a hundredth for scores, a quarter for times."""
    told = []
    for figure in now:
        old = before.get(figure.what)
        noise = 0.25 if figure.unit in ("ms", "s") else 0.01
        if old and abs(figure.value - old.value) > noise * max(abs(old.value), 1e-9):
            unit, since = figure.unit, f"at {old.commit}, {old.machine}"
            told.append(f"{figure.what}: {number(old.value)} -> {number(figure.value)} {unit} ({since})")
    return told


def put(name: str, text: str) -> None:
    """Write a text between the lines `<!-- NAME -->` and `<!-- /NAME -->` of the page."""
    before, rest = PAGE.read_text().split(f"<!-- {name} -->\n")
    after = rest.split(f"<!-- /{name} -->")[1]
    PAGE.write_text(f"{before}<!-- {name} -->\n{text}\n<!-- /{name} -->{after}")


def render() -> None:
    """Make all tables of the page from what is recorded."""
    put("quick", table(newest("quick")))
    for file, title in re.findall(r"^<!-- (\w+): (.*) -->$", PAGE.read_text(), re.MULTILINE):
        put(f"{file}: {title}", grid(newest(file), title))
