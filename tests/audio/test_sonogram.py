import math

import pytest
import torch
from scipy.signal import stft

from tavtorch import sonogram, spectrum, waveform

# truth


def test_a_sine_is_one_line_of_the_promised_level(device, dtype):
    t = torch.arange(16000, device=device, dtype=dtype) / 16000
    levels = sonogram(torch.sin(2 * torch.pi * 1000 * t)[None, None])[0, 0, :, 4:-4]
    assert (levels.argmax(0) == 64).all()  # 1000 Hz of 16000 Hz / 1024 bins
    torch.testing.assert_close(levels.max(), torch.tensor(20 * math.log10(256), device=device, dtype=dtype))


def test_silence_is_at_the_floor():
    assert (sonogram(torch.zeros(1, 1, 4000), floor=-80.0) == -80).all()


@pytest.mark.parametrize("length", [1, 3, 255, 256, 1000, 16001])
@pytest.mark.parametrize("n_fft", [256, 1024])
def test_there_and_back(length, n_fft, dtype, device):
    wave = torch.randn(2, 3, length, dtype=dtype, device=device)
    there = spectrum(wave, n_fft=n_fft, hop=n_fft // 4)
    assert there.shape == (2, 3, n_fft // 2 + 1, 1 + length // (n_fft // 4))
    torch.testing.assert_close(waveform(there, length, hop=n_fft // 4), wave)


# symmetry


def test_spectrum_is_linear():
    a, b = torch.randn(2, 1, 1, 5000, dtype=torch.float64)
    torch.testing.assert_close(spectrum(2 * a + b), 2 * spectrum(a) + spectrum(b))


# batch


def test_alone_is_together():
    wave = torch.randn(3, 2, 5000)
    torch.testing.assert_close(spectrum(wave)[1], spectrum(wave[1]))
    torch.testing.assert_close(waveform(spectrum(wave), 5000)[1], wave[1])


# gradient


def test_gradient():
    wave = torch.randn(1, 1, 40, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: torch.view_as_real(spectrum(x, n_fft=16, hop=4)), wave)
    assert torch.autograd.gradcheck(lambda x: waveform(spectrum(x, n_fft=16, hop=4).abs() + 0j, 40, hop=4), wave)


# reference


def test_spectrum_is_scipys():
    wave = torch.randn(5120, dtype=torch.float64)
    # scipy divides by the sum of the window, 512, and pads the last frame
    expected = 512 * stft(wave.numpy(), window="hann", nperseg=1024, noverlap=768, boundary="zeros", padded=False)[2]
    torch.testing.assert_close(spectrum(wave), torch.from_numpy(expected))


# errors


def test_no_samples():
    with pytest.raises(ValueError, match="wave: expected at least one sample"):
        spectrum(torch.zeros(1, 1, 0))


def test_a_hop_that_cannot_go_back():
    with pytest.raises(ValueError, match="hop"):
        spectrum(torch.zeros(1, 1, 100), n_fft=64, hop=33)
