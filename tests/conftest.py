"""Fixtures that every test file may ask for."""

import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

if "PYTEST_XDIST_WORKER" in os.environ:  # processes share the cores: threads that wait for each other slow all of them
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if "PYTHONDONTWRITEBYTECODE" in os.environ:  # each script that a test starts would compile Lightning anew, for 20 s
    del os.environ["PYTHONDONTWRITEBYTECODE"]
    sys.dont_write_bytecode = False

import pretend
import pytest
import torch

pretend.register()

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=NO_GPU), "pretended"])
def device(request):
    """Each device in turn; `pretended` stands for a GPU where there is none, see `pretend`."""
    if request.param == "pretended":
        with pretend.pretended_gpu() as device:
            yield device
    else:
        yield torch.device(request.param)


def pytest_collection_modifyitems(items):
    """The pretended GPU counts in double precision what it counts in single precision, and is slow."""
    params = [getattr(getattr(item, "callspec", None), "params", {}) for item in items]
    twice = [one.get("device") == "pretended" and one.get("dtype") is torch.float64 for one in params]
    items[:] = [item for item, again in zip(items, twice, strict=True) if not again]


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(autouse=True)
def seed():
    """Every test starts from the same random numbers."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _names_in_doctests(doctest_namespace):
    import tavtorch
    from tavtorch.audio import recognition, separation
    from tavtorch.image import contours, patches, restoration, splitting

    for room in (recognition, separation, contours, patches, restoration, splitting, tavtorch):
        doctest_namespace.update({name: it for name, it in vars(room).items() if not isinstance(it, ModuleType)})
    doctest_namespace["torch"] = torch


@pytest.fixture(scope="session")
def open_browser():
    """`open_browser(*flags)`: a Chromium. Only one driver can run in a process: this one opens them all."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is in the dev group")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with driver.sync_playwright() as player:
        yield lambda *flags: player.chromium.launch(executable_path=chromium, args=["--no-sandbox", *flags])


@pytest.fixture
def real_stems():
    """The folder of real songs that some tests need; it does not come with the project."""
    folder = SHARED / "stems"
    if not folder.is_dir():
        pytest.skip("the folder of real songs is not beside the checkout")
    return folder


@pytest.fixture(scope="session")
def songs(tmp_path_factory):
    """A folder of eight little songs whose voice is a gliding tone and whose band is noise."""
    from tavtorch.lab.data.files import write_audio

    root = tmp_path_factory.mktemp("songs")
    t = torch.arange(3 * 16000) / 16000
    noise = torch.Generator().manual_seed(0)
    for i in range(8):
        voice = 0.3 * torch.sin(2 * torch.pi * (200 + 40 * i) * (t + 0.05 * torch.sin(6 * t)))
        write_audio(root / f"song_{i}" / "vocals.wav", voice[None], 16000)
        write_audio(root / f"song_{i}" / "drums.wav", 0.2 * torch.randn(1, len(t), generator=noise), 16000)
    return root


@pytest.fixture
def unreadable(monkeypatch):
    """`unreadable(name)`: folders of this name may not be read, even by an administrator."""
    scan = os.scandir

    def refuse(name):
        def scandir(path):
            if Path(path).name == name:
                raise PermissionError(13, "Permission denied", str(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return refuse
