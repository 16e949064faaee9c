"""The command `tavtorch-library`."""

import pytest
import torch

from tavtorch import Library, fingerprint
from tavtorch.lab.library import main


@pytest.fixture
def songs(tmp_path):
    """A library's file, in it two songs."""
    library = Library(tmp_path / "songs.sqlite")
    for i, (name, title) in enumerate({"01": "Étude", "album/02": None}.items()):
        marks = fingerprint(torch.randn(1, 1, 3 * 8000, generator=torch.Generator().manual_seed(i)), 8000)
        library.add(name, marks, title=title, artist="Chopin", path=f"/music/{name}.wav")
    return str(tmp_path / "songs.sqlite")


def said(capsys, *typed):
    main(typed)
    return capsys.readouterr().out.splitlines()


def test_songs_are_listed(songs, capsys):
    header, first, second, end = said(capsys, "list", "--library", songs)
    assert header.split() == ["name", "title", "artist", "length", "file"]
    assert first.split() == ["01", "Étude", "Chopin", "0:03.0", "/music/01.wav"]
    assert second.split() == ["album/02", "Chopin", "0:03.0", "/music/album/02.wav"]
    assert end == f"2 songs in sqlite:///{songs}" and header.index("file") == first.index("/music")
    assert len(said(capsys, "list", "étude", "chopin", "--library", songs)) == 3
    assert said(capsys, "list", "Bach", "--library", songs) == [f"0 songs in sqlite:///{songs}"]


def test_songs_are_renamed_and_removed(songs, capsys):
    assert said(capsys, "rename", "album/02", "Nocturne", "--library", songs) == ["renamed: album/02 is now Nocturne"]
    assert said(capsys, "remove", "01", "--library", songs) == ["removed: 01"]
    assert [(song.name, song.path) for song in Library(songs)] == [("Nocturne", "/music/album/02.wav")]


def test_a_library_is_calibrated(songs, capsys):
    for i in range(2, 4):
        noise = torch.randn(1, 1, 8 * 8000, generator=torch.Generator().manual_seed(i))
        Library(songs).add(f"{i}", fingerprint(noise, 8000))
    (line,) = said(capsys, "calibrate", "--minutes", "0.2", "--library", songs)
    threshold = Library(songs).calibration.threshold(1)
    assert line.startswith(f"one false track a day from a score of {threshold:.1f} on")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["calibrate"], "library: expected 4 songs or more to leave some out, "),
        (["remove", "album/2"], "no song is called 'album/2'; the nearest name is 'album/02'."),
        (["rename", "x", "y"], "no song is called 'x'."),
        (["rename", "01", "album/02"], "a song is called 'album/02' already"),
        (["rename", "01", ""], "new: expected some text"),
        (["list", "--library", "mistyped.sqlite"], "there is no library at sqlite:///mistyped.sqlite|mistyped.sqlite"),
    ],
)
def test_what_cannot_be_done_is_one_line(songs, monkeypatch, tmp_path, typed, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message) as error:
        main([*typed, *([] if "--library" in typed else ["--library", songs])])
    assert str(error.value).startswith("error: ") and "\n" not in str(error.value)
    assert len(Library(songs)) == 2 and [path.name for path in tmp_path.iterdir()] == ["songs.sqlite"]


def test_the_library_of_a_run_is_the_default(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="no library at .*runs/library.sqlite; check the name"):
        main(["list"])
