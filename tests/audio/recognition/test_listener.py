"""The tracks of a stream, and how often they are false."""

import math
import tracemalloc

import pytest
import torch
from audio.recognition.test_changes import RATE, eight_songs, faster, notes

from tavtorch import Library, fingerprint
from tavtorch.audio.recognition import Listener, setlist
from tavtorch.audio.recognition.calibration import Calibration, rendered, tail
from tavtorch.audio.recognition.constellation import Peaks


@pytest.fixture(scope="module")
def library():
    return eight_songs()


def day(*parts):
    return torch.cat(parts)[None]


def silence(seconds):
    return torch.zeros(round(seconds * RATE))


def heard(library, wave, sizes=(4000,), **options):
    """What is told of a stream, with the second at which it was told."""
    listener, told, at = Listener(library, **options), [], 0
    while at < wave.shape[1]:
        size = sizes[len(told) % len(sizes)]
        events = listener.feed(wave[:, at : at + size], RATE)
        at += size
        told += [(event, min(at, wave.shape[1]) / RATE) for event in events]
    return told + [(event, wave.shape[1] / RATE) for event in listener.close()]


# truth


def test_tracks_are_told_in_time_with_their_ends_and_the_gaps(library):
    wave = day(silence(12), notes(2), notes(40, 20), notes(5)[5 * RATE :], silence(20))
    told = heard(library, wave)
    assert [event.kind for event, _ in told] == ["gap", "start", "end", "gap", "start", "end", "gap"]
    assert [event.track.name for event, _ in told if event.track] == ["song 2", "song 2", "song 5", "song 5"]
    times = [0, 12, 42, 42, 62, 87, 87]
    for (event, now), time in zip(told, times, strict=True):
        assert abs(event.time - time) < 1.5
        if event.kind == "start":
            assert now - time <= 10
    starts = [event.track for event, _ in told if event.kind == "start"]
    assert abs(starts[0].offset) < 1.5 and abs(starts[1].offset - 5) < 1.5


def test_a_song_whose_speed_changes_is_one_track(library):
    song = notes(1)
    wave = day(faster(song[: 15 * RATE], 1.0)[0], faster(song[15 * RATE :], 1.06)[0], silence(20))
    told = [event for event, _ in heard(library, wave)]
    assert [event.kind for event in told] == ["start", "end", "gap"] and told[0].track.name == "song 1"
    assert abs(told[1].time - (15 + 15 / 1.06)) < 1.5


def test_a_song_that_is_talked_over_is_one_track(library):
    song = notes(3)
    song[12 * RATE : 19 * RATE] = 0.5 * torch.randn(7 * RATE, generator=torch.Generator().manual_seed(0))
    told = [event for event, _ in heard(library, day(song, silence(20)))]
    assert [event.kind for event in told] == ["start", "end", "gap"]


def test_an_unknown_song_is_a_gap(library):
    assert [event.kind for event, _ in heard(library, notes(50)[None])] == ["gap"]


def test_it_hears_what_a_setlist_has(library):
    wave = day(notes(0), notes(6))
    told = [event.track for event, _ in heard(library, wave) if event.kind == "end"]
    tracks = setlist(library, lambda start, frames: wave[:, start : start + frames], wave.shape[1], RATE)
    assert [track.name for track in told] == [track.name for track in tracks] == ["song 0", "song 6"]
    for a, b in zip(told, tracks, strict=True):
        assert abs(a.start - b.start) < 1 and abs(a.stop - b.stop) < 1


# blocks


def test_blocks_of_any_length_tell_the_same(library):
    wave = day(silence(3), notes(4)[: 20 * RATE], silence(14))
    whole, pieces = ([event for event, _ in heard(library, wave, sizes)] for sizes in ((wave.shape[1],), (777, 50000)))
    assert [event[:2] for event in whole] == [event[:2] for event in pieces]
    for a, b in zip(whole, pieces, strict=True):
        assert a.track is None or a.track.score == pytest.approx(b.track.score, abs=0.01)


def test_a_short_stream_is_looked_up_when_it_is_closed(library):
    listener = Listener(library, alarms=1000)
    assert listener.feed(notes(7)[None, : 5 * RATE], RATE) == []
    assert [event.kind for event in listener.close()] == ["start", "end"]
    assert Listener(library).close() == []


