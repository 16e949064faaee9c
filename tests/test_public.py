"""The contract of names, and what importing them costs."""

import inspect
import subprocess
import sys

import pytest

import tavtorch

PUBLIC = {
    "grid": ["gradient", "divergence", "laplacian", "sample"],
    "solve": ["Stop", "Solution", "iterate", "implicit"],
    "audio": ["spectrum", "waveform", "sonogram", "UNet", "separate"],
}


@pytest.mark.parametrize("name", [name for names in PUBLIC.values() for name in names])
def test_a_public_name_is_there_and_explained(name):
    assert inspect.getdoc(getattr(tavtorch, name))


def test_importing_loads_torch_and_nothing_heavy():
    script = "import sys, tavtorch; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    assert not {"lightning", "hydra", "kornia", "torchaudio", "matplotlib", "skimage", "sqlalchemy"} & set(loaded)


def test_the_types_are_published():
    from pathlib import Path

    assert (Path(tavtorch.__file__).parent / "py.typed").is_file()
