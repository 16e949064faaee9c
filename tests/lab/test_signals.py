"""Signals, each in a program of its own: the tests themselves must not be stopped by them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tavtorch.lab
from tavtorch.lab.signals import run_child

START = f"""
import sys, time
sys.path.append({str(Path(tavtorch.lab.__file__).parent)!r})  # without torch
from signals import end_in_order, run_child
end_in_order()
"""
WAIT = """
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    print("in order", flush=True)
"""
LINGER = f"{WAIT}    time.sleep(60)\n"


def program(text):
    return subprocess.Popen([sys.executable, "-c", START + text], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_in_order(signum, code):
    process = program(WAIT)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signum)
    said, _ = process.communicate(timeout=60)
    assert (said, process.returncode) == ("in order\n", code)


def test_a_second_ctrl_c_ends_it_at_once():
    process = program(LINGER)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "in order\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == -signal.SIGINT


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_child_gets_the_signal_and_ends_first(signum, code):
    process = program(f"run_child([sys.executable, '-c', {START + WAIT!r}])")
    assert process.stdout.readline() == "ready\n"  # of the child
    process.send_signal(signum)
    said, _ = process.communicate(timeout=60)
    assert (said, process.returncode) == ("in order\n", code)


def test_a_child_that_was_stopped_stops_its_parent():
    process = program("run_child([sys.executable, '-c', 'import sys; sys.exit(143)']); print('went on')")
    said, _ = process.communicate(timeout=60)
    assert (said, process.returncode) == ("", 143)


def test_a_child_that_fails():
    with pytest.raises(ValueError, match="-c ended with exit code 3; it says why above"):
        run_child([sys.executable, "-c", "import sys; sys.exit(3)"])
