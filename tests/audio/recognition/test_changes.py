"""Clips whose speed, tempo or pitch is changed, of songs of notes with sharp onsets."""

import math
from fractions import Fraction

import pytest
import torch
from torchaudio.functional import phase_vocoder, resample

from tavtorch import Library, fingerprint, recognise
from tavtorch.audio.recognition import Match, Peaks, answers, setlist
from tavtorch.audio.recognition.changes import RANGE, hypotheses
from tavtorch.audio.recognition.constellation import Change

RATE = 8000


def notes(seed, seconds=30):
    """A song of decaying notes at random times, of random pitch."""
    generator = torch.Generator().manual_seed(seed)
    time, wave = torch.arange(RATE) / RATE, torch.zeros((seconds + 1) * RATE)
    for _ in range(6 * seconds):
        start = int(torch.randint(seconds * RATE, (), generator=generator))
        pitch = 110 * 2 ** (float(torch.rand((), generator=generator)) * 4)
        wave[start : start + RATE] += torch.exp(-6 * time) * torch.sin(2 * math.pi * pitch * time)
    return 0.1 * wave[: seconds * RATE]


def faster(wave, factor):
    ratio = Fraction(1 / factor).limit_denominator(150)
    return resample(wave, ratio.denominator, ratio.numerator), float(1 / ratio)


def stretched(wave, factor):
    window = torch.hann_window(1024)
    spectrum = torch.stft(wave, 1024, 128, window=window, return_complex=True)
    steps = torch.linspace(0, math.pi * 128, 513)[:, None]
    return torch.istft(phase_vocoder(spectrum[None], factor, steps)[0], 1024, 128, window=window)


def changed(wave, kind, factor):
    """The wave, and by how much it is changed."""
    if kind == "tempo":
        return stretched(wave, factor), factor
    return faster(wave if kind == "speed" else stretched(wave, 1 / factor), factor)


def eight_songs():
    library = Library("sqlite://")
    for i in range(8):
        library.add(f"song {i}", fingerprint(notes(i)[None, None], RATE))
    return library


@pytest.fixture(scope="module")
def library():
    return eight_songs()


def clip(i, kind, factor, start=6.0, noise=0.0):
    wave, factor = changed(notes(i)[round(start * RATE) :], kind, factor)
    wave = wave[: 10 * RATE]
    added = torch.randn(wave.shape, generator=torch.Generator().manual_seed(i))
    return (wave + noise * wave.std() * added)[None, None], factor


# truth


@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize("factor", [0.81, 0.93, 1.11, 1.24])
@pytest.mark.parametrize("kind", ["speed", "tempo", "pitch"])
def test_a_changed_clip_is_named_and_measured(library, kind, factor, noise):
    wave, factor = clip(3, kind, factor, noise=noise)
    ((match,),) = recognise(wave, RATE, library=library)
    assert match.name == "song 3" and match.accepted
    told = {name: getattr(match, name) for name in ("speed", "tempo", "pitch")}
    assert told == {"speed": 1, "tempo": 1, "pitch": 1, kind: pytest.approx(factor, rel=0.01 if noise else 0.005)}
    assert abs(match.offset - 6.0) < 0.1


@pytest.mark.parametrize("kind", ["speed", "tempo", "pitch"])
@pytest.mark.parametrize(("song", "factor"), [(5, 0.985), (5, 1.01), (2, 0.993)])
def test_a_small_change_is_measured_too(library, song, factor, kind):
    wave, factor = clip(song, kind, factor)
    ((match,),) = recognise(wave, RATE, library=library)
    assert match.name == f"song {song}" and match.accepted
    told = {name: getattr(match, name) for name in ("speed", "tempo", "pitch")}
    assert told == {"speed": 1, "tempo": 1, "pitch": 1, kind: pytest.approx(factor, rel=0.005)}
    assert abs(match.offset - 6.0) < 0.1


