import math
from importlib import import_module

import pytest
import torch
from scipy.ndimage import median_filter
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio as si_sdr

from tavtorch import hpss, separate_hpss, solve
from tavtorch.audio.separation import hpss_masks, separate_voice
from tavtorch.audio.separation.median import running_median
from tavtorch.lab.data.files import read_audio

hpss_module = import_module("tavtorch.audio.separation.hpss")  # its room gives the function of that name


def noise(*shape, dtype=torch.float32, device="cpu"):
    return torch.randn(shape, dtype=dtype, device=device)


# truth


def test_a_tone_is_harmonic_and_a_click_percussive(device, dtype):
    spectrum = torch.zeros(1, 1, 64, 80, dtype=dtype, device=device)
    spectrum[..., 20, :] = 1
    spectrum[..., 50] = 1
    harmonic, percussive = hpss(spectrum, kernel=17)
    assert harmonic[..., 20, :].sum() == 79.5 and percussive[..., 50].sum() == 63.5  # they share the crossing
    assert harmonic.sum() == 79.5 and percussive.sum() == 63.5


def test_a_wide_margin_leaves_the_undecided_over():
    spectrum = torch.ones(1, 1, 30, 30)
    harmonic, percussive = hpss(spectrum, power=math.inf, margin=2.0)
    assert not harmonic.any() and not percussive.any()


@pytest.mark.parametrize("size", [1, 3, 5, 7, 9, 11, 17, 31, 45])
@pytest.mark.parametrize("dim", [-1, -2])
def test_the_median_is_that_of_every_window(size, dim, dtype, device):
    x = noise(2, 3, 12, 70, dtype=dtype, device=device)
    axes = (1, 1, 1, size) if dim == -1 else (1, 1, size, 1)
    expected = torch.from_numpy(median_filter(x.cpu().numpy(), axes, mode="reflect")).to(device)
    assert torch.equal(running_median(x, size, dim=dim), expected)


def test_the_median_does_not_depend_on_the_pieces(monkeypatch):
    x = noise(3, 40, 300)
    whole = [running_median(x, 9, dim=dim) for dim in (-1, -2)]
    monkeypatch.setattr("tavtorch.audio.separation.median.PIECE", {"cpu": 700})
    assert all(torch.equal(running_median(x, 9, dim=dim), one) for dim, one in zip((-1, -2), whole, strict=True))


def test_compiled_is_the_same(monkeypatch):
    x = noise(2, 20, 100)
    eager = running_median(x, 3, dim=-2)
    monkeypatch.setattr(solve, "COMPILE_AFTER", 0)
    assert torch.equal(running_median(x, 3, dim=-2), eager)


# symmetry


def test_time_for_frequency_is_harmonic_for_percussive():
    x = noise(1, 1, 40, 40)
    one, other = hpss(x, kernel=(7, 11)), hpss(x.mT, kernel=(11, 7))
    torch.testing.assert_close(one.harmonic, other.percussive.mT)


def test_scale_and_reversal_pass_through():
    x = torch.complex(noise(1, 1, 30, 40), noise(1, 1, 30, 40))
    for one, other in zip(hpss(1e-20 * x.flip(-1)), hpss(x), strict=True):
        torch.testing.assert_close(one, 1e-20 * other.flip(-1), atol=0, rtol=1e-4)


def test_two_numbers_may_come_as_a_list():
    wave = noise(1, 1, 4000)
    assert torch.equal(separate_hpss(wave, 8000, margin=[2.0, 1.0]), separate_hpss(wave, 8000, margin=(2.0, 1.0)))
    assert separate_hpss(wave, 8000, margin=[1, 1]).shape[1] == 2
    with pytest.raises(ValueError, match="margin: expected a number or two"):
        separate_hpss(wave, 8000, margin=(1.0, 2.0, 3.0))


def test_with_margins_of_one_nothing_is_left_over():
    x = torch.complex(noise(2, 1, 30, 40), noise(2, 1, 30, 40))
    x[..., :20] = 0
    torch.testing.assert_close(sum(hpss(x)), x)


# batch


@pytest.mark.parametrize("at_once", [0, 2**22])
def test_alone_is_together_and_nothing_is_edited(at_once, monkeypatch):
    monkeypatch.setattr(hpss_module, "AT_ONCE", at_once)
    x = torch.complex(noise(3, 2, 33, 45), noise(3, 2, 33, 45))
    before = x.clone()
    together = hpss(x, kernel=(9, 5), margin=(1.0, 2.0))
    alone = hpss(x[1], kernel=(9, 5), margin=(1.0, 2.0))
    assert all(torch.equal(part[1], one) for part, one in zip(together, alone, strict=True))
    assert torch.equal(x, before)


# gradient


@pytest.mark.parametrize("margin", [1.0, (1.5, 2.0)])
def test_gradient(margin):
    x = torch.randn(1, 5, 6, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: tuple(hpss(x, kernel=(3, 5), margin=margin)), x)


@pytest.mark.parametrize("power", [0.3, 0.5, 1.0, 2.0])
def test_the_gradient_is_finite_where_it_is_silent(power):
    x = noise(1, 12, 20, dtype=torch.float64).abs()
    x[:, :, 5:16] = 0  # silence, and at its borders bins of which one median is 0
    x.requires_grad_()
    hpss_masks(x, kernel=(5, 3), power=power).harmonic.square().sum().backward()
    assert x.grad.isfinite().all() and x.grad.any()


