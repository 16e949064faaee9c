"""A stream is separated while it plays: in time, in bounded memory, and nearly as well as the whole."""

import math

import pytest
import torch

from tavtorch import Separator, UNet, separate
from tavtorch.lab.data.synthetic import band


class Halves(UNet):
    """Stands in for a network whose answer is known: each of two stems is half of what it hears."""

    def __init__(self):
        super().__init__(width=8)
        self.heard = []

    def forward(self, wave):
        self.heard.append(wave.shape)
        return torch.stack((wave / 2, wave / 2), 1)


def tone(rate, seconds=3.0, channels=1):
    t = torch.arange(round(rate * seconds)) / rate
    return torch.stack([torch.sin(2 * math.pi * 440 * (1 + c) * t) for c in range(channels)])[None]


def held(separator):
    """Samples that a separator keeps between two blocks."""
    segments = separator._segments
    return sum(block.untyped_storage().nbytes() // 4 for block in (*segments._waiting, segments._tail))


def played(separator, wave, rate, size):
    """All stems, and the longest time in samples that they came after their sample."""
    given, parts, late = 0, [], 0
    for i, block in enumerate(wave.split(size, -1)):
        parts.append(separator(block, rate))
        given += parts[-1].shape[-1]
        late = max(late, min((i + 1) * size, wave.shape[-1]) - given)
    return torch.cat((*parts, separator.flush()), -1), late


# truth


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 44101])
@pytest.mark.parametrize("size", [64, 4096, 10**6])
def test_the_stems_follow_the_stream(rate, size):
    wave = tone(rate, 2.5, channels=2)
    stems, late = played(Separator(Halves()), wave, rate, size)
    assert stems.shape == (1, 2, *wave.shape[1:]) and late <= 0.75 * rate
    torch.testing.assert_close(stems.sum(1), wave)
    inner = slice(rate // 20, -rate // 20)  # a resampler sees the ends of a recording as steps
    torch.testing.assert_close(stems[:, 0, :, inner], wave[..., inner] / 2, atol=2e-3, rtol=0)


@pytest.mark.parametrize("delay", [0.2, 0.5, 1.0])
def test_the_delay_is_kept(delay):
    assert 0.5 * delay * 16000 < played(Separator(Halves(), delay=delay), tone(16000), 16000, 100)[1] <= delay * 16000


def test_the_size_of_blocks_changes_nothing():
    torch.manual_seed(1)
    net, wave = UNet(width=8).requires_grad_(False), 0.1 * torch.randn(1, 1, 40000)
    small, large = (played(Separator(net), wave, 16000, size)[0] for size in (160, 9999))
    assert torch.equal(small, large)


def test_it_hears_nearly_what_the_whole_tells():
    song = band(1, 10.0, generator=torch.Generator().manual_seed(5)).sum(1)
    whole = separate(song, 16000)
    live, _ = played(Separator(), song, 16000, 1600)
    assert (live - whole)[:, 0].norm() < 0.5 * whole[:, 0].norm()


def test_memory_does_not_grow():
    net = Halves()
    separator, sizes = Separator(net, past=1.0), []
    for _ in range(600):
        separator(torch.randn(1, 1, 1600), 16000)
        sizes.append(held(separator) if len(sizes) > 20 else 0)
    assert max(shape[-1] for shape in net.heard) <= 1.75 * 16000
    assert max(sizes) < 3 * 16000


# symmetry and state


def test_a_block_may_be_used_again_by_its_owner():
    wave, block = 0.1 * torch.randn(1, 1, 32000), torch.empty(1, 1, 1000)
    separator, parts = Separator(Halves()), []
    for part in wave.split(1000, -1):
        parts.append(separator(block.copy_(part), 16000))
    torch.testing.assert_close(torch.cat((*parts, separator.flush()), -1)[:, 0], wave / 2)


def test_after_its_end_another_stream_begins():
    separator = Separator(Halves())
    for rate, channels in ((16000, 1), (8000, 2)):
        wave = tone(rate, 1.0, channels)
        assert played(separator, wave, rate, 500)[0].shape == (1, 2, channels, rate)


def test_nothing_at_all_for_a_while():
    separator = Separator(Halves())
    assert separator(torch.zeros(1, 1, 0), 16000).shape == (1, 2, 1, 0) == separator.flush().shape


# errors


@pytest.mark.parametrize(
    ("wave", "rate", "message"),
    [
        (torch.zeros(1, 1, 9), 8000, r"the stream changes its rate from 16000 to 8000; call flush\(\) to end it"),
        (torch.zeros(1, 2, 9), 16000, r"the stream changes its songs and channels from \(1, 1\) to \(1, 2\)"),
        (torch.zeros(1, 1, 9, dtype=torch.float64), 16000, "the stream changes its type from torch.float32"),
        (torch.full((1, 1, 9), torch.nan), 16000, "wave: some samples are NaN"),
        (torch.zeros(1, 1, 9, dtype=torch.int16), 16000, "wave: expected float32 or float64"),
    ],
)
def test_a_stream_that_changes_is_told_and_goes_on(wave, rate, message):
    separator, first = Separator(Halves()), 0.1 * torch.randn(1, 1, 6000)
    separator(first, 16000)
    with pytest.raises(ValueError, match=message):
        getattr(Separator.__call__, "__wrapped__", Separator.__call__)(separator, wave, rate)
    torch.testing.assert_close(separator.flush()[:, 0], first / 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"delay": 0.0}, "delay: expected seconds, 0.1 or more"), ({"past": -1.0}, "past: expected seconds, 0 or more")],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        Separator(Halves(), **options)


def test_a_delay_that_a_rate_does_not_allow():
    with pytest.raises(ValueError, match="delay: expected 0.2.* s or more at 8003 Hz, got 0.1"):
        Separator(Halves(), delay=0.1)(torch.zeros(1, 1, 9), 8003)


def test_no_stream_has_no_end():
    with pytest.raises(ValueError, match="flush: no stream has begun"):
        Separator(Halves()).flush()
