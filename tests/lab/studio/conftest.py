"""A studio as a user starts it, without a network, and a browser whose microphone hears a song."""

import json
import os
import subprocess
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tavtorch.lab.data.files import write_audio
from tavtorch.lab.data.generated import generated_songs

NO_NETWORK = """
import os, socket
real = socket.socket.connect
def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
        open(os.environ["STUDIO_TRIED"], "a").write(f"{address}\\n")
        raise OSError("the test has cut the network off")
    return real(self, address)
socket.socket.connect = connect
"""


class Studio:
    """A running studio, and a visitor without a browser."""

    def __init__(self, address, tried, temporary, process):
        self.address, self.tried, self.temporary, self.process = address, tried, temporary, process

    def ask(self, path, data=None, *, cookie=None, method=None, headers=None):
        """Status, content as JSON, and the cookie that is set."""
        body = json.dumps(data).encode() if isinstance(data, dict) else data
        given = {"Content-Type": "application/json"} | ({"Cookie": cookie} if cookie else {}) | (headers or {})
        try:
            with urlopen(Request(self.address + path, body, given, method=method), timeout=120) as answer:
                content, told = answer.read(), answer.headers
                is_json = "json" in told.get("Content-Type", "")
                cookie = told.get("Set-Cookie", "").partition(";")[0]
                return answer.status, json.loads(content) if is_json else content, cookie
        except HTTPError as error:
            return error.code, error.read().decode(), ""

    def visitor(self):
        return self.ask("")[2]

    def upload(self, cookie, name, data):
        return self.ask(f"api/files?name={name}", data, cookie=cookie)

    def done(self, cookie, asked):
        """What a job gives, or why it failed."""
        status, begun, _ = self.ask("api/jobs", asked, cookie=cookie)
        assert status == 200, begun
        since = ""
        while True:
            _, now, _ = self.ask(f"api/jobs/{begun['job']}?since={since}", cookie=cookie)
            since = now["version"]
            if now["state"] not in ("waiting", "running"):
                return begun["job"], now["result"] if now["state"] == "done" else now["words"]


def begin(folder, *words):
    pytest.importorskip("uvicorn", reason="the studio is an extra: pip install 'tavtorch[studio]'")
    pytest.importorskip("starlette", reason="the studio is an extra: pip install 'tavtorch[studio]'")
    (folder / "site").mkdir()
    (folder / "site/sitecustomize.py").write_text(NO_NETWORK)
    (folder / "tmp").mkdir()
    path = os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH")]))
    apart = os.environ | {"PYTHONPATH": path, "STUDIO_TRIED": str(folder / "tried"), "TMPDIR": str(folder / "tmp")}
    command = [
        sys.executable,
        "-m",
        "tavtorch.lab.studio",
        "--port",
        "0",
        "--megabytes",
        "20",
        "--minutes",
        "0.5",
        *words,
    ]
    process = subprocess.Popen(command, env=apart, cwd=folder, stdout=subprocess.PIPE, text=True)
    address = process.stdout.readline().split()[2]
    studio = Studio(address, folder / "tried", folder / "tmp", process)
    assert studio.ask("api/systems")[0] == 200
    return studio


@pytest.fixture(scope="session")
def start_studio():
    """`start_studio(folder, *words)`: another one, with words of the command line."""
    return begin


@pytest.fixture(scope="session")
def studio(tmp_path_factory):
    running = begin(tmp_path_factory.mktemp("studio"))
    yield running
    running.process.terminate()
    running.process.wait(30)


@pytest.fixture(scope="session")
def melodies(tmp_path_factory):
    """A folder of two songs, and a noisy excerpt of the second."""
    folder = tmp_path_factory.mktemp("melodies")
    for song, name in zip(generated_songs(2, 20.0, sample_rate=16000, seed=3), ("first", "second"), strict=True):
        write_audio(folder / f"{name}.wav", song.read("mixture", 0.0, 20.0, 16000, 1), 16000, subtype="PCM_16")
        write_audio(folder / "clip.wav", song.read("mixture", 4.0, 12.0, 16000, 1), 16000, subtype="PCM_16")
    return folder


@pytest.fixture(scope="session")
def browser(open_browser, melodies):
    with open_browser(
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={melodies / 'clip.wav'}",
    ) as opened:
        yield opened
