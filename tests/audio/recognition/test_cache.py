"""The search structure beside the database."""

import pytest
import torch

from tavtorch import Library, fingerprint
from tavtorch.audio.recognition import Recipe, cache, library
from tavtorch.audio.recognition.cache import read_index

RATE = 8000


def song(i, seconds=6):
    return torch.randn(1, 1, seconds * RATE, generator=torch.Generator().manual_seed(i))


def add(known, numbers):
    for i in numbers:
        known.add(f"song {i}", fingerprint(song(i), RATE, verify=False))


def name(known, i):
    (matches,) = known.recognise(fingerprint(song(i)[..., RATE : 5 * RATE], RATE), changed=False)
    return matches[0].name if matches and matches[0].accepted else None


def whole(place):
    """A library with its search structure in memory."""
    known = Library(place)
    known.refresh()
    return known


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A library of four songs, with the file that is written for it."""
    monkeypatch.setattr(library, "_CACHED", 3)
    add(Library(tmp_path / "songs.db"), range(4))
    Library(tmp_path / "songs.db").refresh()
    assert (tmp_path / "songs.db.index").is_file()
    return tmp_path / "songs.db"


def test_it_is_read_and_not_built(place, monkeypatch):
    built = whole(place)._index
    monkeypatch.setattr(library.Index, "extend", lambda self, songs: [pytest.fail("built") for _ in songs])
    read = whole(place)
    assert read._index.ids == built.ids and read._index.end == built.end
    for a, b in zip(read._index._runs, built._runs, strict=True):
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    assert [name(read, i) for i in range(5)] == ["song 0", "song 1", "song 2", "song 3", None]


def test_the_database_is_the_truth(place):
    known = Library(place)
    known.remove("song 1")
    known.rename("song 2", "another")
    add(known, [7])
    assert [name(Library(place), i) for i in (0, 1, 2, 7)] == ["song 0", None, "another", "song 7"]


@pytest.mark.parametrize("fault", ["gone", "cut short", "empty", "no file of ours", "another format"])
def test_it_may_be_lost_or_spoilt(place, monkeypatch, fault):
    file = place.with_name("songs.db.index")
    whole = file.read_bytes()
    if fault == "gone":
        file.unlink()
    elif fault == "another format":
        monkeypatch.setattr(cache, "FORMAT", "2")
    else:
        file.write_bytes({"cut short": whole[:-100], "empty": b"", "no file of ours": b"x" * 1000}[fault])
    assert read_index(file, Recipe(), "cpu") is None
    assert name(Library(place), 3) == "song 3"
    assert read_index(file, Recipe(), "cpu") is not None  # written anew


def test_where_nothing_can_be_written_it_is_built(place):
    file = place.with_name("songs.db.index")
    file.unlink()
    file.mkdir()
    assert name(Library(place), 2) == "song 2" and not list(file.parent.glob(f".*.{file.name}"))


def test_a_small_library_has_none(tmp_path):
    small = Library(tmp_path / "small.db")
    add(small, range(2))
    small.refresh()
    assert not (tmp_path / "small.db.index").exists()
