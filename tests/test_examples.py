"""The examples as a user runs them, cut short."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]


def said(script):
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TOP / "examples" / script), "short"]
    return subprocess.run(command, cwd=TOP, env=one_thread, check=True, capture_output=True, text=True).stdout


def test_restoration():
    lines = said("restoration.py").splitlines()
    assert [line.split()[0] for line in lines] == ["noisy", "σ", "camera:", "coffee:"]
    noisy, by_hand = (float(lines[0].split()[i]) for i in (1, 5))
    assert by_hand > noisy + 3


def test_separation():
    lines = said("separation.py").splitlines()
    assert [line.split()[0] for line in lines] == ["medians", "notes,", "notes,", "notes,", "plain"]
    four, eight, few = (float(line.split()[-2]) for line in lines[1:4])
    assert few > eight and four > eight


def test_a_library_of_your_records():
    count, named, *others = said("sounds/a_library_of_your_records.py").splitlines()
    assert count == "4 songs"
    place, truth = re.fullmatch(r"4 of 4 named; the first is song 0 from (.*) s on; cut at (.*) s", named).groups()
    assert float(place) == pytest.approx(float(truth), abs=0.11)
    assert others == ["unknown: refused", "0 to 20 s: song 2", "20 to 40 s: song 0", "40 to 60 s: song 1"]


def test_texture():
    four, learned = said("texture.py").splitlines()
    assert four.startswith("fourier ")
    assert re.fullmatch(r"best of the four [\d.]+ dB, learned kernel [\d.]+ dB", learned)


def test_contours():
    lines = said("contours.py").splitlines()
    assert [line.split()[0] for line in lines] == ["flow:", "raw:", "hand-made"]
    flow, raw = (float(line.split()[-1]) for line in lines[:2])
    assert flow > raw + 0.05  # the cup is white, the table around it is not
