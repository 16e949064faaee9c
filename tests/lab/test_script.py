"""How scripts end, in this process: the configurations are the real ones, what they run is not."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tavtorch.lab.page import Section
from tavtorch.lab.script import ItemsError, without_traceback, without_typing_errors
from tavtorch.lab.signals import Stopped

CONFIGS = str(Path(__file__).resolve().parents[2] / "configs")
EXPERIMENTS = sorted(path.stem for path in Path(CONFIGS, "experiment").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _as_before():
    """Hydra and the scripts set up logging and signals for the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    signals = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    environment = os.environ.copy()
    yield
    root.handlers[:], _ = handlers, root.setLevel(level)
    for signum, handler in signals.items():
        signal.signal(signum, handler)
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Runs a script with what a person types and with what is to be done."""

    def run(*words, main=lambda config: None, name="evaluate"):
        there = [f"hydra.run.dir={tmp_path}", f"hydra.sweep.dir={tmp_path}"]
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *there, *words])
        decorated = hydra.main(version_base="1.3", config_path=CONFIGS, config_name=name)(without_traceback(main))
        without_typing_errors(decorated)()

    return run


def test_little_is_loaded_before_the_configuration_is_known():
    """So that `--help` and typing errors are answered at once."""
    program = "import sys, tavtorch.lab.script, tavtorch.lab.command; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"lightning", "matplotlib", "jinja2", "torchaudio", "kornia", "sqlalchemy"} & set(loaded)


# what is mistyped


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=rfo"], "task: there is no rfo; did you mean rof?"),
        (["task=rof", "data=noisyy"], "data: there is no noisyy; did you mean noisy?"),
        (["experiment=zzz"], f"experiment: there is no zzz; choose one of {', '.join(EXPERIMENTS)}."),
        (["task=rof", "task.op.wieght=1"], "task.op.wieght: there is no such setting; did you mean weight?"),
        (["tsk=rof"], "tsk: there is no such setting; did you mean task?"),
        (["task=rof", "flies=a.png"], "flies: there is no such setting; did you mean files?"),
        (["experimnt=film"], "experimnt: there is no such setting; did you mean experiment?"),
        (["task=rof", "trainer.stratgy=ddp"], "trainer.stratgy: there is no such setting; did you mean strategy?"),
        (["task.op.weight=[1,2"], "task.op.weight=[1,2: no viable alternative at input '[1,2'; a text with special"),
        (["name=a=b"], "name=a=b: mismatched input '=' expecting <EOF>; a text with special characters stands in"),
        (["task=rof", "overwrite=no"], "overwrite: expected true or false, got 'no'."),
        (["task=rof", "seed=abc"], "seed: expected a whole number from 0 to 4294967295, got 'abc'."),
        (["task=rof,rfo", "-m"], "task: there is no rfo; did you mean rof?"),
    ],
)
def test_what_is_mistyped_is_one_line(script, words, message):
    with pytest.raises(SystemExit) as ended:
        script(*words)
    assert str(ended.value.code).startswith(f"error: {message}") and "\n" not in str(ended.value.code)


def test_a_value_that_is_missing_is_one_line(script):
    with pytest.raises(SystemExit, match=r"error: data.root: has no value yet; say data.root=\.\.\."):
        script("task=rof", "data=folder", "run=predict", main=lambda config: instantiate(config.data))


def test_a_reference_to_nothing_is_one_line(script):
    with pytest.raises(SystemExit, match=r"error: .*library.*; the task and the data do not go together"):
        script("task=recognise", "data=noisy", main=lambda config: OmegaConf.to_object(config.task))


def test_what_lightning_refuses_is_one_line(script):
    with pytest.raises(SystemExit, match=r"error: trainer: .*"):
        script("task=rof", "trainer.accelerator=abacus", main=lambda config: instantiate(config.trainer))


def test_a_folder_that_cannot_be_made(script, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="error: hydra.run.dir: .*file"):
        script("task=rof", f"hydra.run.dir={tmp_path / 'file/run'}")


def test_a_defect_keeps_its_traceback(script):
    def main(config):
        raise KeyError("a defect")

    with pytest.raises(KeyError, match="a defect"):
        script("task=rof", main=main)


# what is not told


def test_a_password_is_told_to_nobody(script, tmp_path, caplog):
    def main(config):
        (tmp_path / "command").write_text(config.section.command)
        raise ValueError(f"library: no database at {config.library.url}")

    with pytest.raises(SystemExit, match=r"postgresql://me:\*\*\*@host/songs"):
        script("task=recognise", "library.url=postgresql://me:pass@host/songs", main=main)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"command", "config.yaml", "overrides.yaml", "hydra.yaml"} <= {path.name for path in files}
    assert all("pass@" not in path.read_text() for path in files)


# several runs


def test_one_run_that_fails_leaves_the_others(script, tmp_path):
    """Whatever it is: the page has all, the exit code tells, and what an earlier sweep left is not taken for theirs."""
    old = tmp_path / "old"
    old.mkdir()
    (old / "section.json").write_text("{}")

    def main(config):
        if config.seed == 2:
            raise TypeError("a defect")
        if config.seed == 3:
            raise ItemsError("passed over: x")
        Section("fine").write(Path(config.out))

    with pytest.raises(SystemExit, match="failed: task=rof seed=2, task=rof seed=3"):
        script("task=rof", "seed=1,2,3", "-m", main=main)
    page = (tmp_path / "report/index.html").read_text()
    assert "TypeError: a defect" in page and 'id="rof/seed=1"' in page and page.count("<section ") == 2


# signals


@pytest.mark.parametrize(
    ("name", "saved", "said"),
    [
        ("evaluate", True, "stopped; run it again to do the rest"),
        ("train", False, "stopped; run it again to do the rest"),
        ("train", True, "stopped; the same command with ckpt=last goes on from the last whole epoch"),
    ],
)
def test_a_run_that_is_stopped_says_how_to_go_on(script, tmp_path, capfd, name, saved, said):
    if saved:
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints/last.ckpt").touch()
    with pytest.raises(Stopped) as ended:
        script(name=name, main=lambda config: os.kill(os.getpid(), signal.SIGTERM))
    assert ended.value.code == 143 and said in capfd.readouterr().out


def test_a_sweep_that_is_stopped_ends(script):
    ran = []

    def main(config):
        ran.append(config.seed)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped) as ended:
        script("task=rof", "seed=1,2", "-m", main=main)
    assert ended.value.code == 130 and ran == [1]
