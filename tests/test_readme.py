"""What the README shows is what works."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from tavtorch.lab.command import words as literal_words

TOP = Path(__file__).resolve().parents[1]
README = (TOP / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
MANUALS = [
    line for name in ("train.py", "evaluate.py") for line in (TOP / name).read_text().split('"""')[1].splitlines()
]
EXPERIMENTS = sorted(path.stem for path in (TOP / "configs/experiment").glob("*.yaml"))
COMMANDS = [
    line.strip()
    for line in "\n".join(text for kind, text in BLOCKS if kind == "bash").splitlines() + MANUALS
    if re.search(r"(train|evaluate)\.py", line)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_settings_that_exist(command):
    words = shlex.split(re.split(r"\s{2,}|#|\.\.\. ", command)[0].replace("...", "x.ckpt"), comments=True)
    words = words[len(words) - words[::-1].index("|") :] if "|" in words else words
    script = next(Path(word).stem for word in words if word.endswith(".py"))
    overrides = literal_words(script, [word for word in words if "=" in word and not word.startswith("-")])
    if overrides and overrides[0].startswith("--config-name="):
        script, *overrides = overrides[0].removeprefix("--config-name="), *overrides[1:]
    variants = [overrides]
    if "-m" in words:
        key, values = overrides[0].split("=", 1)
        names = EXPERIMENTS if values == "glob(*)" else values.split(",")
        variants = [[f"{key}={name}", *overrides[1:]] for name in names]
    with initialize_config_dir(str(TOP / "configs"), version_base="1.3"):
        for variant in variants:
            compose(script, ["name=test", "out=runs/test", *variant])


def test_ci_runs_the_readmes_test_command():
    (command,) = re.findall(r"^pip install uv && uv run pytest\b", README, re.MULTILINE)
    assert f"\n{command}\n" in (TOP / ".ci/run").read_text()


def test_before_a_commit_the_linters_of_ci_run():
    hooks = re.findall(r"entry: (uv run .*?),", (TOP / ".pre-commit-config.yaml").read_text())
    assert hooks == re.findall(r"^(uv run (?:ruff|mypy|lint).*)$", (TOP / ".ci/run").read_text(), re.MULTILINE)


def test_the_example_runs(capsys):
    for kind, text in BLOCKS:
        if kind == "python":
            exec(compile(text, "README.md", "exec"), {})
    assert "torch.Size([1, 2, 2, 132300]) torch.Size([1, 2, 513, 517])" in capsys.readouterr().out


def test_it_is_short():
    assert len(README.splitlines()) <= 150


def test_every_system_has_a_section_on_the_page():
    """A row of the table names a task, or functions, that some experiment runs."""
    with initialize_config_dir(str(TOP / "configs"), version_base="1.3"):
        tasks = {
            compose("evaluate", ["name=x", "out=x", f"experiment={name}"]).task.op._target_.removeprefix("tavtorch.")
            for name in EXPERIMENTS
        }
    rows = re.findall(r"^\| [a-z +]+ \| (.*?) \|.*`python", README, re.MULTILINE)
    assert len(rows) == README.count("| `python ") > 0  # a row that is not read would not be tested
    for row in rows:
        assert tasks & set(re.findall(r"`(\w+)`", row)), row


def test_what_it_links_to_is_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (TOP / target).exists(), target