def test_the_gradient_of_ties_is_shared():
    x = torch.ones(1, 3, requires_grad=True)
    running_median(x, 3, dim=-1)[0, 1].backward()
    torch.testing.assert_close(x.grad, torch.full((1, 3), 1 / 3))


# reference


@pytest.mark.parametrize("kernel", [17, (31, 9), (5, 201)])
@pytest.mark.parametrize("power", [1.0, 2.0, math.inf])
@pytest.mark.parametrize("margin", [1.0, (1.5, 3.0)])
def test_masks_are_librosas(kernel, power, margin):
    decompose = pytest.importorskip("librosa").decompose
    x = noise(2, 60, 90).abs()
    x[..., :20] = 0
    x[:, 40:50] = 0
    expected = decompose.hpss(x.numpy(), kernel_size=kernel, power=power, margin=margin, mask=True)
    for one, other in zip(hpss_masks(x, kernel=kernel, power=power, margin=margin), expected, strict=True):
        torch.testing.assert_close(one, torch.from_numpy(other).to(one), atol=1e-5, rtol=0)


# songs


def test_stems_add_up_and_are_the_tone_and_the_clicks():
    t = torch.arange(32000) / 16000
    tone, clicks = 0.3 * torch.sin(2 * torch.pi * 440 * t), torch.zeros(32000)
    clicks[4000::8000] = 1
    wave = (tone + clicks)[None, None]
    harmonic, percussive = separate_hpss(wave, 16000)[0, :, 0]
    torch.testing.assert_close(harmonic + percussive, wave[0, 0], atol=1e-5, rtol=0)
    inner = slice(4000, -4000)
    assert (harmonic - tone)[inner].norm() < 0.2 * tone[inner].norm()
    assert (percussive - clicks)[inner].norm() < 0.5 * clicks[inner].norm()
    assert separate_hpss(wave, 16000, margin=2.0).shape == (1, 3, 1, 32000)
    torch.testing.assert_close(separate_hpss(wave, 16000, margin=2.0).sum(1), wave)


def test_a_long_song_in_pieces_is_the_whole(monkeypatch):
    wave = noise(1, 2, 60001, dtype=torch.float64)
    whole = separate_hpss(wave, 8000)
    monkeypatch.setattr(hpss_module, "PIECE", 37)
    torch.testing.assert_close(separate_hpss(wave, 8000), whole)


def test_a_voice_is_told_from_held_notes_and_clicks(dtype):
    t = torch.arange(64000, dtype=dtype) / 16000
    voice = 0.3 * sum(torch.sin(2 * torch.pi * k * (300 * t + 4 * torch.sin(11 * t))) / k for k in range(1, 6))
    rest = 0.3 * torch.sin(2 * torch.pi * 523 * t)
    rest[2000::8000] += 1
    wave = torch.stack((voice + rest, rest, 0 * t))[:, None]
    stems = separate_voice(wave, 16000)
    torch.testing.assert_close(stems.sum(1), wave)
    vocals = stems[0, 0, 0]
    assert (vocals - voice)[8000:-8000].norm() < 0.6 * voice[8000:-8000].norm() < 0.8 * rest[8000:-8000].norm()
    assert stems[1, 0, 0, 8000:-8000].norm() < 0.3 * rest[8000:-8000].norm() and not stems[2].any()
    torch.testing.assert_close(separate_voice(wave[:1], 16000)[0], stems[0])


def test_the_voice_of_real_songs(real_stems):
    gains = []
    for name in ("mir_ani_1", "mir_ani_3"):
        paths = (real_stems / name / f"{stem}.ogg" for stem in ("vocals", "accompaniment"))
        (voice, rate), (rest, _) = (read_audio(path, frames=160000) for path in paths)
        found = separate_voice((voice + rest)[None], rate)[0, 0]
        gains.append((si_sdr(found, voice) - si_sdr(voice + rest, voice)).mean())
    assert sum(gains) / len(gains) > 2


# errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": 16}, "kernel: expected odd lengths"),
        ({"kernel": (17, 0)}, "kernel: .* along frequency"),
        ({"power": 0.0}, "power: expected a number > 0"),
        ({"margin": 0.5}, "margin: expected numbers >= 1"),
        ({"margin": (1.0, math.nan)}, "margin"),
    ],
)
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        hpss(torch.ones(1, 1, 20, 20), **options)


@pytest.mark.parametrize(
    ("spectrum", "message"),
    [
        (torch.ones(0, 1, 20, 20), "spectrum: expected .* leave out empty batches"),
        (torch.ones(20), "spectrum: expected \\(\\.\\.\\., f, t\\)"),
        (torch.ones(20, 20, dtype=torch.long), "spectrum: expected .* and call .float\\(\\)"),
        (torch.full((1, 1, 20, 20), torch.nan), "spectrum: some values are NaN"),
    ],
)
def test_spectra(spectrum, message):
    with pytest.raises(ValueError, match=message):
        hpss(spectrum)


def test_songs():
    with pytest.raises(ValueError, match="wave: expected a batch"):
        separate_hpss(torch.zeros(1, 1, 0), 16000)
    with pytest.raises(ValueError, match="sample_rate"):
        separate_hpss(torch.zeros(1, 1, 100), 0)
    with pytest.raises(ValueError, match="window"):
        separate_hpss(torch.zeros(1, 1, 100), 16000, window=0.0)
    with pytest.raises(ValueError, match="wave: some samples are NaN"):
        separate_voice(torch.full((1, 1, 100), torch.nan), 16000)
    with pytest.raises(ValueError, match="size: expected an odd"):
        running_median(torch.ones(3, 3), 4, dim=-1)
