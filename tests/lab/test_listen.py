"""Streams as they arrive, and what `evaluate.py task=listen` tells of them."""

import csv
import io
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from audio.recognition.test_changes import RATE, notes

from tavtorch import Library, Listener, fingerprint
from tavtorch.audio.recognition import Track
from tavtorch.lab.command import words
from tavtorch.lab.listen import cue_sheet, line_of, listen
from tavtorch.lab.stream import blocks, pipe

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """The file of a library of four songs."""
    place = tmp_path_factory.mktemp("songs") / "library.sqlite"
    library = Library(place)
    for i in range(4):
        library.add(f"song {i}", fingerprint(notes(i)[None, None], RATE))
    return place


def as_wav(wave, subtype="PCM_16", format="WAV", rate=RATE):
    file = io.BytesIO()
    soundfile.write(file, wave.T.numpy(), rate, subtype, format=format)
    return file.getvalue()


def together(stream, **options):
    found = list(pipe(io.BytesIO(stream).read, **{"sample_rate": RATE, "channels": 1} | options))
    return torch.cat([block for block, _ in found], 1), {rate for _, rate in found}


# streams


@pytest.mark.parametrize(("format", "subtype", "error"), [
    ("WAV", "PCM_16", 1e-4), ("WAV", "PCM_24", 1e-6), ("WAV", "PCM_32", 1e-6), ("WAV", "FLOAT", 0),
    ("WAV", "DOUBLE", 0), ("WAVEX", "PCM_16", 1e-4), ("WAVEX", "FLOAT", 0),
])  # fmt: skip
def test_wav_from_a_pipe(format, subtype, error):
    wave = 0.5 * torch.rand(2, 20000) - 0.25
    found, rates = together(as_wav(wave, subtype, format, 11025), sample_rate=1, channels=9)
    assert rates == {11025} and found.shape == wave.shape and (found - wave).abs().max() <= error


def test_a_wav_of_unknown_length_as_ffmpeg_writes_it():
    wave = torch.zeros(1, 9000)
    data = bytearray(as_wav(wave))
    data[4:8] = data[40:44] = b"\xff" * 4
    assert together(bytes(data))[0].shape == wave.shape


def test_raw_samples_from_a_pipe():
    samples = struct.pack("<6h", 0, 16384, -32768, 8192, 1, 2)
    found, rates = together(samples, channels=2)
    assert rates == {RATE} and found.tolist()[0][:2] == [0, -1] and found.tolist()[1][:2] == [0.5, 0.25]


def test_a_stream_that_stops_in_the_middle_of_a_sample(caplog):
    assert together(b"\0" * (2 * RATE + 3))[0].shape == (1, RATE + 1)
    assert "ends in the middle of a sample" in caplog.text
    assert together(as_wav(torch.zeros(2, 100))[:-3], channels=2)[0].shape == (2, 99)


@pytest.mark.parametrize(("stream", "message"), [
    (as_wav(torch.zeros(1, 10))[:30], "the WAV stream ended before its samples"),
    (b"RIFF\0\0\0\0WAVEdata\x10\0\0\0" + b"\0" * 16, "does not say its format"),
    (as_wav(torch.zeros(1, 10), "ULAW"), "expected WAV of 16, 24 or 32 bits or floats, got format 7 of 8 bits"),
])  # fmt: skip
def test_a_wav_that_cannot_be_read_is_named(stream, message):
    with pytest.raises(ValueError, match=message):
        together(stream)


def test_a_file_in_pieces(tmp_path):
    wave = 0.5 * torch.rand(2, 20500) - 0.25
    (tmp_path / "a.wav").write_bytes(as_wav(wave, "FLOAT"))
    found = list(blocks(tmp_path / "a.wav"))
    assert [block.shape[1] for block, _ in found] == [8000, 8000, 4500]
    assert torch.equal(torch.cat([block for block, _ in found], 1), wave)
    with pytest.raises(ValueError, match="expected sample_rate and channels of 1 or more"):
        blocks("-", channels=0)