def test_an_unchanged_clip_is_called_unchanged(library):
    wave, _ = clip(2, "speed", 1.0, noise=0.5)
    ((match,),) = recognise(wave, RATE, library=library)
    assert match.name == "song 2" and match.speed == match.tempo == match.pitch == 1
    assert match == recognise(wave, RATE, library=library, changed=False)[0][0]


def test_a_clip_that_is_barely_accepted_as_it_is_is_searched_too(library, monkeypatch):
    """It may be of another place, or changed: the better of both is told."""
    wave, _ = clip(2, "speed", 1.11)
    unchanged = library.recognise(fingerprint(wave, RATE), changed=False, threshold=0.0)[0][0]
    assert 0 <= unchanged.score < answers.DOUBTFUL
    (match,) = library.recognise(fingerprint(wave, RATE), threshold=0.0)[0]
    assert match.name == "song 2" and match.speed == pytest.approx(1.11, rel=0.005)

    monkeypatch.setattr(answers, "measured", lambda *_: pytest.fail("a clear answer needs no search"))
    wave, _ = clip(2, "speed", 1.0, noise=0.5)
    assert library.recognise(fingerprint(wave, RATE))[0][0].accepted


def test_an_unknown_song_is_refused_at_all_changes(library):
    for i in range(20, 24):
        wave, _ = clip(i, "speed", 1.1)
        assert not any(match.accepted for match in recognise(wave, RATE, library=library)[0])


def test_it_is_not_tried_when_not_asked_for(library):
    wave, _ = clip(3, "speed", 1.11)
    for options in ({"changed": False}, {"pitches": ()}):
        (matches,) = library.recognise(fingerprint(wave, RATE), **options)
        assert not any(match.accepted for match in matches)
    (matches,) = library.recognise(fingerprint(wave, RATE, verify=False))  # without levels, nothing is measured
    assert not any(match.accepted for match in matches)


def test_the_hypotheses_cover_the_range():
    for each in hypotheses():
        factor = torch.where(each.tempo == 1, each.pitch, each.tempo)
        assert factor[0] == RANGE[0] and float(factor[-1]) == pytest.approx(RANGE[1])
        assert (factor[1:] / factor[:-1] - 1).max() < 0.021


def test_a_change_undone_by_hand():
    peaks = Peaks(*torch.tensor([[[100, 200, -1]], [[110, 220, -1]], [[0, 1, -1]]]))
    undone = Change(torch.tensor([1.2]), torch.tensor([1.1])).undone(peaks)
    assert [x.tolist() for x in undone] == [[[120, 240, -1]], [[100, 200, -1]], [[0, 1, -1]]]


def test_a_match_tells_how_fast_its_song_passes():
    assert Match("a", 0.0, 9, 9.0, True, speed=1.1).rate == 1.1 == Match("a", 0.0, 9, 9.0, True, tempo=1.1).rate
    assert Match("a", 0.0, 9, 9.0, True, pitch=1.1).rate == 1


def test_a_set_of_a_turntable_has_its_songs(library):
    mix = torch.cat([faster(notes(i), factor)[0] for i, factor in ((1, 1.08), (6, 0.9))])[None]
    tracks = setlist(library, lambda start, frames: mix[:, start : start + frames], mix.shape[1], RATE)
    assert [track.name for track in tracks] == ["song 1", "song 6"]
    border = 30 / 1.08
    for track, start, stop in zip(tracks, (0, border), (border, mix.shape[1] / RATE), strict=True):
        assert abs(track.start - start) < 1.5 and abs(track.stop - stop) < 1.5 and abs(track.offset) < 1.5


# batch


def test_alone_is_together(library):
    waves = torch.cat([clip(i, kind, 1.17)[0] for i, kind in ((0, "speed"), (21, "speed"), (4, "tempo"), (7, "pitch"))])
    together = recognise(waves, RATE, library=library)
    for wave, matches in zip(waves, together, strict=True):
        (alone,) = recognise(wave[None], RATE, library=library)
        for a, b in zip(alone, matches, strict=True):
            assert a.name == b.name and a.votes == b.votes and a.score == pytest.approx(b.score, abs=0.01)
            assert a[5:] == pytest.approx(b[5:], abs=1e-4)
