import base64
import io

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.figure import Figure
from PIL import Image

from tavtorch.lab.panels import picture, plot, sound_panel, sound_panels


def pixels(url):
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/webp;base64,")))))


def test_a_picture_is_drawn_pixel_by_pixel():
    assert pixels(picture(torch.tensor([[[0.0, 0.5], [1.0, 1.5]]])))[..., 0].tolist() == [[0, 128], [255, 255]]
    assert pixels(picture(torch.rand(3, 4, 5))).shape == (4, 5, 3)


def test_a_plot_stands_on_any_ground():
    figure = Figure(figsize=(2, 2))
    figure.add_subplot(title="words").plot([0, 1])
    drawn = pixels(plot(figure))
    assert drawn.shape[-1] == 4 and drawn[0, 0, 3] == 0  # transparent where nothing is
    inked = drawn[drawn[..., 3] > 250][:, :3].astype(int)
    assert inked.max(1).min() > 90  # nothing is black


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 96000])
def test_a_sound_can_be_played(rate):
    wave = 2.0 * torch.sin(torch.arange(3 * rate) * 2 * torch.pi * 440 / rate)[None]
    panel = sound_panel("tone", wave, rate, 40.0)
    data = base64.b64decode(panel.sound.removeprefix("data:audio/mpeg;base64,"))
    played, played_rate = soundfile.read(io.BytesIO(data))
    assert len(played) / played_rate == pytest.approx(3, abs=0.1)
    assert abs(played).max() < 1.05


def test_a_player_knows_where_its_picture_begins_and_ends():
    left, right = sound_panel("noise", torch.randn(1, 8000), 8000, 30.0).span
    assert 0 < left < 0.2 and 0.8 < right <= 1


def player(panel):
    return soundfile.info(io.BytesIO(base64.b64decode(panel.sound.partition(",")[2])))


@pytest.mark.parametrize(
    ("rate", "played"), [(1, 8000), (8000, 8000), (11000, 11025), (44056, 44100), (44101, 48000), (96000, 48000)]
)
def test_every_rate_has_a_player(rate, played):
    length = 10 if rate == 1 else 4000
    made = player(sound_panel("tone", 0.1 * torch.randn(1, length), rate, 0.0))
    assert made.samplerate == played and abs(made.frames / made.samplerate - length / rate) < 0.2


def test_six_channels_are_played_as_one():
    assert player(sound_panel("tone", 0.1 * torch.randn(6, 8000), 8000, 0.0)).channels == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_samples_that_are_no_numbers_are_silence_and_told(value):
    wave = 0.1 * torch.randn(1, 8000)
    wave[0, 100] = value
    (panel,) = sound_panels({"estimate": wave}, 8000)
    assert panel.caption == "estimate: silence where samples are NaN or infinite"
    assert player(panel).samplerate == 8000
