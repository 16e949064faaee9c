"""Scripts as a user runs them, each in a process of its own, without the seconds in which each would load PyTorch.

They are forked from one process that has loaded what all of them import; a program's own beginning, `__main__`, its
words, its folder, its output and its signals are as elsewhere.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

PRELOADED = ["torch", "lightning.pytorch", "torchmetrics", "hydra", "tavtorch", "tavtorch.lab.run", "tavtorch.lab.task"]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(PRELOADED)


class Program:
    """A script that runs, with the part of `subprocess.Popen` that tests need; output and errors are one text.

    Args:
        script: its path.
        words: of the command line.
        folder: in which it runs.
    """

    def __init__(self, script, *words, folder=None):
        output, said = tempfile.mkstemp(".txt")
        os.close(output)
        self.said = Path(said)
        words = [str(word) for word in words]
        self.process = FORKS.Process(target=_run, args=(str(script), words, str(folder or Path.cwd()), said))
        self.process.start()
        self.pid = self.process.pid

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.process.exitcode

    def wait(self, timeout=None):
        self.process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("program", timeout)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout=None):
        """What it said, once it has ended, and None."""
        self.wait(timeout)
        said = self.said.read_text()
        self.said.unlink()
        return said, None


def _run(script, words, folder, said):
    output = os.open(said, os.O_WRONLY | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(output, stream.fileno())
    os.chdir(folder)
    sys.argv = [script, *words]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")
