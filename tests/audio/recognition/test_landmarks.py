import inspect
import math

import pytest
import torch
from scipy.ndimage import maximum_filter

from tavtorch import fingerprint, pairs, peaks, sonogram
from tavtorch.audio.recognition import COURSE, Peaks, Recipe, evidence, fingerprint_stream, unpack

bare_fingerprint = inspect.unwrap(fingerprint)  # without the shape checks that only tests have


def music(seconds=5.0, rate=8000, seed=0, channels=1):
    """Notes of random pitch and level, six a second, over a little noise."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(round(seconds * rate)) / rate
    wave = 0.01 * torch.randn(len(t), generator=generator)
    for start, pitch, level in torch.rand(int(6 * seconds), 3, generator=generator).tolist():
        age = t - start * seconds
        note = torch.sin(2 * math.pi * 110 * 2 ** (4 * pitch) * age) * torch.exp(-4 * age.clamp(min=0))
        wave += (0.05 + level / 4) * note * (age > 0)
    return wave.expand(1, channels, -1)


def filled(field):
    return field[field >= 0].tolist()


# truth


def test_two_tones_are_two_peaks(device, dtype):
    t = torch.arange(16000, device=device, dtype=dtype) / 8000
    wave = torch.sin(2 * math.pi * 500 * t) + 0.5 * torch.sin(2 * math.pi * 1500 * t)
    marks = fingerprint((wave * torch.hann_window(16000, dtype=dtype, device=device))[None, None], 8000)
    second = slice(60, 62)  # the loudest two of the second block of 31 frames, which begins where both are loudest
    assert marks.peaks.time[0, second].tolist() == [31, 31]
    assert marks.peaks.frequency[0, second].tolist() == [128, 384]  # 500 and 1500 Hz of 8000 Hz / 2048 bins
    assert marks.hash.device.type == device.type and marks.evidence.dtype == dtype


def test_pairs_by_hand():
    """Four peaks: the first has all others ahead, the nearest first in 10 Δt + |Δf|; equal times make no pair."""
    time, frequency = torch.tensor([[10, 12, 12, 80]]), torch.tensor([[100, 150, 90, 100]])
    found = pairs(Peaks(time, frequency, torch.arange(4)[None]), neighbours=3)
    kept = found.hash >= 0
    f, rise, step = (x[kept].tolist() for x in unpack(found.hash))
    assert list(zip(found.time[kept].tolist(), f, rise, step, strict=True)) == [(10, 100, -10, 2), (10, 100, 50, 2)]


def test_hashes_say_what_they_pack():
    torch.manual_seed(3)
    time, order = torch.randint(0, 300, (1, 200)).sort()
    frequency = torch.randint(0, 1025, (1, 200))
    found = pairs(Peaks(time, frequency, torch.zeros_like(order)), neighbours=5)
    f, rise, step = unpack(found.hash)
    known = set(zip(time[0].tolist(), frequency[0].tolist(), strict=True))
    kept = found.hash >= 0
    ends = zip(*(x[kept].tolist() for x in (found.time, f, rise, step)), strict=True)
    assert all(
        {(t, f), (t + step, f + rise)} <= known and 0 < step <= 63 and abs(rise) <= 255 for t, f, rise, step in ends
    )
    assert found.hash.max() < 2**26 and kept.sum() > 900


def test_evidence_of_chance_is_standard_normal():
    scores = evidence(sonogram(torch.randn(2, 40000), n_fft=512, hop=256))
    assert scores.mean().abs() < 1e-6 and abs(scores.std() - 1) < 0.02
    chosen = scores[:, torch.randint(257, (400, 50)), torch.randint(157, (400, 50))].sum(-1) / 50**0.5
    assert chosen.mean().abs() < 0.15 and abs(chosen.std() - 1) < 0.15


# symmetry


def test_gain_and_a_constant_change_nothing():
    wave = music()
    marks = fingerprint(wave, 8000)
    assert torch.equal(fingerprint(4 * wave, 8000).hash, marks.hash)  # a power of two, so that rounding is the same
    assert torch.equal(
        fingerprint(wave + 0.5, 8000).peaks.loudest(30).time[:, 60:240], marks.peaks.loudest(30).time[:, 60:240]
    )


def test_a_delay_of_whole_seconds_of_frames_moves_the_times():
    wave, recipe = music(6.0), Recipe()
    shift = recipe.block * recipe.hop
    late = fingerprint(torch.nn.functional.pad(wave, (shift, 0)), 8000)
    early = fingerprint(wave, 8000)
    n = recipe.density * 4  # without the last second, whose end is another
    assert torch.equal(late.peaks.frequency[:, recipe.density :][:, :n], early.peaks.frequency[:, :n])
    assert torch.equal(late.peaks.time[:, recipe.density :][:, :n] - recipe.block, early.peaks.time[:, :n])


@pytest.mark.parametrize("rate", [11025, 44100, 44101, 192000])
def test_any_sample_rate_gives_nearly_the_same_landmarks(rate):
    from torchaudio.functional import resample

    wave = music()
    made = resample(wave, 8000, 44100 if rate == 44101 else rate)  # an odd rate would take it minutes, and us no time
    here, there = fingerprint(wave, 8000), fingerprint(made, rate)
    same = set(filled(here.hash)) & set(filled(there.hash))
    assert len(same) > 0.6 * len(set(filled(here.hash)))


def test_channels_are_averaged():
    wave = music()
    stereo = torch.cat((2 * wave, torch.zeros_like(wave)), 1)
    assert torch.equal(fingerprint(stereo, 8000).hash, fingerprint(wave, 8000).hash)


def test_where_channels_cancel_the_loudest_is_taken(device):
    """Item by item; and in a stream, minute by minute."""
    left = music().to(device)
    both = fingerprint(torch.cat((torch.cat((left, -left), 1), left.expand(1, 2, -1))), 8000)
    assert torch.equal(both.hash[0], both.hash[1]) and both.hash[0].max() > 0
    three = torch.cat((0.5 * left, -left, 0.5 * left), 1)
    assert torch.equal(fingerprint(three, 8000).hash[0], both.hash[0])
    wave = torch.cat((left, -left), 1)[0]
    streamed = fingerprint_stream(lambda start, frames: wave[:, start : start + frames], wave.shape[1], 8000)
    assert torch.equal(streamed.hash[0], both.hash[0])


def test_clipping_leaves_most_landmarks():
    wave = music()
    clean, clipped = (set(filled(fingerprint(w, 8000).hash)) for w in (wave, wave.clamp(-0.3, 0.3)))
    assert len(clean & clipped) > 0.3 * len(clean)


# batch


@pytest.mark.parametrize("recipe", [Recipe(), COURSE])
def test_alone_is_together(recipe, device):
    waves = torch.cat([music(seed=i) for i in range(3)] + [torch.zeros(1, 1, 40000)]).to(device)
    together = fingerprint(waves, 8000, recipe)
    for i, wave in enumerate(waves):
        alone = fingerprint(wave[None], 8000, recipe)
        torch.testing.assert_close(alone.evidence[0], together.evidence[i])
        for one, all_ in zip(alone.peaks, together.peaks, strict=True):
            assert torch.equal(one[0], all_[i])
        assert filled(alone.hash) == filled(together.hash[i]) and filled(alone.time) == filled(together.time[i])


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [(rate, s) for rate in (8000, 22050) for s in (0.01, 61.504, 124.0, 250.0)]
    + [(rate, 130.0) for rate in (7999, 12345, 44056, 44101)],
)
def test_a_stream_is_the_whole(rate, seconds):
    wave = torch.randn(2, round(seconds * rate))
    longest = 0

    def read(start, frames):
        nonlocal longest
        longest = max(longest, frames)
        return wave[:, start : start + frames]

    streamed, whole = fingerprint_stream(read, wave.shape[1], rate), fingerprint(wave[None], rate, verify=False)
    assert streamed.frames == whole.frames and longest <= 132 * rate
    assert torch.equal(streamed.hash, whole.hash) and torch.equal(streamed.time, whole.time)
    assert all(torch.equal(a, b) for a, b in zip(streamed.peaks, whole.peaks, strict=True))


# reference


def test_peaks_are_scipys_maxima():
    levels = sonogram(music())
    found = peaks(levels, radius=(7, 3), density=255)
    top = (levels[0, 0].numpy() == maximum_filter(levels[0, 0].numpy(), (15, 7))) & (levels[0, 0].numpy() > -60)
    top[: 513 // 128] = False
    expected = {(int(t), int(f)) for f, t in zip(*top.nonzero(), strict=True)}
    assert set(zip(filled(found.time), filled(found.frequency), strict=True)) == expected


# errors and faults


@pytest.mark.parametrize(
    "wave", [torch.zeros(1, 1, 40000), torch.full((1, 1, 40000), 0.7)], ids=["silence", "constant"]
)
def test_nothing_is_heard_where_nothing_sounds(wave):
    marks = fingerprint(wave, 8000)
    inner = (marks.peaks.time > 8) & (marks.peaks.time < marks.frames - 9)  # a constant has a beginning and an end
    assert not inner.any()


def test_shorter_than_a_window():
    assert fingerprint(torch.randn(1, 1, 1), 8000).frames == 1
    assert fingerprint(torch.randn(1, 1, 100), 44100).evidence.isfinite().all()


@pytest.mark.parametrize(
    ("wave", "rate", "message"),
    [
        (torch.zeros(2, 100), 8000, r"wave: expected a batch \(b, c, t\)"),
        (torch.zeros(1, 1, 0), 8000, "wave: expected a batch"),
        (torch.zeros(0, 1, 10), 8000, "wave: expected a batch"),
        (torch.full((1, 1, 9), torch.nan), 8000, "wave: some samples are NaN"),
        (torch.full((1, 1, 9), torch.inf), 8000, "wave: some samples are NaN or infinite"),
        (torch.zeros(1, 1, 9), 0, "sample_rate"),
        (torch.zeros(1, 1, 9), 44100.0, "sample_rate: expected a whole number of Hz, got 44100.0; call round"),
        (torch.zeros(1, 1, 9), 10**9, "sample_rate: expected less than 8000000 Hz"),
        (
            torch.zeros(1, 1, 9, dtype=torch.int16),
            8000,
            "wave: expected float32 .* got torch.int16; .* divide .* 32768",
        ),
        (torch.zeros(1, 1, 9, dtype=torch.float16), 8000, r"got torch.float16; call wave.float\(\)."),
    ],
)
def test_bad_input_is_named(wave, rate, message):
    with pytest.raises(ValueError, match=message):
        bare_fingerprint(wave, rate)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_fft": 8192}, "n_fft"),
        ({"hop": 2048}, "hop"),
        ({"hop": 0}, "hop"),
        ({"density": 0}, "density"),
        ({"radius": (0, 3)}, "radius"),
    ],
)
def test_a_recipe_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**options)


def test_no_neighbours_and_no_sonogram():
    with pytest.raises(ValueError, match="neighbours: expected 1 or more"):
        pairs(peaks(torch.randn(1, 64, 31)), neighbours=0)
    with pytest.raises(ValueError, match="sonogram: expected levels"):
        peaks(torch.zeros(1, 64, 0))
    with pytest.raises(ValueError, match="length: expected at least one sample"):
        fingerprint_stream(lambda start, frames: torch.zeros(1, frames), 0, 8000)
