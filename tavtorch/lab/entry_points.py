"""The commands `tavtorch-train` and `tavtorch-evaluate`: a wheel has the two scripts inside, a checkout on top."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def train() -> None:
    """What `python train.py` does."""
    _run("train")


def evaluate() -> None:
    """What `python evaluate.py` does."""
    _run("evaluate")


def _run(name: str) -> None:
    package = Path(__file__).parents[1]
    place = next(path for path in (package / f"{name}.py", package.parent / f"{name}.py") if path.is_file())
    spec = spec_from_file_location(f"tavtorch.{name}", place)
    assert spec and spec.loader
    module = sys.modules[spec.name] = module_from_spec(spec)  # as an import does: its manual is found by its name
    spec.loader.exec_module(module)
    module.main()
