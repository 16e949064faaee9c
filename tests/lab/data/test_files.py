import subprocess
import sys

import numpy as np
import pytest
import soundfile
import tifffile
import torch
from PIL import Image, ImageOps

from tavtorch.lab.data.files import (
    Picture,
    audio_info,
    picture_size,
    read_audio,
    read_picture,
    whole,
    write_audio,
    write_picture,
)


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


def test_a_name_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("a" * 251 + ".wav")
    write_audio(path, torch.zeros(1, 10), 8000)
    assert audio_info(path) == (8000, 1, 10)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are Unix's")
@pytest.mark.parametrize("name", ["song.wav", "song.flac", "a.jpg", "a.tif"])
def test_a_full_disk(tmp_path, name):
    """A limit on the size of files, 100 kB here, fails a write in its middle as a full disk does."""
    script = f"""
import resource, signal, torch
from tavtorch.lab.data.files import Picture, write_audio, write_picture
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    if {name!r}[0] == "s":
        write_audio({str(tmp_path / name)!r}, 0.1 * torch.randn(1, 10**6), 16000)
    else:
        write_picture({str(tmp_path / name)!r}, Picture(torch.rand(3, 500, 500)))
except OSError as error:
    print("told:", error)
"""
    # -B: under the limit Python would cut the bytecode short that it keeps of what it imports, for all that follow.
    ran = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, check=True)
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


# pictures


def drawing(mode="RGB", size=(40, 30)):
    """A picture as Pillow has it, smooth so that JPEG does not hurt it."""
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack((x, y, 255 - x), -1).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("suffix", "levels", "step"),
    [(".png", 255, 1 / 510), (".tif", 255, 1 / 510), (".png", 65535, 1e-5), (".TIFF", 65535, 1e-5), (".tif", None, 0)],
)
def test_a_picture_there_and_back(tmp_path, channels, suffix, levels, step):
    image = torch.rand(channels, 6, 5)
    write_picture(tmp_path / f"a{suffix}", Picture(image, None, levels))
    read = read_picture(tmp_path / f"a{suffix}")
    assert read.levels == levels and read.alpha is None
    assert (read.image - image).abs().max() <= step * 1.01


def test_transparency_is_kept(tmp_path):
    picture = Picture(torch.rand(3, 6, 5), torch.rand(1, 6, 5), 65535)
    write_picture(tmp_path / "a.png", picture)
    read = read_picture(tmp_path / "a.png")
    assert (read.alpha - picture.alpha).abs().max() < 1e-5 and (read.image - picture.image).abs().max() < 1e-5


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_what_8_bits_cannot_hold_is_cut_off(tmp_path, suffix):
    write_picture(tmp_path / f"a{suffix}", Picture(torch.full((1, 16, 16), 1.5)))
    assert read_picture(tmp_path / f"a{suffix}").image.eq(1).all()


@pytest.mark.parametrize(
    ("mode", "channels", "suffix", "close"),
    [("L", 1, ".png", 0), ("1", 1, ".png", 0), ("LA", 3, ".png", 0), ("P", 3, ".png", 0), ("CMYK", 3, ".jpg", 0.1)],
)
def test_pictures_of_every_kind(tmp_path, mode, channels, suffix, close):
    drawing(mode).save(tmp_path / f"a{suffix}")
    expected = np.array(Image.open(tmp_path / f"a{suffix}").convert("L" if channels == 1 else "RGB")) / 255
    read = read_picture(tmp_path / f"a{suffix}").image
    assert read.shape == (channels, 30, 40)
    assert np.abs(read.movedim(0, -1).numpy().squeeze() - expected).max() <= close + 1e-6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_the_right_way_up(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    drawing().save(tmp_path / "a.png", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))) / 255
    np.testing.assert_allclose(read_picture(tmp_path / "a.png").image.movedim(0, -1).numpy(), expected, atol=1e-6)


def test_sizes_from_the_header(tmp_path):
    for name, size in {"a": (40, 30), "b": (40, 30), "c": (30, 40)}.items():
        drawing(size=size).save(tmp_path / f"{name}.png")
    a, b, c = (picture_size(tmp_path / f"{name}.png") for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_picture_that_is_cut_short(tmp_path, suffix):
    drawing(size=(300, 200)).save(tmp_path / f"a{suffix}")
    data = (tmp_path / f"a{suffix}").read_bytes()
    (tmp_path / f"a{suffix}").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="not a picture that can be read"):
        read_picture(tmp_path / f"a{suffix}")


def test_no_picture(tmp_path):
    (tmp_path / "a.png").write_text("la la la")
    with pytest.raises(ValueError, match="a.png: not a picture that can be read"):
        read_picture(tmp_path / "a.png")
    with pytest.raises(ValueError, match="b.png: no such file"):
        read_picture(tmp_path / "b.png")


def test_a_picture_that_holds_nan(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((2, 2), np.nan, np.float32))
    with pytest.raises(ValueError, match="NaN or infinite"):
        read_picture(tmp_path / "a.tif")
