import math
from importlib import import_module

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tavtorch import UNet, separate, separate_blocks, separate_hpss


class Halves(UNet):
    """Stands in for a network whose answer is known: each of two stems is half of what it hears."""

    def __init__(self, channels=1):
        super().__init__(width=8, channels=channels)
        self.heard = []

    def forward(self, wave):
        assert not self.training
        self.heard.append(wave.shape)
        return torch.stack((wave / 2, wave / 2), 1)


class LongStorages(TorchDispatchMode):
    """Counts the storages of at least some bytes that operations return."""

    def __init__(self, size):
        super().__init__()
        self.size, self.found = size, set()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        result = op(*args, **(kwargs or {}))
        storages = [leaf.untyped_storage() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.found |= {storage.data_ptr() for storage in storages if storage.nbytes() >= self.size}
        return result


def tone(rate, seconds=3.0, channels=1):
    t = torch.arange(round(rate * seconds)) / rate
    return torch.stack([torch.sin(2 * math.pi * 440 * (1 + c) * t) for c in range(channels)])[None]


# truth


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_any_rate_and_channels(rate, channels):
    wave = tone(rate, channels=channels)
    stems = separate(wave, rate, Halves(), segment=1.0, overlap=0.1, sum_to_mixture=False)
    assert stems.shape == (1, 2, *wave.shape[1:])
    inner = slice(rate // 20, -rate // 20)  # a resampler sees the ends of a recording as steps
    torch.testing.assert_close(stems[:, 0, :, inner], wave[..., inner] / 2, atol=2e-3, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_stereo_network(channels):
    wave = tone(16000, channels=channels)
    net = Halves(channels=2)
    stems = separate(wave, 16000, net, segment=1.0, overlap=0.1)
    assert {shape[1] for shape in net.heard} == {2}
    expected = wave / 2 if channels == 2 else wave.mean(1, keepdim=True).expand_as(wave) / 2
    torch.testing.assert_close(stems[:, 0], expected)


@pytest.mark.parametrize("length", [1, 2, 100, 1599, 1600, 1601, 15999, 16000, 16001, 40000])
def test_any_length(length):
    wave = torch.randn(1, 1, length)
    stems = separate(wave, 16000, Halves(), segment=1.0, overlap=0.1)
    torch.testing.assert_close(stems, wave[:, None].expand(-1, 2, -1, -1) / 2)


def test_stems_sum_to_the_mixture_when_asked():
    """Noise at 48 kHz has frequencies that a network at 16 kHz cannot give: they go to the last stem."""
    wave = torch.randn(2, 2, 48000)
    torch.testing.assert_close(separate(wave, 48000, Halves()).sum(1), wave)
    left_out = separate(wave, 48000, Halves(), sum_to_mixture=False).sum(1) - wave
    assert left_out.std() > 0.7


def test_memory_is_that_of_a_segment():
    net = Halves()
    separate(torch.randn(1, 1, 16000 * 30), 16000, net, segment=2.0, overlap=0.5)
    assert max(shape[-1] for shape in net.heard) <= 2.0 * 16000 + 1
    assert len(net.heard) == 20


def test_beside_a_song_only_its_stems_are_as_long(monkeypatch):
    monkeypatch.setattr(import_module("tavtorch.audio.separation.hpss"), "PIECE", 64)
    song = torch.randn(1, 2, 8000 * 40)
    options = {"model": Halves(), "segment": 3.0, "overlap": 0.5}
    for op, extra in ((separate, options), (separate_hpss, {}), (separate_hpss, {"margin": 2.0})):
        with LongStorages(song.nbytes) as long:
            op(song, 8000, **extra)
        assert len(long.found - {song.data_ptr()}) == 1


def test_a_real_network_across_segments():
    """Cross-faded segments give nearly what the whole gives at once."""
    torch.manual_seed(1)
    net, wave = UNet(width=8), tone(16000, 6.0) * 0.3 + 0.05 * torch.randn(1, 1, 96000)
    at_once = separate(wave, 16000, net, segment=10.0)
    in_parts = separate(wave, 16000, net, segment=3.0)
    assert (at_once - in_parts).norm() < 0.2 * at_once.norm()


@pytest.mark.parametrize("rate", [16000, 22050])
@pytest.mark.parametrize("size", [777, 16000, 10**6])
def test_blocks_give_the_whole_to_the_bit(rate, size):
    torch.manual_seed(1)
    net, wave = UNet(width=8), tone(rate, 4.0, channels=2) + 0.1 * torch.randn(1, 2, 4 * rate)
    options = {"segment": 1.5, "overlap": 0.25}
    with torch.no_grad():
        whole = separate(wave, rate, net, **options)
        parts = list(separate_blocks(wave.split(size, -1), rate, net, **options))
    assert len(parts) >= 3 and torch.equal(torch.cat(parts, -1), whole)


def test_of_an_hour_in_blocks_a_segment_is_held_at_a_time():
    net, wave = Halves(), torch.randn(1, 1, 16000 * 50)
    with LongStorages(2 * wave.nbytes) as long, torch.no_grad():
        heard = sum(part.shape[-1] for part in separate_blocks((wave for _ in range(72)), 16000, net, segment=40.0))
    assert heard == 72 * wave.shape[-1] and max(shape[-1] for shape in net.heard) <= 40 * 16000 and not long.found


def test_no_blocks_have_no_stems():
    assert list(separate_blocks([], 16000, Halves())) == []


def test_the_network_of_the_package_serves_where_none_is_given():
    wave = tone(16000, 1.0)
    assert torch.equal(separate(wave, 16000), separate(wave, 16000, UNet.pretrained()))


# symmetry and state


@torch.inference_mode()
def test_half_precision_is_that_of_the_network_alone():
    wave = tone(44100, 3.0, channels=2) + 0.1 * torch.randn(1, 2, 132300, generator=torch.Generator().manual_seed(0))
    stems = separate(wave, 44100)
    with torch.autocast("cpu", torch.bfloat16):
        half = separate(wave, 44100)
    assert half.dtype == torch.float32
    assert 0 < (stems - half).norm() < 0.01 * wave.norm()


def test_the_network_keeps_its_mode():
    for mode in (True, False):
        net = UNet(width=8).train(mode)
        separate(torch.randn(1, 1, 2000), 16000, net)
        assert net.training is mode


def test_alone_is_together():
    net, wave = UNet(width=8), torch.randn(2, 2, 9000)
    torch.testing.assert_close(separate(wave, 16000, net)[1:], separate(wave[1:], 16000, net), atol=1e-5, rtol=1e-4)


# gradient


def test_gradient_reaches_the_song():
    wave = torch.randn(1, 1, 30000, requires_grad=True)
    separate(wave, 16000, Halves(), segment=1.0, overlap=0.25)[:, 0].sum().backward()
    torch.testing.assert_close(wave.grad, torch.full_like(wave, 0.5))


# errors


@pytest.mark.parametrize(
    ("blocks", "rate", "options", "message"),
    [
        ([(1, 1, 9), (1, 2, 9)], 16000, {}, r"blocks: expected \[1, 1\] songs and channels in all, got \[1, 2\]"),
        ([(1, 1, 9)], 0, {}, "sample_rate"),
        ([(1, 1, 9)], 16000, {"overlap": 6.0}, "overlap"),
        ([(1, 9)], 16000, {}, r"wave: expected a batch \(b, c, t\)"),
    ],
)
def test_bad_blocks_are_named(blocks, rate, options, message):
    plain = getattr(separate_blocks, "__wrapped__", separate_blocks)
    with pytest.raises(ValueError, match=message):
        list(plain((torch.zeros(shape) for shape in blocks), rate, Halves(), **options))


@pytest.mark.parametrize(
    ("wave", "rate", "options", "message"),
    [
        (torch.zeros(2, 100), 16000, {}, r"wave: expected a batch \(b, c, t\)"),
        (torch.zeros(1, 1, 0), 16000, {}, "wave: expected a batch"),
        (torch.full((1, 1, 9), torch.nan), 16000, {}, "wave: some samples are NaN"),
        (torch.zeros(1, 1, 9), 0, {}, "sample_rate"),
        (torch.zeros(1, 1, 9), 16000, {"overlap": 6.0}, "overlap"),
        (torch.zeros(1, 1, 9), 16000, {"overlap": 0.0}, "overlap"),
    ],
)
def test_bad_input_is_named(wave, rate, options, message):
    separate_ = getattr(separate, "__wrapped__", separate)  # without the shape checks that only the tests have
    with pytest.raises(ValueError, match=message):
        separate_(wave, rate, Halves(), **options)
