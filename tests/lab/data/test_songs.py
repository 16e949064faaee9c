import math
import re
from itertools import chain

import pytest
import torch

from tavtorch.lab.data.files import write_audio
from tavtorch.lab.data.formulas import stem_formula
from tavtorch.lab.data.song_folders import difference, log_doubts, recorded_songs, split_songs
from tavtorch.lab.data.songs import Form, SongInMemory, UnfitSong, all_with_stems, to_memory, with_stems


@pytest.fixture
def song(tmp_path):
    """Writes a song of a second from its parts; returns the folder and the parts."""

    def make(name, *parts, rate=8000, seconds=1.0, suffix=".wav"):
        waves = {part: 0.1 * torch.randn(2, round(rate * seconds)) for part in parts}
        for part, wave in waves.items():
            write_audio(tmp_path / name / f"{part}{suffix}", wave, rate)
        return waves

    return make


# truth


@pytest.mark.parametrize(
    ("stem", "parts", "sum_"),
    [
        ("vocals", "vocals mixture", {"vocals": 1}),
        ("accompaniment", "vocals drums bass", {"drums": 1, "bass": 1}),
        ("accompaniment", "vocals accompaniment drums", {"accompaniment": 1}),
        ("accompaniment", "mixture vocals", {"mixture": 1, "vocals": -1}),
        ("vocals", "mixture accompaniment", {"mixture": 1, "accompaniment": -1}),
        ("other", "mixture vocals drums bass", {"mixture": 1, "vocals": -1, "drums": -1, "bass": -1}),
        ("mixture", "vocals accompaniment", {"accompaniment": 1, "vocals": 1}),
        ("mixture", "drums bass", {"drums": 1, "bass": 1}),
        ("mixture", "vocals", {"vocals": 1}),
        ("bass", "vocals drums", {}),
        ("vocals", "drums bass", {}),
        ("accompaniment", "mixture vocals drums", {"mixture": 1, "vocals": -1}),
        ("accompaniment", "mixture vocals drums bass other", {"drums": 1, "bass": 1, "other": 1}),
        ("vocals", "mixture drums bass other", {"mixture": 1, "drums": -1, "bass": -1, "other": -1}),
        ("other", "accompaniment drums bass", {"accompaniment": 1, "drums": -1, "bass": -1}),
        ("mixture", "vocals accompaniment drums", {"accompaniment": 1, "vocals": 1}),
        ("rest", "mixture drums", {"mixture": 1, "drums": -1}),
        ("rest", "mixture vocals drums bass other", {"vocals": 1, "bass": 1, "other": 1}),
        ("note_1", "mixture note_1", {"note_1": 1}),
    ],
)
def test_recipes(stem, parts, sum_):
    assert stem_formula(stem, parts.split()) == sum_


@pytest.mark.parametrize(
    ("stem", "parts", "remedy"),
    [
        ("drums", "vocals accompaniment", "Add drums, or bass and other"),
        ("vocals", "mixture", "Add vocals, or accompaniment, or drums and bass and other"),
        ("vocals", "mixture drums", "Add vocals, or accompaniment, or bass and other"),
        ("other", "mixture drums", "Add other, or vocals and bass, or bass and accompaniment"),
        ("bass", "mixture drums vocals", "Add bass, or other"),
        ("rest", "mixture", "Add drums"),
        ("mixture", "note_1", "mixture is no stem of this song. It has note_1"),
        ("voice", "vocals", "voice is no stem of this song. It has accompaniment, bass"),
    ],
)
def test_what_cannot_be_had(stem, parts, remedy):
    with pytest.raises(ValueError, match=remedy):
        stem_formula(stem, parts.split())


@pytest.mark.parametrize("stem", ["vocals", "drums", "bass", "other", "accompaniment", "mixture", "rest"])
def test_a_formula_is_the_stem_whatever_the_parts_are(stem):
    """Every set of parts, with voices that are random numbers."""
    voices = dict(zip(("vocals", "drums", "bass", "other"), (3.0, 50.0, 700.0, 11000.0), strict=True))
    for number in range(1, 2**6):
        names = [*voices, "accompaniment", "mixture"]
        parts = [name for k, name in enumerate(names) if number >> k & 1]
        heard = voices if {"mixture"} & set(parts) else {name: voices[name] for name in voices if name in parts}
        if "accompaniment" in parts:
            heard = {name: voices[name] for name in voices if name != "vocals" or name in heard}
        value = heard | {"mixture": sum(heard.values()), "rest": sum(heard.values()) - heard.get("drums", 0)}
        value |= {"accompaniment": sum(heard.values()) - heard.get("vocals", 0)}
        try:
            formula = stem_formula(stem, parts)
        except ValueError:
            continue
        assert sum(sign * value[part] for part, sign in formula.items()) == value.get(stem, 0), (stem, parts)


