"""What the server refuses, and what it leaves behind; asked without a browser."""

import io

import pytest
import soundfile
import torch

from tavtorch.lab.data.files import Picture, write_picture

pytestmark = pytest.mark.slow


@pytest.fixture
def small(tmp_path):
    write_picture(tmp_path / "x.png", Picture(torch.rand(1, 12, 16)))
    return (tmp_path / "x.png").read_bytes()


def test_a_foreign_page_is_refused(studio):
    assert studio.ask("", headers={"Host": "evil.example"})[0] == 400
    cookie = studio.visitor()
    assert studio.ask("api/files?name=x", b"x", cookie=cookie, headers={"Origin": "http://evil.example"})[0] == 403
    assert studio.ask("api/files?name=x", b"x")[0] == 400  # who has no page has no files


@pytest.mark.parametrize("name", ["../../etc/passwd", "..%5C..%5Cx", "/etc/passwd", "%2e%2e/x", "..", "a%00b"])
def test_a_name_stays_within_the_folder_of_its_visitor(studio, name):
    status, told, _ = studio.upload(studio.visitor(), name, b"x")
    assert status == 200 and not set(told["name"]) & set("/\\\0") and told["name"] not in (".", "..")


def test_uploads_are_bounded(studio):
    cookie = studio.visitor()
    status, told, _ = studio.upload(cookie, "x.png", bytes(20 * 2**20 + 1))
    assert status == 400 and "larger than 20 MB" in told
    assert "is empty" in studio.upload(cookie, "x.png", b"")[1]


def test_long_recordings_are_refused(studio):
    cookie, file = studio.visitor(), io.BytesIO()
    soundfile.write(file, torch.zeros(31 * 8000).numpy(), 8000, format="FLAC")
    _, told, _ = studio.upload(cookie, "x.flac", file.getvalue())
    assert "x.flac: it is longer than 0.5 minutes" in studio.done(cookie, {"do": "look", "file": told["file"]})[1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"settings": {"task.save.suffix": "../x"}}, "rof has no such setting"),
        ({"settings": {"media.holes": "/etc/passwd"}}, "rof has no such setting"),
        ({"settings": {"task.op.weight": "${oc.env:HOME}"}}, "expected a number or sure"),
        ({"settings": {"task.op.coupling": "both"}}, "expected one of the choices"),
        ({"settings": {"task.op.weight": -1}}, "weight"),
        ({"task": "../../x"}, "there is no '../../x'"),
    ],
)
def test_settings_are_those_of_the_page(studio, small, changed, message):
    cookie = studio.visitor()
    _, told, _ = studio.upload(cookie, "x.png", small)
    assert message in studio.done(cookie, {"do": "run", "task": "rof", "file": told["file"]} | changed)[1]


def test_files_are_told_by_number_only(studio, small):
    cookie = studio.visitor()
    for number in ("/etc/passwd", "../1", "99"):
        status, told, _ = studio.ask("api/jobs", {"do": "look", "file": number}, cookie=cookie)
        assert status == 400 and "no such file" in told
    job, _ = studio.done(cookie, {"do": "look", "file": studio.upload(cookie, "x.png", small)[1]["file"]})
    assert studio.ask(f"api/jobs/{job}/0.png", cookie=cookie)[0] == 200
    for name in ("../0.png", "%2e%2e/x.png", "/etc/passwd", "%2fetc%2fpasswd"):
        assert studio.ask(f"api/jobs/{job}/{name}", cookie=cookie)[0] in (400, 404)


def test_a_result_has_the_format_and_depth_that_came(studio, tmp_path):
    cookie = studio.visitor()
    write_picture(tmp_path / "deep.tif", Picture(torch.rand(1, 12, 16), None, 65535))
    _, told, _ = studio.upload(cookie, "deep.tif", (tmp_path / "deep.tif").read_bytes())
    job, result = studio.done(cookie, {"do": "run", "task": "tikhonov", "file": told["file"], "settings": {}})
    assert result["downloads"] == ["results/deep.tif"]
    assert result["command"] == "python evaluate.py task=tikhonov files=deep.tif"
    import numpy as np
    import tifffile

    found = tifffile.imread(io.BytesIO(studio.ask(f"api/jobs/{job}/results/deep.tif", cookie=cookie)[1]))
    assert found.dtype == np.uint16 and found.shape == (12, 16)


def test_nothing_is_left_and_no_host_was_asked(start_studio, tmp_path, small):
    running = start_studio(tmp_path, "--processes", "1")
    try:
        running.upload(running.visitor(), "x.png", small)
        assert len(list(running.temporary.glob("tavtorch-studio-*/*"))) == 1
    finally:
        running.process.terminate()
        running.process.wait(30)
    assert not list(running.temporary.glob("tavtorch-studio-*"))
    assert not running.tried.exists()
