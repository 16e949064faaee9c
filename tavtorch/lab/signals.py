"""SIGTERM and Ctrl-C end a run in order: what is written stays whole, and the processes that it started end too."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType


class Stopped(SystemExit):
    """Raised where a signal arrives; a script that ends with it has the exit code of shells, 128 + the signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


def end_in_order() -> None:
    """From now on SIGTERM and Ctrl-C raise `Stopped`, once; a second Ctrl-C ends the process at once."""
    owner = os.getpid()

    def stop(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker that was forked, and has nothing to bring in order
            os._exit(128 + signum)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise Stopped(signum)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)


def run_child(command: Sequence[str]) -> None:
    """Run a program to its end; if a signal stops this process, the program is stopped too, and ends first.

    Raises a `ValueError` if it fails.
    """
    with subprocess.Popen(command) as child:
        try:
            code = child.wait()
        except Stopped:
            child.terminate()  # never by a second Ctrl-C, for a terminal sends the first one to both
            child.wait()
            raise
    if code - 128 in (signal.SIGTERM, signal.SIGINT):  # it was stopped, and has said so
        sys.exit(code)
    if code:
        raise ValueError(f"{Path(command[1]).name} ended with exit code {code}; it says why above.")


def is_first_process() -> bool:
    """Whether this process is the one of a run that speaks."""
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in ranks)
