"""Figures that can be traced."""

import re
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
README = (TOP / "benchmarks/README.md").read_text()
FRONT = (TOP / "README.md").read_text()
TABLES = re.findall(r"^<!-- (\w+: .*) -->$", README, re.MULTILINE)
ROWS = re.findall(r"^\| `(\w+)`.*\| (.*?) \|$", FRONT.split("how measured")[1], re.MULTILINE)


@pytest.fixture
def measure(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(TOP / "benchmarks"))
    import measure

    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmarks/x.py", "two words"])
    return measure


def test_a_figure_says_how_to_measure_it_again(measure):
    (made,) = measure.record("some", {("rof: PSNR: tavtorch", "dB"): 28.0})
    assert measure.newest("some") == {"rof: PSNR: tavtorch": made}
    assert made.command == "benchmarks/x.py 'two words'" and made.commit and made.machine
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", made.date)


def test_a_folder_of_this_machine_is_known_by_its_name(measure, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmarks/x.py", "/home/me/stems", "--python", "/opt/bin/python", "ckpt=a/b"])
    (made,) = measure.record("some", {("a", "dB"): 1.0})
    assert made.command == "benchmarks/x.py stems --python python ckpt=a/b"


def test_what_moved_beyond_noise_is_told(measure):
    before = {figure.what: figure for figure in measure.record("some", {("a", "dB"): 28.0, ("b", "ms"): 100})}
    assert measure.moved(before, measure.record("some", {("a", "dB"): 28.01, ("b", "ms"): 110, ("c", ""): 1.0})) == []
    told = measure.moved(before, measure.record("some", {("a", "dB"): 29.0, ("b", "ms"): 200}))
    assert [line.split(":")[0] for line in told] == ["a", "b"] and "28 -> 29 dB" in told[0]


def test_time_is_that_of_the_run(measure):
    runs = []
    assert 0 <= measure.seconds(lambda: runs.append(sum(range(1000))), repeats=2) < 1
    assert len(runs) == 3


def test_the_table_of_the_page_is_that_of_its_figures(measure, monkeypatch):
    monkeypatch.undo()
    assert f"<!-- quick -->\n{measure.table(measure.newest('quick'))}\n<!-- /quick -->" in README


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_the_page_is_made_of_recorded_figures(measure, monkeypatch, name):
    monkeypatch.undo()
    file, title = name.split(": ")
    assert f"<!-- {name} -->\n{measure.grid(measure.newest(file), title)}\n<!-- /{name} -->" in README


def test_the_page_has_no_figure_outside_of_its_tables():
    prose = re.sub(r"^<!-- (.*) -->\n.*?^<!-- /\1 -->", "", README, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"`[^`]*`|^    .*$", "", prose, flags=re.MULTILINE)
    assert not re.findall(r"\d+\.\d+\b(?! kHz).*|^\|.*|.*\d ?(?:dB|ms|%).*", prose)


def test_rows_are_printed_recorded_and_shown(measure, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(measure, "PAGE", tmp_path / "page.md")
    measure.PAGE.write_text("before\n<!-- some: holes -->\nold\n<!-- /some: holes -->\nafter\n")
    with measure.tabled("some: holes") as row:
        row("ours", {"PSNR (dB)": 28.123, "steps": 30})
        row("theirs", {"PSNR (dB)": 27.0, "steps": float("nan")})
    assert "ours" in capsys.readouterr().out
    assert {what: figure.value for what, figure in measure.newest("some").items()} == {
        "holes: ours: PSNR": 28.123,
        "holes: ours: steps": 30,
        "holes: theirs: PSNR": 27.0,
        "holes: theirs: steps": None,
    }
    lines = measure.PAGE.read_text().splitlines()
    assert lines[:2] == ["before", "<!-- some: holes -->"] and lines[-2:] == ["<!-- /some: holes -->", "after"]
    assert lines[2:6] == [
        "| holes | PSNR, dB | steps |",
        "|---|---|---|",
        "| ours | 28.12 | 30 |",
        "| theirs | 27.00 |  |",
    ]


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (28.0, "dB", "28.00"),
        (30.0, "", "30"),
        (0.0192, "", "0.0192"),
        (5.3, "s", "5.30"),
        (53.14, "ms", "53.1"),
        (1763.9, "ms", "1764"),
        (-12.34, "", "-12.3"),
        (None, "s", ""),
    ],
)
def test_figures_have_three_digits(measure, value, unit, shown):
    assert measure.shown(value, unit) == shown


def test_a_table_ends_with_its_newest_figure(measure):
    for what in ("a", "b", "a"):
        measure.record("some", {(f"holes: {what}: PSNR", "dB"): 1.0})
    assert [*measure.newest("some")] == ["holes: b: PSNR", "holes: a: PSNR"]


def test_what_was_measured_is_kept_where_the_rest_fails(measure, monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "PAGE", tmp_path / "page.md")
    measure.PAGE.write_text("<!-- some: holes -->\n<!-- /some: holes -->\n")

    def broken_off():
        with measure.tabled("some: holes") as row:
            row("ours", {"PSNR (dB)": 28.0})
            raise MemoryError

    with pytest.raises(MemoryError):
        broken_off()
    assert measure.newest("some") and "28.00" in measure.PAGE.read_text()


@pytest.mark.parametrize(("system", "shown"), ROWS)
def test_a_number_of_the_front_page_was_recorded_by_a_benchmark(measure, monkeypatch, system, shown):
    monkeypatch.undo()
    figures = [figure for name, figure in measure.newest("front").items() if name.startswith(f"{system}: ")]
    numbers = re.findall(r"\d+(?:\.\d+)?", shown)
    assert numbers
    for number in numbers:
        digits = len(number.partition(".")[2])
        known = {f"{figure.value:.{digits}f}" for figure in figures}
        assert number in known, f"{system}: {number} is not among {known}"


def test_what_the_front_page_says_of_separation_was_recorded_by_a_benchmark(measure, monkeypatch):
    monkeypatch.undo()
    said = re.search(r"is ([\d.]+) dB on (.*?) clips, and ([\d.]+) dB on (.*?);.* ([\d.]+) and ([\d.]+)\n", FRONT)
    known = measure.newest("front")
    for numbers, system in ((said.group(1, 3), "train.py"), (said.group(5, 6), "separate")):
        for number, songs in zip(numbers, said.group(2, 4), strict=True):
            assert number == f"{known[f'{system}: {songs}, vocals, median SI-SDR gain'].value:.1f}"
