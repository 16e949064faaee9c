import subprocess
import sys

import pytest
import soundfile
import torch

from tavtorch.data.files import audio_info, read_audio, whole, write_audio


@pytest.fixture
def song(tmp_path):
    """A second of stereo in a file of the suffix asked for."""

    def make(suffix=".wav", wave=None):
        wave = 0.1 * torch.randn(2, 16000) if wave is None else wave
        write_audio(tmp_path / f"song{suffix}", wave, 16000)
        return tmp_path / f"song{suffix}"

    return make


# truth


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_there_and_back(song, suffix):
    wave = 0.1 * torch.sin(torch.arange(32000) / 10).reshape(2, 16000)
    read, rate = read_audio(song(suffix, wave))
    assert rate == 16000
    assert read.shape == wave.shape
    assert (read - wave).abs().max() < (1e-4 if suffix in (".wav", ".flac") else 2e-2)


def test_wav_is_not_clipped(song):
    loud = 3 * torch.randn(1, 1000)
    assert torch.equal(read_audio(song(wave=loud))[0], loud)


def test_excerpt(song):
    path = song()
    assert torch.equal(read_audio(path, 300, 50)[0], read_audio(path)[0][:, 300:350])


def test_info(song):
    assert audio_info(song()) == (16000, 2, 16000)


def test_a_long_vorbis_file_is_written_in_blocks(song):
    """libsndfile's encoder can crash on one write of some minutes."""
    assert audio_info(song(".ogg", 0.1 * torch.randn(1, 16000 * 300)))[2] == 16000 * 300


# whole or not at all


def fails_in_the_middle(path):
    def write():
        with whole(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()


def test_nothing_is_left_of_a_write_that_failed(tmp_path):
    fails_in_the_middle(tmp_path / "page")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path):
    (tmp_path / "page").write_text("old")
    fails_in_the_middle(tmp_path / "page")
    assert (tmp_path / "page").read_text() == "old"


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    for text in ("old", "new"):
        with whole(tmp_path / "song") as part:
            part.mkdir()
            (part / text).touch()
    assert [path.name for path in (tmp_path / "song").iterdir()] == ["new"]


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are Unix's")
def test_a_full_disk(tmp_path):
    """A limit on the size of files, 100 kB here, fails a write in its middle as a full disk does."""
    script = f"""
import resource, signal, torch
from tavtorch.data.files import write_audio
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_audio({str(tmp_path / "song.wav")!r}, torch.zeros(1, 10**6), 16000)
except OSError as error:
    print("told:", error)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "told:" in ran.stdout
    assert list(tmp_path.iterdir()) == []


# errors


def damaged(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3"])
def test_a_file_cut_short(song, suffix):
    with pytest.raises(ValueError, match="song.*cut short"):
        read_audio(damaged(song(suffix)))


def test_a_text_file_named_wav(tmp_path):
    (tmp_path / "song.wav").write_text("la la la " * 1000)
    with pytest.raises(ValueError, match="song.wav: not a recording"):
        read_audio(tmp_path / "song.wav")


def test_no_such_file(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_audio(tmp_path / "song.wav")


def test_samples_that_are_no_numbers(tmp_path):
    soundfile.write(tmp_path / "song.wav", torch.tensor([0.0, torch.nan]).numpy(), 16000, "FLOAT")
    with pytest.raises(ValueError, match="NaN or infinite"):
        read_audio(tmp_path / "song.wav")


def test_no_samples(tmp_path):
    soundfile.write(tmp_path / "song.wav", torch.zeros(0).numpy(), 16000)
    with pytest.raises(ValueError, match="no samples"):
        read_audio(tmp_path / "song.wav")


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_audio(tmp_path / "file" / "song.wav", torch.zeros(1, 10), 16000)
