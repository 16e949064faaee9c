"""The command and the Python of a result, typed in a folder with its files, do what the page did."""

import shlex
from pathlib import Path

import pytest
import torch
from audio.recognition.test_changes import RATE, notes
from programs import Program

from tavtorch import Library, fingerprint
from tavtorch.lab.data.files import Picture, write_audio, write_picture
from tavtorch.lab.studio import worker

TOP = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow

# A system of each tab, its settings, and what is given with the file.
RESULTS = [
    ("rof", {"task.op.weight": 0.2}),
    ("ridge", {}),
    ("enhance", {}),
    ("deblur", {}),
    ("inpaint_patches", {"task.op.size": 5}),
    ("inpaint_tv", {"task.inference.near_hole": 0}),
    ("segment", {"task.op.force": "tavtorch.gaussian_force", "task.op.force.sigma": 2.0}),
    ("split_hilbert", {}),
    ("split_meyer", {}),
    ("gvf_force", {"task.op.smoothness": 0.1}),
    ("hpss", {"task.op.margin": 2.0}),
    ("nmf", {"task.op.components": 2}),
    ("separate", {}),
    ("recognise", {"task.op.threshold": 4.0}),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A picture, a recording and a library, in the folder that a person is in."""
    monkeypatch.chdir(tmp_path)
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    disk = torch.where((x - 30) ** 2 + (y - 24) ** 2 < 144, 0.2, 0.8)
    noise = 0.05 * torch.randn(3, 48, 64, generator=torch.Generator().manual_seed(0))
    write_picture(tmp_path / "a 'disk'.png", Picture((disk + noise).clamp(0, 1)))
    hole = torch.zeros(1, 48, 64)
    hole[:, 4:12, 4:12] = 1
    write_picture(tmp_path / "hole.png", Picture(hole))
    write_audio(tmp_path / "a clip.wav", notes(1)[None, : 6 * RATE], RATE, subtype="PCM_16")
    library = Library(tmp_path / "library.sqlite")
    for i in range(2):
        library.add(f"song {i}", fingerprint(notes(i)[None, None], RATE))
    return tmp_path


def result_of(folder, task, settings):
    request = {"do": "run", "task": task, "settings": settings, "folder": str(folder / "job")}
    is_sound = task in ("hpss", "nmf", "separate", "recognise")
    request["file"] = str(folder / ("a clip.wav" if is_sound else "a 'disk'.png"))
    request |= {"hole": str(folder / "hole.png")} if task.startswith("inpaint") else {}
    request |= {"shapes": [{"x": 30, "y": 24, "radius": 18}]} if task == "segment" else {}
    request |= {"library": str(folder / "library.sqlite")} if task == "recognise" else {}
    kind, result = worker._answered(request)
    assert kind == "done", result
    return result


def given_with(folder, result):
    """The files that are downloaded beside the results."""
    for name in ("hole.png", "start.csv"):
        if path := result["files"].get(f"results/{name}"):
            (folder / name).write_bytes(Path(path).read_bytes())


@pytest.mark.parametrize(("task", "settings"), RESULTS, ids=[task for task, _ in RESULTS])
def test_the_python_runs(folder, task, settings):
    result, names = result_of(folder, task, settings), {}
    given_with(folder, result)
    torch.manual_seed(1)
    with torch.no_grad():
        exec(result["python"], names)
    assert len(result["python"].splitlines()) <= 7 and names["found"] is not None
    if task == "recognise":
        assert [match.name for match in names["found"][0]] == ["song 1"] == [result["shown"][0]["rows"][0][0]]


@pytest.mark.parametrize(("task", "settings"), RESULTS, ids=[task for task, _ in RESULTS])
def test_the_command_writes_the_same_files(folder, task, settings):
    result = result_of(folder, task, settings)
    given_with(folder, result)
    words = shlex.split(result["command"])
    assert words[:2] == ["python", "evaluate.py"]
    more = [f"library.url={folder / 'library.sqlite'}"] if task == "recognise" else []
    ran = Program(TOP / "evaluate.py", *words[2:], *more, folder=folder)
    said, _ = ran.communicate(timeout=300)
    assert ran.returncode == 0, said
    given = ("results/hole.png", "results/start.csv")
    files = {
        Path(place).name: Path(place)
        for name, place in result["files"].items()
        if name.startswith("results/") and name not in given
    }
    written = {path.name: path for path in Path(folder, "runs", task, "predictions").rglob("*") if path.is_file()}
    assert files and files.keys() <= written.keys() | {"contour.svg"}, written
    for name in files.keys() & written.keys():
        assert files[name].read_bytes() == written[name].read_bytes(), name