def test_reading_a_recorded_song(song, tmp_path):
    waves = song("one", "vocals", "drums", "bass")
    (one,) = recorded_songs(tmp_path)
    assert (one.name, one.seconds) == ("one", 1.0)
    read = one.read("accompaniment", 0.25, 0.5, 8000, 2)
    torch.testing.assert_close(read, (waves["drums"] + waves["bass"])[:, 2000:6000])


def test_mono_is_the_mean_and_silence_follows_the_end(song, tmp_path):
    waves = song("one", "vocals")
    read = recorded_songs(tmp_path)[0].read("vocals", 0.5, 1.0, 8000, 1)
    torch.testing.assert_close(read[:, :4000], waves["vocals"][:, 4000:].mean(0, keepdim=True))
    assert read.shape == (1, 8000)
    assert read[:, 4000:].abs().max() == 0


def test_files_of_other_names_are_other(song, tmp_path, caplog):
    waves = song("one", "vocals", "drums", "other", "guitar", "click")
    (one,) = recorded_songs(tmp_path)
    other = waves["other"] + waves["guitar"] + waves["click"]
    torch.testing.assert_close(one.read("other", 0.0, 1.0, 8000, 2), other)
    torch.testing.assert_close(one.read("accompaniment", 0.0, 1.0, 8000, 2), other + waves["drums"])
    held = to_memory(one, Form(sample_rate=8000, channels=2))
    torch.testing.assert_close(held.read("accompaniment", 0.0, 1.0, 8000, 2), other + waves["drums"])
    with caplog.at_level("INFO", "tavtorch"):
        log_doubts([one])
    assert "counted as other in one (click.wav, guitar.wav)" in caplog.text


def test_beside_a_mixture_files_of_other_names_may_be_in_other(song, tmp_path):
    waves = song("one", "mixture", "vocals", "drums", "bass", "other", "guitar")
    (one,) = recorded_songs(tmp_path)
    without = waves["mixture"] - waves["vocals"]
    torch.testing.assert_close(one.read("accompaniment", 0.0, 1.0, 8000, 2), without)
    torch.testing.assert_close(one.read("other", 0.0, 1.0, 8000, 2), without - waves["drums"] - waves["bass"])
    song("two", "mixture", "other", "guitar")
    with pytest.raises(ValueError, match="other cannot be had.* remove guitar.wav, which may"):
        with_stems(recorded_songs(tmp_path)[1], ["other"])


def test_a_mixture_that_is_not_the_sum_is_told_with_its_level(song, tmp_path, caplog):
    for name, level in {"mastered": 1.5, "plain": 1.0}.items():
        waves = song(name, "vocals", "drums", "bass", "other")
        write_audio(tmp_path / name / "mixture.wav", level * sum(waves.values()), 8000)
    song("unknown", "mixture", "vocals", "drums")
    songs = recorded_songs(tmp_path)
    assert difference(songs[0]) == pytest.approx(20 * math.log10(0.5 / 1.5), abs=0.01)
    assert difference(songs[1]) < -100 and difference(songs[2]) == -math.inf
    log_doubts(songs)
    assert "not the sum of the stems in mastered (-9.5 dB);" in caplog.text
    assert "plain" not in caplog.text and "unknown" not in caplog.text


def test_names_count_in_any_case(song, tmp_path):
    song("one", "Vocals", suffix=".WAV")
    song("one", "DRUMS")
    (one,) = recorded_songs(tmp_path)
    assert set(one.parts) == {"vocals", "drums"}


