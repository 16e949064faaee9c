"""The built package, away from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
SCRIPT = """
import sys
from importlib.metadata import entry_points
sys.argv[0] = "{0}"
entry_points(name="{0}")["{0}"].load()()
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """What pip would put into site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=TOP, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(script, site, cwd, *overrides):
    command = [sys.executable, "-c", SCRIPT.format(script), *overrides]
    path = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=path, capture_output=True, text=True, timeout=300)


def test_it_carries_what_it_needs_and_no_more(unpacked):
    files = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    for needed in (
        "py.typed",
        "train.py",
        "lab/templates/page.html",
        "lab/studio/static/app.js",
        "configs/train.yaml",
        "configs/task/separate.yaml",
        "audio/separation/unet.safetensors",
        "image/contours/crowd.safetensors",
    ):
        assert f"tavtorch/{needed}" in files
    assert {name.split("/")[0] for name in files} <= {
        "tavtorch",
        next(n for n in files if "dist-info" in n).split("/")[0],
    }


def test_it_trains_and_separates_elsewhere(unpacked, songs, tmp_path):
    tiny = ["task.op.width=8"]
    learn = ["data=stems", f"data.root={songs}", "data.generated=0", "data.per_epoch=8", "data.excerpts.seconds=0.5"]
    ran = run("tavtorch-train", unpacked, tmp_path, *tiny, *learn, "trainer.max_epochs=1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "runs/separate/report.html").is_file()
    ckpt = ["ckpt=runs/separate/checkpoints/best.ckpt", "run=predict"]
    song = ["data=folder", f"data.root={songs / 'song_0/vocals.wav'}"]
    ran = run("tavtorch-evaluate", unpacked, tmp_path, *tiny, *song, *ckpt)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "runs/separate/predictions/vocals/accompaniment.wav").is_file()


def test_the_command_of_libraries_is_there(unpacked, tmp_path):
    ran = run("tavtorch-library", unpacked, tmp_path, "list")
    assert ran.returncode == 1 and "error: url: there is no library at runs/library.sqlite" in ran.stderr


@pytest.mark.parametrize("script", ["evaluate", "train"])
@pytest.mark.parametrize("place", ["wheel", "checkout"])
def test_its_scripts_tell_their_short_lines_first(unpacked, tmp_path, script, place):
    ran = run(f"tavtorch-{script}", unpacked if place == "wheel" else TOP, tmp_path, "--help")
    lines = [line.strip() for line in ran.stdout.splitlines() if line.strip()]
    assert ran.returncode == 0 and lines[1].startswith(f"tavtorch-{script} ") and "files=PATH" in lines[1]
    assert f"{script}.py" not in ran.stdout


def test_a_manual_of_which_only_the_beginning_is_read(tmp_path):
    """`evaluate.py --help | head -1`."""
    command = [sys.executable, str(TOP / "evaluate.py"), "--help"]
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, timeout=300)
    os.close(write)
    assert ran.returncode == 0 and not ran.stderr