def test_hours_of_silence_take_no_memory(library):
    listener, minute = Listener(library), torch.zeros(1, 60 * RATE)
    told = listener.feed(minute, RATE)
    tracemalloc.start()
    for _ in range(120):
        told += listener.feed(minute, RATE)
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert [event.kind for event in told] == ["gap"] and listener.seconds == 121 * 60
    assert grown < 1e5 and listener._rest.numel() < 7 * RATE


# alarms


def test_the_tail_of_an_exponential():
    """-2 ln u has the scale 2; a fifth of 10,000 scores in a day lie above 2 ln 5."""
    scores = -2 * torch.rand(10_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log()
    found = tail(scores, 86400.0, 9)
    assert found.above == pytest.approx(2 * math.log(5), rel=0.05) and found.rate == 2000 and found.songs == 9
    assert found.scale == pytest.approx(2, rel=0.05)
    assert found.threshold(1) == pytest.approx(2 * math.log(10_000), rel=0.05)
    assert found.threshold(10) == pytest.approx(found.threshold(1) - found.scale * math.log(10))
    assert found.threshold(1e9) == found.above


def test_a_song_of_its_peaks_has_these_peaks():
    time, frequency = torch.tensor([20, 40, 70]), torch.tensor([100, 300, 200])
    wave = rendered(Peaks(time, frequency, torch.zeros(3).long()), 93, Library("sqlite://").recipe)
    found = fingerprint(wave[None, None], RATE).peaks
    loudest = found.loudest(1)
    there = loudest.rank[0] == 0
    assert set(loudest.frequency[0][there].tolist()) <= {100, 300, 200}
    assert (loudest.time[0][there] - time).abs().max() <= 2


def test_a_library_is_calibrated_and_remembers_it(tmp_path):
    library = Library(tmp_path / "songs.db")
    for i in range(6):
        library.add(f"song {i}", fingerprint(notes(i)[None, None], RATE))
    assert library.calibration is None
    unknown = [(notes(30, 10)[None], RATE)]
    found = library.calibrate(unknown, seconds=30.0, generator=torch.Generator().manual_seed(0))
    assert found == library.calibration == Library(tmp_path / "songs.db").calibration and found.songs == 6
    assert isinstance(found, Calibration) and Listener(library, alarms=2).threshold == found.threshold(2)
    assert len(library) == 6 and library.recognise(fingerprint(notes(0)[None, None, : 8 * RATE], RATE))[0][0].accepted
    assert [event.track.name for event, _ in heard(library, notes(4)[None]) if event.kind == "end"] == ["song 4"]


# errors


def test_bad_streams_are_named(library):
    block = torch.zeros(1, 100)
    with pytest.raises(ValueError, match="has no songs; add some first"):
        Listener(Library("sqlite://"))
    with pytest.raises(ValueError, match="hop: expected more than 0 and at most window"):
        Listener(library, hop=9.0)
    with pytest.raises(ValueError, match="alarms: expected more than 0"):
        Listener(library, alarms=0)
    with pytest.raises(ValueError, match="block: expected samples"):
        getattr(Listener.feed, "__wrapped__", Listener.feed)(Listener(library), torch.zeros(1, 1, 100), RATE)
    with pytest.raises(ValueError, match="block: some samples are NaN"):
        Listener(library).feed(torch.full((1, 9), torch.nan), RATE)
    with pytest.raises(ValueError, match="float32 or float64"):
        getattr(Listener.feed, "__wrapped__", Listener.feed)(Listener(library), block.short(), RATE)
    with pytest.raises(ValueError, match="sample_rate: expected Hz"):
        Listener(library).feed(block, 0)
    listener = Listener(library)
    listener.feed(block, RATE)
    with pytest.raises(ValueError, match="sample_rate: the stream began at 8000 Hz, got a block at 44100"):
        listener.feed(block, 44100)
    with pytest.raises(ValueError, match="block: the stream began with 1 channels, got 2"):
        listener.feed(block.expand(2, -1), RATE)
    with pytest.raises(ValueError, match="library: expected 4 songs or more"):
        Library("sqlite://").calibrate()
    with pytest.raises(ValueError, match="seconds: expected"):
        library.calibrate(seconds=1.0)
    with pytest.raises(ValueError, match="unknown: expected recordings of at least 6"):
        library.calibrate([(block, RATE)], seconds=7.0)
