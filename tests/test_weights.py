"""Files of weights: written whole, read only if they are what was written, of the network that is asked for."""

import json
import os
import struct
import subprocess
import sys

import pytest
import torch

from tavtorch import RidgeModel, UNet
from tavtorch.audio.separation.unet import WEIGHTS
from tavtorch.weights import OtherSettingsError


@pytest.fixture
def small():
    return UNet(("voice", "rest"), width=4, depth=1, n_fft=64, hop=16)


@pytest.fixture
def path(tmp_path, small):
    small.save(tmp_path / "own.safetensors")
    return tmp_path / "own.safetensors"


def test_what_is_written_is_read(path, small):
    back, wave = UNet.pretrained(path, width=4, stems=("voice", "rest")), torch.randn(1, 1, 500)
    assert not back.training and back.stems == ("voice", "rest") and back.settings == small.settings
    assert torch.equal(back(wave), small.eval()(wave))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_separator_of_the_package_is_small_and_trained():
    model = UNet.pretrained()
    assert WEIGHTS.stat().st_size <= 6e6 and model.stems == ("vocals", "accompaniment")
    t = torch.arange(5 * 16000) / 16000
    chord = sum(torch.sin(2 * torch.pi * f * t) for f in (110.0, 165.0, 220.0))[None, None] / 9
    vocals, rest = model(chord)[0]
    assert vocals.norm() < 0.3 * rest.norm()  # what does not tremble is no voice


def test_of_other_settings(path):
    with pytest.raises(OtherSettingsError, match="is of a model with .*, not with {'width': 8}; train one with these"):
        UNet.pretrained(path, width=8, depth=1)


def header(content, **changes):
    """The file with parts of its header changed."""
    (size,) = struct.unpack("<Q", content[:8])
    text = json.dumps({**json.loads(content[8 : 8 + size]), **changes}).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


DAMAGED = {
    "nothing": lambda whole: b"",
    "text": lambda whole: b"no weights at all",
    "half": lambda whole: whole[: len(whole) // 2],
    "a huge header": lambda whole: struct.pack("<Q", 2**60) + whole[8:],
    "no settings": lambda whole: header(whole, __metadata__={}),
    "settings that are none": lambda whole: header(whole, __metadata__={"settings": "[1]"}),
    "settings of another shape": lambda whole: header(whole, __metadata__={"settings": '{"width": 8}'}),
    "unknown settings": lambda whole: header(whole, __metadata__={"settings": '{"wide": 8}'}),
    "settings that no network has": lambda whole: header(whole, __metadata__={"settings": '{"width": 0}'}),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_no_file_of_weights_is_told(path, kind):
    path.write_bytes(DAMAGED[kind](path.read_bytes()))
    with pytest.raises(ValueError, match="^path: .*own.safetensors (is no whole file of|holds no) weights"):
        UNet.pretrained(path)


def test_weights_that_are_no_numbers(path, small):
    with torch.no_grad():
        small.head.weight[0] = torch.nan
    small.save(path)
    with pytest.raises(ValueError, match="holds weights that are NaN or infinite"):
        UNet.pretrained(path)


def test_of_another_network(path):
    with pytest.raises(ValueError, match="holds no weights of a RidgeModel; write them with its `save`"):
        RidgeModel.pretrained(path)


def test_where_there_is_none(tmp_path):
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(ValueError, match="does not exist; give a file that `save` of a model wrote"):
            UNet.pretrained(place)


def test_a_place_that_may_not_be_written(path, small, monkeypatch):
    before = path.read_bytes()

    def refuse(part, content):
        part.touch()
        raise OSError(30, "Read-only file system", str(part))

    monkeypatch.setattr(type(path), "write_bytes", refuse)
    with pytest.raises(ValueError, match="own.safetensors cannot be written .Read-only file system.; choose another"):
        small.save(path)
    assert path.read_bytes() == before and [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_folder_of_that_name_stays(tmp_path, small):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/mine").touch()
    with pytest.raises(ValueError, match="models cannot be written .Is a directory.; choose another"):
        small.save(tmp_path / "models")
    assert (tmp_path / "models/mine").exists()


def test_no_folder_for_caches_is_needed():
    """Nothing is downloaded, unpacked or compiled, so that a read-only home is as good as any."""
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TMPDIR", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR"), "/proc/none")
    script = "import torch, tavtorch; print(tavtorch.separate(torch.randn(1, 1, 16000), 16000).shape[1])"
    ran = subprocess.run([sys.executable, "-c", script], env=os.environ | nowhere, capture_output=True, text=True)
    assert ran.stdout == "2\n", ran.stderr
