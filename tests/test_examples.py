"""The examples as a user runs them, cut short."""

import os
import subprocess
import sys
from pathlib import Path

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
