"""What happens to music on its way: each step does what its name says, and no more."""

import itertools

import pytest
import torch

from tavtorch.lab.data.transmission import coded, overdriven, phone, room, traffic, transmitted

RATE = 8000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tone(frequency, seconds=2.0):
    return torch.sin(2 * torch.pi * frequency * torch.arange(round(seconds * RATE)) / RATE)


def sent(wave, seed=0, **condition):
    return transmitted(
        wave, RATE, condition, lambda count: count * torch.ones(len(wave)), torch.Generator().manual_seed(seed)
    )


def level(wave):
    """Root mean square in dB."""
    return 10 * wave.square().mean().log10().item()


def test_the_sound_of_a_room_falls_by_60_db_in_its_time():
    click = torch.zeros(RATE)
    click[0] = 1.0
    heard = room(click, RATE, 0.5, generator())
    assert heard[0] == pytest.approx(1.0, abs=0.2)  # the direct sound, as strong as all that follows
    assert heard[1:].square().sum() == pytest.approx(1.0, abs=0.1)
    parts = heard[: RATE // 2].reshape(10, -1)[1:]
    falls = [level(a) - level(b) for a, b in itertools.pairwise(parts)]
    assert sum(falls) / len(falls) == pytest.approx(60 * 0.05 / 0.5, abs=0.5)
    assert torch.equal(room(click, RATE, 0.5, generator()), heard)
    assert not torch.equal(room(click, RATE, 0.5, generator(1)), heard)


def test_a_phone_passes_its_band():
    assert level(phone(tone(1000), RATE, 0.0)) == pytest.approx(level(tone(1000)), abs=0.1)
    assert level(phone(tone(300), RATE, 0.0)) == pytest.approx(level(tone(300)) - 3, abs=0.2)
    for outside in (100, 3900):
        assert level(phone(tone(outside), RATE, 0.0)) < level(tone(outside)) - 3.9
    assert phone(torch.zeros(RATE), RATE).eq(0).all()


def test_gain_control_raises_what_is_soft():
    wave = torch.cat((tone(1000), 0.1 * tone(1000)))
    for gain, difference in ((0.0, 20.0), (1.0, 6.0)):
        loud, soft = phone(wave, RATE, gain).chunk(2)
        assert level(loud) - level(soft) == pytest.approx(difference, abs=1.0)


def test_traffic_falls_by_18_db_a_decade():
    power = torch.fft.rfft(traffic(60 * RATE, RATE, generator())).abs().square()
    bands = [10 * power[60 * low : 60 * high].mean().log10() for low, high in ((80, 120), (800, 1200))]
    assert float(bands[0] - bands[1]) == pytest.approx(18.0, abs=1.5)


def test_overdriven_cuts_off_what_is_too_loud():
    wave = torch.randn(RATE, generator=generator())
    torch.testing.assert_close(overdriven(wave, 12.0).abs().max(), wave.square().mean().sqrt() * 4 * 10**-0.6)
    assert torch.equal(overdriven(tone(440), 0.0), tone(440))
    assert overdriven(torch.zeros(8), 6.0).eq(0).all()


@pytest.mark.parametrize(("codec", "rate"), [("mp3", 24), ("mp3", 8), ("opus", 16), ("opus", 256)])
@pytest.mark.parametrize("loudness", [1e-3, 1.0, 30.0])
def test_codecs_keep_a_tone_its_time_and_its_level(codec, rate, loudness):
    wave = loudness * tone(440) * torch.linspace(0, 1, 2 * RATE)
    heard = coded(wave, RATE, codec, rate)
    assert heard.shape == wave.shape
    shift = torch.fft.irfft(torch.fft.rfft(heard) * torch.fft.rfft(wave).conj()).abs().argmax()
    assert min(shift, len(wave) - shift) < 0.03 * RATE
    assert level(heard) == pytest.approx(level(wave), abs=1.5)


def test_codecs_at_a_low_rate_change_a_sound():
    wave = torch.randn(2 * RATE, generator=generator())
    errors = [level(coded(wave, RATE, "opus", rate) - wave) - level(wave) for rate in (8, 256)]
    assert errors[0] > -10 > errors[1]


def test_steps_are_taken_in_the_order_of_nature():
    wave = tone(440)
    both = sent(wave, white=10.0, before=0.5)
    assert torch.equal(both, sent(wave, before=0.5, white=10.0))
    assert both[: RATE // 2].std() > 0.01  # the noise begins with the recording
    assert level(sent(wave, white=10.0) - wave) == pytest.approx(level(wave) - 10, abs=0.01)
    assert (sent(wave, babble=0.0) - wave).std() < 1e-5  # of five talkers, who are constant here


def test_nothing_happens_without_a_condition_and_to_silence():
    assert torch.equal(sent(tone(440)), tone(440))
    silent = sent(torch.zeros(RATE), room=0.5, babble=0.0, phone=1.0, overdriven=6.0, opus=24)
    assert silent.isfinite().all() and silent.abs().max() < 1e-3


def test_bad_input():
    with pytest.raises(ValueError, match="data.conditions: expected before, room, .*opus, got 'pink'"):
        sent(tone(440), pink=0.0)
    with pytest.raises(ValueError, match="data.conditions: mp3 at 8000 Hz takes 8 to 64 kbit/s, got 320"):
        sent(tone(440), mp3=320)
    with pytest.raises(ValueError, match="data.conditions: room: expected 0.01 to 20 s, got -1"):
        sent(tone(440), room=-1)
