"""What the compiled steps are on a GPU: kernels, and bytes a pixel, as inductor writes them where there is none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BUDGETS = {"rof": (3, 48), "rof in colour": (6, 96), "reflect": (1, 20), "relax": (2, 24)}
"""Kernels, and bytes a pixel and channel; the floor of `rof` is 28, each image read or written once."""
WRITTEN_FOR = "2.14"
"""The version of PyTorch whose internals `inductor_cuda` knows."""


@pytest.fixture(scope="module")
def written():
    pytest.importorskip("triton", reason="PyTorch for CUDA brings Triton")
    environment = os.environ | {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
    command = [sys.executable, Path(__file__).with_name("inductor_cuda.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode and not torch.__version__.startswith(WRITTEN_FOR):
        pytest.skip(f"inductor is asked for its code by its internals, which differ here: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["step"]: (line["kernels"], line["bytes"]) for line in lines}


@pytest.mark.slow
@pytest.mark.parametrize("step", BUDGETS)
def test_a_compiled_step_keeps_its_budget(written, step):
    kernels, size = written[step]
    assert 0 < kernels <= BUDGETS[step][0]
    assert 0 < size <= BUDGETS[step][1]
