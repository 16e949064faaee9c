"""Generated songs: seeded, of the size asked for, and music enough to train on."""

import pytest
import torch

from tavtorch.audio.sonogram import spectrum
from tavtorch.lab.data.synthetic import STEMS, band


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def songs():
    return band(8, 6.0, generator=seeded())


def test_shape_and_dtype(songs):
    assert songs.shape == (8, len(STEMS), 1, 96000)
    assert songs.dtype == torch.float32


def test_mixture_stays_below_full_scale(songs):
    peak = songs.sum(1).abs().amax((1, 2))
    assert songs.isfinite().all()
    assert (peak < 1).all() and (peak > 0.1).all()


def test_seed_reproduces(songs):
    assert torch.equal(band(2, 2.0, generator=seeded()), band(2, 2.0, generator=seeded()))
    assert not torch.equal(band(2, 2.0, generator=seeded()), band(2, 2.0, generator=seeded(1)))


def test_songs_differ(songs):
    flat = songs.sum(1).flatten(1)
    alike = torch.corrcoef(flat) - torch.eye(len(songs))
    assert alike.abs().max() < 0.5


def test_default_generator():
    torch.manual_seed(3)
    first = band(1, 1.0)
    torch.manual_seed(3)
    assert torch.equal(first, band(1, 1.0))


def test_most_stems_sound(songs):
    power = songs.square().mean((2, 3))
    assert (power > 1e-6).float().mean() > 0.85


def test_singers_rest(songs):
    frames = songs[:, 0, 0].unfold(-1, 800, 800).square().mean(-1)
    sounding = (frames > 1e-3 * frames.amax(1, keepdim=True)).float().mean()
    assert 0.3 < sounding < 0.97


def test_kicks_and_basses_are_low_and_loud():
    """As in recordings, where drums are louder than the voice, and half of them lies where no voice is."""
    songs = band(32, 6.0, generator=seeded())[:, :, 0]
    power = spectrum(songs).abs().square().mean(-1)
    loud = power.sum(-1)
    voice, drums, bass, other = (power[:, :, :7].sum(-1) / loud.clamp(min=1e-9)).mean(0)  # under 100 Hz
    assert bass > 0.3 and drums > 0.25 and voice < 0.1 and other < 0.1
    assert power[:, 2, :20].sum() > 0.6 * power[:, 2].sum()  # under 300 Hz
    assert (loud[:, 1] / loud[:, 0]).median() > 0.5


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_any_rate(rate):
    songs = band(1, 1.0, sample_rate=rate, generator=seeded())
    assert songs.shape == (1, 4, 1, rate)
    assert songs.isfinite().all()


@pytest.mark.parametrize("seconds", [0.01, 0.333, 25.0])
def test_any_length(seconds):
    assert band(1, seconds, generator=seeded()).shape[-1] == round(seconds * 16000)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_the_gpu():
    songs = band(2, 2.0, generator=torch.Generator("cuda").manual_seed(0))
    assert songs.is_cuda and songs.isfinite().all()


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("songs: expected", {"songs": 0}),
        ("seconds: expected", {"seconds": 0.0}),
        ("sample_rate: expected", {"sample_rate": 4000}),
        ("sample_rate: expected", {"sample_rate": 96000}),
    ],
)
def test_refuses(message, options):
    with pytest.raises(ValueError, match=message):
        band(**{"songs": 1, "seconds": 1.0, **options})