def test_without_a_microphone_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ValueError, match=r"pip install 'tavtorch\[listen\]'"):
        next(blocks("microphone"))


# what is told and written


def stream_of(*parts):
    return [(block, RATE) for block in torch.cat(parts)[None].split(RATE, 1)]


def test_lines_and_lists(songs, tmp_path):
    told = []
    stream = stream_of(notes(2), torch.zeros(20 * RATE), notes(1))
    tracks = listen(Listener(Library(songs)), stream, tmp_path, 'a "day".wav', told.append)
    said = [line_of(heard) for heard in told]
    assert [track.name for track in tracks] == ["song 2", "song 1"]
    assert said[0].endswith("song 2 from 0:00.0 on") and "nothing that the library knows" in said[2] and len(said) == 5
    with (tmp_path / "tracks.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["song 2", "song 1"] and abs(float(rows[1]["start"]) - 50) < 1
    assert (tmp_path / "tracks.cue").read_text().startswith("FILE \"a 'day'.wav\" WAVE\n  TRACK 01 AUDIO\n")


def test_a_cue_sheet_by_hand():
    tracks = [Track("a", 0.0, 9.0, 0.0, 9.0), Track('b "live"', 3661.52, 4000.0, 0.0, 9.0)]
    assert cue_sheet(tracks, "x.wav").splitlines()[1:] == [
        "  TRACK 01 AUDIO", '    TITLE "a"', "    INDEX 01 00:00:00",
        "  TRACK 02 AUDIO", "    TITLE \"b 'live'\"", "    INDEX 01 61:01:39",
    ]  # fmt: skip


def test_a_stream_that_fails_leaves_what_was_heard(songs, tmp_path):
    def broken():
        yield from stream_of(notes(3))
        yield torch.zeros(1, 9), 44100

    with pytest.raises(ValueError, match="the stream began at 8000 Hz"):
        listen(Listener(Library(songs)), broken(), tmp_path, "x")
    assert "song 3" in (tmp_path / "tracks.csv").read_text()


# the script


def test_its_words():
    assert words("evaluate", ["task=listen", "files=a.wav"]) == ["--config-name=listen", "data.root='a.wav'"]
    with pytest.raises(ValueError, match="files: expected one recording to listen to"):
        words("evaluate", ["task=listen", "files=[a.wav,b.wav]"])


def script(songs, out, *more):
    command = [sys.executable, "evaluate.py", "task=listen", f"library.url={songs}", f"hydra.run.dir={out}", *more]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=TOP, text=False
    )


def test_it_listens_to_a_pipe(songs, tmp_path):
    wave = torch.cat((notes(1), torch.zeros(15 * RATE)))[None]
    said, _ = script(songs, tmp_path).communicate(as_wav(wave), timeout=200)
    assert b"song 1 from 0:00." in said and b"1 tracks in 0:45.0" in said, said.decode()
    assert "song 1" in (tmp_path / "tracks.csv").read_text()


def test_ctrl_c_ends_it_in_order(songs, tmp_path):
    process = script(songs, tmp_path, f"data.sample_rate={RATE}")
    process.stdin.write((notes(2) * 32767).short().numpy().tobytes())
    process.stdin.flush()
    said = process.stdout.readline()
    assert b"song 2 from 0:00." in said
    process.send_signal(signal.SIGINT)
    process.wait(timeout=100)
    assert process.returncode == 130 and "song 2" in (tmp_path / "tracks.csv").read_text()
    process.stdin.close()
    process.stdout.close()


def test_a_library_that_is_not_there(tmp_path):
    said, _ = script(tmp_path / "no.sqlite", tmp_path / "out").communicate(b"", timeout=200)
    assert b"error: url: there is no library" in said and not (tmp_path / "no.sqlite").exists()
