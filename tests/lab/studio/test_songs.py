"""Songs on the page: separated by the network that comes with the package, drawn at any length."""

import pytest
import torch

from tavtorch import UNet, separate
from tavtorch.lab.data.files import read_audio, write_audio
from tavtorch.lab.studio import views, worker


@pytest.mark.slow
def test_a_song_is_separated_without_a_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_audio(tmp_path / "song.wav", 0.1 * torch.randn(2, 40 * 8000), 8000)
    request = {"do": "run", "task": "separate", "file": str(tmp_path / "song.wav"), "folder": str(tmp_path / "view")}
    kind, result = worker._answered(request | {"settings": {"task.inference.segment": 6.0}})
    assert kind == "done", result
    assert result["downloads"] == ["results/accompaniment.wav", "results/vocals.wav"]
    assert result["command"] == "python evaluate.py task=separate files=song.wav +task.inference.segment=6.0"
    assert "model = tavtorch.UNet.pretrained()" in result["python"]
    wave, rate = read_audio(tmp_path / "song.wav")
    with torch.no_grad():
        vocals = separate(wave[None], rate, UNet.pretrained(), segment=6.0)[0, 0]
    torch.testing.assert_close(read_audio(tmp_path / "view/results/song/vocals.wav")[0], vocals)


@pytest.mark.parametrize("seconds", [0.1, 20.0, 200.0])
def test_a_recording_of_any_length_is_drawn(seconds):
    wave = 1e-3 * torch.randn(2, round(seconds * 44100))
    wave[:, wave.shape[1] // 2] = 1.0
    levels = views._levels(wave)
    assert levels.shape[0] == 160 and levels.shape[1] <= 1200
    assert 0.45 < levels.mean(0).argmax() / levels.shape[1] < 0.55
