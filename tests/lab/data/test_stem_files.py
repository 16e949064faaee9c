"""Songs from disk to disk in blocks: what is read and written in blocks is what is read and written as a whole."""

import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from tavtorch.lab.data import stem_files
from tavtorch.lab.data.files import AudioBlocks, AudioWriter, SoundAbout, read_audio, sound_about, write_audio
from tavtorch.lab.data.sound_results import planned_form
from tavtorch.lab.data.stem_files import Stems, write_stem_files

RATE = 44100


def song(channels=2, seconds=4.0, level=0.1):
    return level * torch.randn(channels, round(seconds * RATE))


# in


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".aiff"])
@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_are_the_whole(tmp_path, suffix, channels):
    write_audio(tmp_path / f"song{suffix}", song(channels), RATE)
    whole, rate = read_audio(tmp_path / f"song{suffix}")
    blocks = AudioBlocks(tmp_path / f"song{suffix}")
    assert (blocks.sample_rate, blocks.channels) == (rate, channels)
    assert abs(blocks.frames - whole.shape[1]) <= (0 if blocks.counted else 0.01 * whole.shape[1])
    for _ in range(2):  # it can be gone through again
        parts = list(blocks)
        assert torch.equal(torch.cat(parts, -1)[0], whole) and 1 < len(parts) < 8


def test_what_is_wrong_further_on_is_told_there(tmp_path):
    write_audio(tmp_path / "song.flac", song(), RATE)
    content = (tmp_path / "song.flac").read_bytes()
    (tmp_path / "song.flac").write_bytes(content[: len(content) * 3 // 4])
    blocks = iter(AudioBlocks(tmp_path / "song.flac"))
    next(blocks)
    with pytest.raises(ValueError, match="song.flac: the recording is cut short: .* of 176400 frames could be read"):
        list(blocks)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), RATE, "FLOAT")
    with pytest.raises(ValueError, match="nan.wav: some samples are NaN or infinite"):
        list(AudioBlocks(tmp_path / "nan.wav"))


def test_what_is_no_recording_is_told_at_once(tmp_path):
    (tmp_path / "text.wav").write_text("la la la")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    for name, message in (("text.wav", "not a recording"), ("none.wav", "holds no samples"), ("no", "no such file")):
        with pytest.raises(ValueError, match=f"{name}: .*{message}"):
            AudioBlocks(tmp_path / name)


# out


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_blocks_make_the_file_of_the_whole(tmp_path, suffix):
    wave, about = song(), {"title": "a song"}
    write_audio(tmp_path / f"whole{suffix}", wave, RATE, tags=about)
    with AudioWriter(tmp_path / f"blocks{suffix}", 2, RATE, tags=about) as file:
        for block in wave.split(
            65536, -1
        ):  # as libsndfile is given a whole: its coders look ahead by what they are given
            file.write(block)
    read, decoded = (read_audio(tmp_path / f"{name}{suffix}")[0] for name in ("whole", "blocks"))
    assert torch.equal(read, decoded) and sound_about(tmp_path / f"blocks{suffix}").tags["title"] == "a song"


def test_other_channels_than_the_first_block(tmp_path):
    with (
        pytest.raises(ValueError, match=r"expected finite floating-point samples \(2, t\)"),
        AudioWriter(tmp_path / "a.wav", 2, RATE) as file,
    ):
        file.write(torch.zeros(1, 9))


def written(path, stems, *, source=(".wav", "WAV", "PCM_16"), size=10000, names=("a", "b"), began=None, **asked):
    """Stems `(s, c, t)` in blocks."""
    form = planned_form(path, stems.shape[1], RATE, SoundAbout(*source, {}), **asked)

    def blocks():
        if began is not None:
            began.append(0)
        for block in stems.split(size, -1):
            if began is not None:
                began[-1] += block.shape[-1]
            yield block

    write_stem_files(path, blocks, Stems(names, names, RATE, stems.shape[1], stems.shape[2]), form)
    return {file.name: read_audio(file)[0] for file in sorted(path.iterdir())}


def test_blocks_are_rounded_as_the_whole_is(tmp_path):
    stems = torch.stack((song(), song()))
    whole, blocks = (written(tmp_path / str(size), stems, size=size) for size in (10**6, 777))
    assert whole.keys() == blocks.keys() == {"a.wav", "b.wav"}
    assert all(torch.equal(whole[name], blocks[name]) for name in whole)


def test_stems_beyond_full_scale_are_begun_anew_in_float(tmp_path, caplog):
    """Only what came before the first block beyond it is looked at again."""
    stems, began = torch.stack((song(), song())), []
    stems[1, 0, 25000] = 1.5
    with caplog.at_level("INFO", "tavtorch"):
        files = written(tmp_path / "song", stems, began=began, source=(".flac", "FLAC", "PCM_16"))
    assert files.keys() == {"a.wav", "b.wav"} and torch.equal(torch.stack([*files.values()]), stems)
    assert began == [30000, stems.shape[-1]] and caplog.text.count("the peak is 1.5, beyond the range of PCM_16") == 1


