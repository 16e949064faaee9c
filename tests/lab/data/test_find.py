import os

import pytest

from tavtorch.lab.data.find import DONE, find, find_named, named, search

WAV = (".wav", ".mp3")


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(root):
    return [name for name, _ in find_named(root, WAV, "recording")]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["b.wav", "a.mp3", "live/b.wav"], ["a", "b", "live/b"]),
        (["a.wav", "a.mp3", "b.wav"], ["a.mp3", "a.wav", "b"]),  # differ in their suffix
        (["album.wav", "album/x.wav"], ["album/x", "album.wav"]),  # one would be the folder of the other
        (["a.wav", "a.mp3", "a.wav.mp3"], ["a.mp3", "a.wav", "a.wav.mp3"]),
        (["p.wav", "p.wav.wav"], ["p", "p.wav.wav"]),
        (["song.wav", "song.live.wav", "01.wav", "01. Intro.wav"], ["01. Intro", "01", "song.live", "song"]),
    ],
)
def test_every_file_has_a_name_of_its_own(tmp_path, files, names):
    make(tmp_path, *files)
    assert found(tmp_path) == names


def test_a_name_is_a_text(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    assert named(tmp_path, [path]) == [("caf\\xe9", path)]


def test_several_paths(tmp_path):
    make(tmp_path, "x/a.wav", "y/a.wav", "y/deep/b.wav", "c.wav")
    assert found([tmp_path / "x", tmp_path / "y/deep", tmp_path / "c.wav"]) == ["x/a", "y/deep/b", "c"]
    assert found([tmp_path / "x/a.wav", tmp_path / "x"]) == ["a"]


def test_what_is_left_out_is_told(tmp_path):
    make(tmp_path, "a.wav", "b.txt", "c.txt", "cover", ".hidden.wav", ".cache/d.wav")
    there = search(tmp_path, WAV, "recording")
    assert [path.name for path in there.paths] == ["a.wav"]
    assert there.left_out == {".txt": 2, "": 1}


def test_results_of_earlier_runs_are_no_input(tmp_path):
    make(tmp_path, "a.wav", "runs/hpss/predictions/a/drums.wav", f"runs/hpss/predictions{DONE}")
    there = search(tmp_path, WAV, "recording")
    assert [path.name for path in there.paths] == ["a.wav"]
    assert there.results == [tmp_path / "runs/hpss/predictions"]
    assert found(tmp_path / "runs/hpss/predictions/a") == ["drums"]  # unless they are asked for
    with pytest.raises(ValueError, match="holds results of an earlier run"):
        find(tmp_path / "runs", WAV, "recording")


def test_links_are_followed_once(tmp_path):
    make(tmp_path, "music/a.wav", "elsewhere/b.wav")
    (tmp_path / "music/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "music")
    assert found(tmp_path / "music") == ["a", "linked/b"]


def test_a_folder_that_may_not_be_read_is_among_the_paths(tmp_path, unreadable):
    make(tmp_path, "a.wav", "secret/b.wav")
    unreadable("secret")
    assert found(tmp_path) == ["a", "secret"]


# errors


def test_no_such_path(tmp_path):
    with pytest.raises(ValueError, match="data.root.*nowhere does not exist"):
        find([tmp_path, tmp_path / "nowhere"], WAV, "recording")


def test_nothing_of_the_kind(tmp_path):
    with pytest.raises(ValueError, match="data.root: no recording in .*expected one of .wav, .mp3"):
        find(tmp_path, WAV, "recording")
