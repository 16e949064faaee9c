"""Figures that can be traced."""

import re
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
README = (TOP / "benchmarks/README.md").read_text()
FRONT = (TOP / "README.md").read_text()
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
    shown = re.search(r"<!-- quick -->\n(.*?)\n<!-- /quick -->", README, re.DOTALL)[1]
    assert shown == measure.table(measure.newest("quick"))


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
