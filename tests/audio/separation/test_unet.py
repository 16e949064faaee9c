"""The separation network: its masks share the mixture out, whatever its length, gain, rate and batch."""

import pytest
import torch

from tavtorch.audio.separation.unet import UNet


@pytest.fixture
def model():
    torch.manual_seed(0)
    return UNet(width=8, depth=2).eval()


def noise(*shape, dtype=torch.float32):
    return 0.1 * torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


def test_stems_sum_to_the_mixture(model):
    wave = noise(2, 1, 5000)
    torch.testing.assert_close(model(wave).sum(1), wave, rtol=0, atol=1e-5)


def test_learns_to_tell_a_tone_from_noise():
    torch.manual_seed(0)
    model, time = UNet(("tone", "noise"), width=8, depth=1, n_fft=256, hop=64), torch.arange(8000) / 16000
    tone = torch.sin(2 * torch.pi * torch.linspace(300, 3000, 4)[:, None, None] * time)
    stems = torch.stack((tone, noise(4, 1, 8000)), 1)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        losses.append((model(stems.sum(1)) - stems).square().mean())
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("length", [1, 127, 255, 1024, 7777])
@pytest.mark.parametrize("hop", [64, 128])
def test_any_length(length, hop):
    wave = noise(1, 1, length)
    stems = UNet(width=8, depth=2, n_fft=256, hop=hop).eval()(wave)
    assert stems.shape == (1, 2, 1, length)
    assert stems.abs().max() < 4 * wave.abs().max()


@pytest.mark.parametrize("stems", [("vocals", "accompaniment"), ("vocals", "drums", "bass", "other")])
@pytest.mark.parametrize("channels", [1, 2])
def test_stems_and_channels(stems, channels):
    model = UNet(stems, sample_rate=44100, channels=channels, width=8, depth=1, n_fft=512, hop=128)
    assert model(noise(2, channels, 3000)).shape == (2, len(stems), channels, 3000)
    assert (model.stems, model.sample_rate, model.channels) == (stems, 44100, channels)


def test_gain_goes_through(model):
    wave = noise(1, 1, 4000)
    torch.testing.assert_close(model(8 * wave), 8 * model(wave), rtol=1e-3, atol=1e-4)


def test_silence_stays_silent(model):
    assert model(torch.zeros(1, 1, 4000)).abs().max() == 0


def test_alone_as_together(model):
    waves = noise(3, 1, 6000) * torch.tensor([1.0, 0.01, 5.0])[:, None, None]
    alone = torch.cat([model(wave[None]) for wave in waves])
    torch.testing.assert_close(model(waves), alone, rtol=1e-4, atol=1e-5)


def test_no_buffers(model):
    assert not list(model.buffers())


def test_gradient_reaches_every_weight():
    model = UNet(width=8, depth=2)
    (model(noise(2, 1, 4000))[:, 0]).abs().mean().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    assert all(weight.grad.any() for name, weight in model.named_parameters() if name.endswith("weight"))


def test_gradient_of_the_wave():
    torch.manual_seed(0)
    model = UNet(width=4, depth=1, n_fft=32, hop=8, dropout=0.0).double()
    wave = noise(1, 1, 50, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(model, wave, atol=1e-5, fast_mode=True)


def test_double(model):
    wave = noise(1, 1, 4000, dtype=torch.float64)
    estimate = model.double()(wave)
    assert estimate.dtype == torch.float64
    torch.testing.assert_close(estimate.float(), model.float()(wave.float()), rtol=1e-3, atol=1e-5)


def test_autocast_keeps_the_wave_in_float32(model):
    wave = noise(1, 1, 4000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        estimate = model(wave)
    assert estimate.dtype == torch.float32
    torch.testing.assert_close(estimate.sum(1), wave, rtol=0, atol=1e-5)
    torch.testing.assert_close(estimate, model(wave), rtol=0, atol=1e-2)


def test_dropout_only_while_training(model):
    wave = noise(1, 1, 4000)
    assert torch.equal(model(wave), model(wave))
    model.train()
    assert not torch.equal(model(wave), model(wave))


def test_refuses_other_channels(model):
    with pytest.raises(ValueError, match=r"wave: expected \(b, 1, t\), got \(1, 2, 4000\)"):
        model(torch.zeros(1, 2, 4000))


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("stems", {"stems": ("vocals",)}),
        ("stems", {"stems": "vocals"}),
        ("stems", {"stems": ("vocals", "vocals")}),
        ("channels", {"channels": 0}),
        ("width", {"width": 0}),
        ("depth", {"depth": 0}),
        ("depth", {"depth": 10}),
        ("compression", {"compression": 0.0}),
        ("dropout", {"dropout": 1.0}),
        ("hop", {"hop": 2049}),
    ],
)
def test_refuses_options(argument, options):
    with pytest.raises(ValueError, match=f"^{argument}: expected"):
        UNet(**options)