def test_what_is_clipped_where_that_was_asked_for_is_told_once(tmp_path, caplog):
    stems, began = torch.stack((song(), song())), []
    stems[0, 0, 25000] = -2.0
    files = written(tmp_path / "song", stems, began=began, subtype="PCM_16")
    assert files["a.wav"].min() == -1 and len(began) == 1
    assert caplog.text.count("the peak is 2 and is clipped to 1 in PCM_16") == 1


def test_a_disk_without_room_is_told_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(stem_files.shutil, "disk_usage", lambda place: SimpleNamespace(free=10**6))
    began = []
    with pytest.raises(ValueError, match=r"song: 2 stems in PCM_16 need 0.00141 GB, and 0.001 GB are free; make room"):
        written(tmp_path / "song", torch.stack((song(), song())), began=began)
    assert began in ([], [0]) and not list(tmp_path.iterdir())
    assert written(tmp_path / "song", torch.stack((song(), song())), suffix=".flac").keys() == {"a.flac", "b.flac"}


def test_an_estimate_of_the_length_refuses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(stem_files.shutil, "disk_usage", lambda place: SimpleNamespace(free=0))
    monkeypatch.setattr("tavtorch.lab.data.sound_writer._RIFF_BYTES", 300)
    form = planned_form(tmp_path / "song", 1, RATE)
    for frames, kind in ((40, "RF64"), (20, "WAV")):  # 160 bytes may be twice as many
        guess = Stems(("a",), ("a",), RATE, 1, frames, counted=False)
        write_stem_files(tmp_path / "song", lambda: [torch.zeros(1, 1, 60)], guess, form)
        assert sound_about(tmp_path / "song/a.wav").format == kind


def test_a_fault_in_the_middle_leaves_nothing(tmp_path):
    def blocks():
        yield torch.zeros(2, 1, 9)
        raise ValueError("song.flac: the recording is cut short")

    form = planned_form(tmp_path / "song", 1, RATE)
    with pytest.raises(ValueError, match="cut short"):
        write_stem_files(tmp_path / "song", blocks, Stems(("a", "b"), ("a", "b"), RATE, 1, 99), form)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not shutil.which("true") or os.name != "posix", reason="signals are Unix's")
def test_a_killed_run_leaves_no_half_file(tmp_path):
    script = f"""
import torch, time
from pathlib import Path
from tavtorch.lab.data.sound_results import Form
from tavtorch.lab.data.stem_files import Stems, write_stem_files
def blocks():
    while True:
        yield torch.zeros(2, 1, 100000)
        print("a block", flush=True)
        time.sleep(0.01)
write_stem_files(Path({str(tmp_path / "song")!r}), blocks, Stems("ab", "ab", 8000, 1, 9), Form(".wav", "FLOAT", {{}}))
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    for _ in range(3):
        assert process.stdout.readline() == "a block\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.name for path in tmp_path.iterdir()] == [f".{process.pid}.song"]


def test_without_a_terminal_a_line_tells_the_time_left(tmp_path, caplog, monkeypatch):
    now = iter(range(0, 10000, 20))
    monkeypatch.setattr(stem_files, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with caplog.at_level("INFO", "tavtorch"):
        written(tmp_path / "song", torch.stack((song(), song())), size=RATE)
    assert "song: 0:00:02 of 0:00:04, 0:00:40 left" in caplog.text


# the bytes of a file


def test_bytes_in_a_window_are_those_of_the_file(tmp_path, monkeypatch):
    from tavtorch.lab.data import sound_parts

    monkeypatch.setattr(sound_parts, "_WINDOW", 16)
    content = bytes(range(1, 101)) + b"MARK" + bytes(50)
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file:
        held = sound_parts.Bytes(file, len(content))
        for start, stop in ((0, 4), (90, 110), (3, 3), (150, 999), (95, None), (0, 40), (999, 1000)):
            assert held[start:stop] == content[start:stop]
        assert len(held) == len(content) and [held[i] for i in (0, 153, 7)] == [1, 0, 8]
        assert [held.find(b"MARK", i) for i in (0, 97, 100, 101)] == [100, 100, 100, -1]
        assert len(held.held) <= 40


def test_a_long_mp3_is_never_in_memory_as_a_whole(tmp_path, monkeypatch):
    from tavtorch.lab.data import sound_parts

    write_audio(tmp_path / "song.mp3", song(1, 20.0), RATE)
    whole, _ = read_audio(tmp_path / "song.mp3")
    sound_parts._parts.cache_clear()
    monkeypatch.setattr(sound_parts, "_WINDOW", 1000)
    monkeypatch.setattr(type(tmp_path), "read_bytes", None)
    assert torch.equal(torch.cat(list(AudioBlocks(tmp_path / "song.mp3")), -1)[0], whole)
