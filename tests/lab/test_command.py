import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from tavtorch.lab.command import literal, quoted, words

TOP = Path(__file__).resolve().parents[2]
NAMES = [
    "müsik.wav",
    "Song (Live) [Remastered].wav",
    "Don't Stop.wav",
    'a"b"',
    "a=b",
    "#1",
    "日本",
    "🎵.wav",
    "Back, In Black",
    "100",
    "null",
    "true",
    "[a,b]",
    "choice(a,b)",
    "~x",
    "  two  ",
    "tr\\ue",
    "end\\",
    "a\\'b",
    "${x}",
    "a\\${b}",
    "{a: b}",
    "-",
]


def read_by_hydra(words):
    """The settings that Hydra makes of words."""
    overrides = OverridesParser.create().parse_overrides(words)
    assert not any(override.is_sweep_override() for override in overrides)
    values = {override.key_or_group: override.value() for override in overrides}
    return OmegaConf.to_container(OmegaConf.create(values), resolve=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_taken_as_it_stands(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    assert read_by_hydra([f"a={quoted(name)}"]) == {"a": name}
    for more in ([], ["-m"]):
        setting = words("evaluate", [f"data.root={name}", *more])[-1:]
        assert read_by_hydra(setting) == {"data.root": name}
        assert words("evaluate", setting) == setting  # a second time nothing changes
    files = words("evaluate", ["task=rof", f"files={name}"])
    assert read_by_hydra(files) == {"task": "rof", "data": "folder", "data.root": name, "run": "predict"}


def test_a_path_that_does_not_exist_is_named_as_it_was_typed():
    assert read_by_hydra(words("evaluate", ["ckpt=no such (file).ckpt"])) == {"ckpt": "no such (file).ckpt"}


@pytest.mark.parametrize("word", ["ckpt=null", "data.root=''", "data.root='a b'", "data.root=a\\ b", "ckpt=${name}"])
def test_what_is_no_path_is_left_to_hydra(word):
    typed = [word, "task.op.weight=0.1", "--cfg", "job"]
    assert words("evaluate", typed) == typed


def test_several_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words("evaluate", ["-m", "ckpt=a b.ckpt,c.ckpt"]) == ["-m", "ckpt='a b.ckpt','c.ckpt'"]
    assert words("evaluate", ["task=rof", "-m", "seed=1,2"]) == ["-m", "task=rof", "seed=1,2"]
    assert words("evaluate", ["-m", "ckpt=glob(*)"]) == ["-m", "ckpt=glob(*)"]


def test_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "Music").mkdir()
    assert read_by_hydra(words("evaluate", ["data.root=~/Music"])) == {"data.root": str(tmp_path / "Music")}


@pytest.mark.parametrize(
    "typed",
    [
        ["files=a, 1.png,b.png"],
        ["files=[a, 1.png,b.png]"],
        ["files=*.png"],
        ["files=a, 1.png", "b.png"],
        ["files=a, 1.png", "files=b.png"],
    ],
)
def test_several_files(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a, 1.png", "b.png", "c.txt"):
        (tmp_path / name).touch()
    if "," in typed[0].replace("a, 1", ""):
        (tmp_path / "a, 1.png").rename(tmp_path / "a.png")
        typed = [word.replace("a, 1", "a") for word in typed]
    found = read_by_hydra(words("evaluate", ["task=rof", *typed]))
    assert [name.replace("a, 1", "a") for name in found["data.root"]] == ["a.png", "b.png"]


def test_what_was_typed_beside_files_stands():
    found = words("evaluate", ["task=rof", "data=noisy", "files=a", "run=test", "--cfg", "job"])
    assert found == ["task=rof", "data=noisy", "run=test", "--cfg", "job", "data.root='a'"]


def test_a_setting_is_taken_away_after_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = ["task=segment", "files=a", "~task.op.force"]
    assert words("evaluate", typed)[:3] == ["task=segment", "~task.op.force", "data=folder"]
    Path("~task.op.force").touch()
    assert "data.root=['a','~task.op.force']" in words("evaluate", typed)


@pytest.mark.parametrize(("task", "data"), [("recognise", "clips"), ("fingerprint", "music"), ("separate", "folder")])
def test_files_of_a_task(task, data):
    assert f"data={data}" in words("evaluate", [f"task={task}", "files=a"])


def test_songs_to_train_on():
    assert words("train", ["files=my songs"]) == ["data=stems", "data.root='my songs'"]


# errors


def test_no_file():
    with pytest.raises(ValueError, match="files: expected a file"):
        words("evaluate", ["files="])


def test_two_folders_to_train_on():
    with pytest.raises(ValueError, match="files: expected one folder"):
        words("train", ["files=a", "b"])


def test_a_script_ends_with_one_message(monkeypatch):
    monkeypatch.setattr("sys.argv", ["evaluate.py", "files="])
    with pytest.raises(SystemExit, match="error: files"):
        literal("evaluate")(lambda: None)()


# the manual


@pytest.mark.parametrize("script", ["evaluate", "train"])
def test_help_begins_with_the_short_lines(script):
    ran = subprocess.run([sys.executable, f"{script}.py", "--help"], cwd=TOP, capture_output=True, text=True)
    lines = [line.strip() for line in ran.stdout.splitlines() if line.strip()]
    assert ran.returncode == 0 and lines[1].startswith(f"python {script}.py ") and "files=PATH" in lines[1]
