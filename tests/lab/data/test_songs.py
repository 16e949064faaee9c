from itertools import chain

import pytest
import torch

from tavtorch.lab.data.files import write_audio
from tavtorch.lab.data.songs import (
    Form,
    SongInMemory,
    check_stems,
    recorded_songs,
    split_songs,
    stem_formula,
    to_memory,
)


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
    ],
)
def test_recipes(stem, parts, sum_):
    assert stem_formula(stem, parts.split()) == sum_


@pytest.mark.parametrize(
    ("stem", "parts"), [("drums", "vocals accompaniment"), ("vocals", "mixture"), ("other", "mixture drums")]
)
def test_what_cannot_be_had(stem, parts):
    with pytest.raises(KeyError):
        stem_formula(stem, parts.split())


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


def test_stems_that_differ_are_all_told(song, tmp_path):
    song("long", "vocals", seconds=2.0)
    song("long", "drums")
    song("fast", "vocals", rate=8000)
    song("fast", "drums", rate=16000)
    song("good", "vocals")
    with pytest.raises(ValueError, match="fast: its stems differ in sample rate") as error:
        recorded_songs(tmp_path)
    assert "long: its stems differ in length: {'drums': 1.0, 'vocals': 2.0}" in str(error.value)
    assert "good" not in str(error.value)


def test_stems_that_the_network_wants_and_the_song_lacks(song, tmp_path):
    song("one", "vocals", "accompaniment")
    with pytest.raises(ValueError, match="one: drums cannot be had from accompaniment, vocals"):
        check_stems(recorded_songs(tmp_path)[0], ["vocals", "drums"])
