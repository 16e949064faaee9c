"""What a microphone hears, block by block; asked without a browser."""

import io
import time

import pytest
import soundfile
import torch
from audio.recognition.test_changes import RATE, notes

from tavtorch import Library, fingerprint
from tavtorch.lab.studio import listening


def as_wav(wave):
    file = io.BytesIO()
    soundfile.write(file, wave.numpy(), RATE, "PCM_16", format="WAV")
    return file.getvalue()


def post(studio, cookie, job, block):
    return studio.ask(f"api/jobs/{job}/blocks", block, cookie=cookie, method="POST")


@pytest.fixture
def visitor(studio):
    """Whose library has two songs."""
    cookie = studio.visitor()
    for i in range(2):
        _, told, _ = studio.upload(cookie, f"song%20{i}.wav", as_wav(notes(i)[: 25 * RATE]))
        assert "facts" in studio.done(cookie, {"do": "add", "file": told["file"]})[1]
    return cookie


def until(studio, cookie, job, met):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        _, now, _ = studio.ask(f"api/jobs/{job}", cookie=cookie)
        if met(now):
            return now
        time.sleep(0.1)
    raise AssertionError(now)


@pytest.mark.slow
def test_tracks_come_as_they_are_heard_and_a_cue_sheet_at_the_end(studio, visitor):
    _, begun, _ = studio.ask("api/jobs", {"do": "listen"}, cookie=visitor)
    job = begun["job"]
    status, told, _ = studio.ask("api/jobs", {"do": "listen"}, cookie=visitor)
    assert status == 400 and "you listen already" in told
    stream = torch.cat((notes(1)[: 16 * RATE], torch.zeros(20 * RATE), notes(0)[: 16 * RATE]))
    blocks = stream.split(RATE)
    for block in blocks[:14]:
        assert post(studio, visitor, job, as_wav(block))[0] == 200
    now = until(studio, visitor, job, lambda now: now["result"].get("tracks"))
    assert [(one["name"], one["stop"]) for one in now["result"]["tracks"]] == [("song 1", None)]
    for block in blocks[14:]:
        post(studio, visitor, job, as_wav(block))
    post(studio, visitor, job, b"")
    result = until(studio, visitor, job, lambda now: now["state"] == "done")["result"]
    assert [one["name"] for one in result["tracks"]] == ["song 1", "song 0"]
    for one, start in zip(result["tracks"], (0, 36), strict=True):
        assert abs(one["start"] - start) < 1 and abs(one["stop"] - start - 16) < 2.5
    cue = studio.ask(f"api/jobs/{job}/results/tracks.cue", cookie=visitor)[1].decode()
    assert cue.startswith('FILE "microphone" WAVE\n  TRACK 01 AUDIO\n    TITLE "song 1"')
    assert not list(studio.temporary.glob("tavtorch-studio-*/*/job-*/[0-9]*.wav"))  # each is gone when it is heard
    status, told, _ = post(studio, visitor, job, as_wav(blocks[0]))
    assert status == 400 and "it does not listen" in told


@pytest.mark.slow
def test_a_song_that_is_not_in_the_library(studio, visitor):
    _, told, _ = studio.upload(visitor, "clip.wav", as_wav(notes(5)[: 8 * RATE]))
    _, result = studio.done(visitor, {"do": "run", "task": "recognise", "file": told["file"], "settings": {}})
    assert result["shown"][0]["rows"] == [] and result["shown"][0]["none"] == "not in the library"


@pytest.mark.slow
def test_it_ends_at_once_too(studio, visitor):
    _, begun, _ = studio.ask("api/jobs", {"do": "listen"}, cookie=visitor)
    studio.ask(f"api/jobs/{begun['job']}", cookie=visitor, method="DELETE")
    assert until(studio, visitor, begun["job"], lambda now: now["state"] != "running")["state"] == "stopped"
    assert studio.ask("api/jobs", {"do": "listen"}, cookie=visitor)[0] == 200  # and another one may begin


@pytest.mark.slow
def test_without_songs_there_is_nothing_to_hear(studio):
    status, told, _ = studio.ask("api/jobs", {"do": "listen"}, cookie=studio.visitor())
    assert status == 400 and "give it a folder of songs first" in told


@pytest.mark.slow
def test_a_block_that_is_no_sound(studio, visitor):
    _, begun, _ = studio.ask("api/jobs", {"do": "listen"}, cookie=visitor)
    post(studio, visitor, begun["job"], b"noise")
    now = until(studio, visitor, begun["job"], lambda now: now["state"] == "failed")
    assert "0.wav" in now["words"] and "/tmp" not in now["words"]


def test_who_has_gone_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(listening, "_GONE", 0.1)
    library = Library(tmp_path / "library.sqlite")
    library.add("a song", fingerprint(notes(0)[None, None], RATE))
    (tmp_path / "0.wav").write_bytes(as_wav(notes(0)[: 12 * RATE]))
    told = []
    found = listening.listen({"folder": str(tmp_path), "library": str(library.place)}, tell=told.append)
    assert [kind for kind, _ in told] == ["so far", "so far"]
    assert [one["name"] for one in found["tracks"]] == ["a song"] and found["tracks"][0]["stop"] is not None
    assert found["facts"] == [["listened", "0:12.0"], ["tracks", "1"]]
