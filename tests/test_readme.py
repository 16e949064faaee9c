"""What the README shows is what works."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

TOP = Path(__file__).resolve().parents[1]
README = (TOP / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
MANUALS = [
    line for name in ("train.py", "evaluate.py") for line in (TOP / name).read_text().split('"""')[1].splitlines()
]
COMMANDS = [
    line.strip()
    for line in "\n".join(text for kind, text in BLOCKS if kind == "bash").splitlines() + MANUALS
    if re.search(r"(train|evaluate)\.py", line)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_settings_that_exist(command):
    words = shlex.split(re.split(r"\s{2,}|#|\.\.\. ", command)[0].replace("...", "x.ckpt"), comments=True)
    script = next(Path(word).stem for word in words if word.endswith(".py"))
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    variants = [overrides]
    if "-m" in words:
        key, values = overrides[0].split("=", 1)
        variants = [[f"{key}={value}", *overrides[1:]] for value in values.split(",")]
    with initialize_config_dir(str(TOP / "configs"), version_base="1.3"):
        for variant in variants:
            compose(script, ["name=test", "out=runs/test", *variant])


def test_ci_runs_the_readmes_test_command():
    (command,) = re.findall(r"^pip install uv && uv run pytest\b", README, re.MULTILINE)
    assert f"\n{command}\n" in (TOP / ".ci/run").read_text()


def test_the_example_runs(capsys):
    for kind, text in BLOCKS:
        if kind == "python":
            exec(compile(text, "README.md", "exec"), {})
    assert "torch.Size([1, 2, 2, 132300]) torch.Size([1, 2, 513, 517])" in capsys.readouterr().out


def test_it_is_short():
    assert len(README.splitlines()) <= 150
