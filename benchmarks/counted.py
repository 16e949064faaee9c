"""What a GPU would be asked, counted where there is none: `uv run benchmarks/counted.py`, in a minute."""

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import pretend

pretend.register()  # before the package is imported

from measure import tabled  # noqa: E402
from test_pretended_gpu import BUDGETS, photo  # noqa: E402


def eager():
    table = tabled("counted: ops on a pretended GPU, eager, 64 x 64 pixels")
    with pretend.pretended_gpu() as gpu, table as row:
        for name, (op, steps, *_) in BUDGETS.items():
            x = photo(1, 1, 64, 64).to(gpu)
            found = pretend.cost(op, x)
            values = {"launches a step": found.launches / steps, "waits in all": found.waits}
            row(name, {"steps": steps, **values, "memory a pixel (bytes)": found.memory / x.numel()})


def compiled():
    """Kernels and traffic of the CUDA code that inductor writes."""
    done = subprocess.run(
        [sys.executable, Path(pretend.__file__).with_name("inductor_cuda.py")],
        capture_output=True,
        text=True,
        check=True,
    )
    with tabled("counted: a compiled step in inductor's CUDA code") as row:
        for step in map(json.loads, filter(lambda line: line.startswith("{"), done.stdout.splitlines())):
            row(step["step"], {"kernels": step["kernels"], "traffic a pixel (bytes)": step["bytes"]})


if __name__ == "__main__":
    eager()
    compiled()