@pytest.mark.parametrize("rate", [44101, 12347])
def test_any_ratio_of_rates_in_little_memory(song, tmp_path, rate):
    song("one", "vocals", rate=rate, seconds=0.1)
    assert recorded_songs(tmp_path)[0].read("vocals", 0.0, 0.1, 16000, 1).shape == (1, 1600)


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3"])
def test_any_format_and_rate(song, tmp_path, suffix):
    song("one", "vocals", rate=11025, suffix=suffix)
    assert recorded_songs(tmp_path)[0].read("vocals", 0.0, 1.0, 16000, 1).shape == (1, 16000)


def test_a_held_song_reads_like_the_recorded_one(song, tmp_path):
    song("one", "vocals", "drums", rate=16000)
    (recorded,) = recorded_songs(tmp_path)
    held = to_memory(recorded, Form())
    for stem in Form().stems:
        excerpt = (stem, 0.3, 0.9, 16000, 1)
        torch.testing.assert_close(held.read(*excerpt), recorded.read(*excerpt))


def test_silent_stem_of_a_held_song():
    held = SongInMemory("one", {"drums": torch.ones(1, 100)}, 100)
    assert held.read("vocals", 0.0, 1.0, 100, 1).tolist() == [[0.0] * 100]


# splits


def test_no_song_is_in_two_parts(song, tmp_path):
    for i in range(10):
        song(f"song_{i}", "vocals")
    parts = split_songs(tmp_path)
    assert [len(part) for part in parts] == [7, 1, 2]
    assert len({one.name for part in parts for one in part}) == 10
    assert parts == split_songs(tmp_path)


def test_groups_are_not_parted(song, tmp_path):
    for i in range(12):
        song(f"singer{i % 4}_{i}", "vocals")
    parts = split_songs(tmp_path, group=r"(.+)_\d+")
    singers = [{one.name.split("_")[0] for one in part} for part in parts]
    assert sorted(chain(*singers)) == ["singer0", "singer1", "singer2", "singer3"]


def test_musdb_keeps_its_own_test_songs(song, tmp_path):
    for i in range(4):
        song(f"train/song_{i}", "vocals")
    song("test/the_one", "vocals")
    parts = split_songs(tmp_path)
    assert [len(part) for part in parts] == [3, 1, 1]
    assert parts.test[0].name == "the_one"


def test_all_songs_can_be_scored(song, tmp_path):
    song("one", "vocals")
    assert [len(part) for part in split_songs(tmp_path, test=1.0)] == [0, 0, 1]


# errors


def test_no_songs(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=r"data\.root: no song in .*vocals"):
        recorded_songs(tmp_path)


def test_no_folder(tmp_path):
    with pytest.raises(ValueError, match="expected a folder of songs"):
        recorded_songs(tmp_path / "nowhere")


def test_a_song_where_its_parts_should_be_folders(song, tmp_path):
    song("one", "vocals")
    with pytest.raises(ValueError, match=r"no song in .* looks like a song itself"):
        recorded_songs(tmp_path / "one")


def test_stems_that_differ_are_all_told(song, tmp_path):
    song("long", "vocals", seconds=2.0)
    song("long", "drums")
    song("fast", "vocals", rate=8000)
    song("fast", "drums", rate=16000)
    song("good", "vocals")
    song("twice", "vocals")
    song("twice", "Vocals", suffix=".flac")
    song("strange", "voice", "band")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/vocals.wav").write_text("la la la")
    songs = recorded_songs(tmp_path)
    assert [one.name for one in songs if not isinstance(one, UnfitSong)] == ["good"]
    with pytest.raises(ValueError, match="data.root: mend these songs, or move") as error:
        all_with_stems(songs, ["vocals"])
    for message in (
        "fast: its stems differ in sample rate",
        "long: its stems differ in length: {'vocals': 2.0, 'drums': 1.0}",
        "twice: Vocals.flac and vocals.wav are one part",
        "strange: no file is named vocals, .*there are band.wav, voice.wav",
        "broken.vocals.wav: not a recording",
    ):
        assert re.search(message.replace("{", r"\{"), str(error.value))
    assert "good" not in str(error.value)


def test_stems_that_the_network_wants_and_the_song_lacks(song, tmp_path):
    song("one", "vocals", "accompaniment")
    with pytest.raises(ValueError, match=r"one: drums cannot be had from accompaniment, vocals\. Add drums, or"):
        with_stems(recorded_songs(tmp_path)[0], ["vocals", "drums"])
