"""What a library's database keeps of songs, and how it changes: replaced, renamed, of an older format."""

import sqlite3

import pytest
import torch

from tavtorch import Library, fingerprint
from tavtorch.audio.recognition.address import hide_password

RATE = 8000


def marks(i):
    wave = torch.randn(1, 1, 3 * RATE, generator=torch.Generator().manual_seed(i))
    return fingerprint(wave, RATE, verify=False)


def heard(library, i):
    """The name that a library gives to a song, and what it knows of it."""
    wave = torch.randn(1, 1, 3 * RATE, generator=torch.Generator().manual_seed(i))
    (matches,) = library.recognise(fingerprint(wave, RATE))
    return next((match.name for match in matches if match.accepted), None)


@pytest.fixture
def library(tmp_path):
    library = Library(tmp_path / "a.db")
    for i, name in enumerate(("one", "two", "three")):
        library.add(name, marks(i), title=f"Title {name}", path=f"/music/{name}.wav", file=(9, 10**18 + i, f"f{i}"))
    return library


def test_another_recording_takes_a_name_with_overwrite_only(library):
    other = Library(library._store.engine.url.database)
    assert heard(other, 0) == "one"
    with pytest.raises(ValueError, match="another recording is called 'one', from /music/one.wav; .*overwrite=true"):
        library.add("one", marks(7), path="/elsewhere/one.wav")
    with pytest.raises(ValueError, match="'one' has changed since it was added from /music/one.wav; overwrite=true"):
        library.add("one", marks(7), path="/music/one.wav")
    assert heard(library, 0) == "one"
    assert library.add("one", marks(7), path="/elsewhere/one.wav", overwrite=True) is True
    for each in (library, other):
        assert len(each) == 3 and heard(each, 0) is None and heard(each, 7) == "one"
    assert library.add("one", marks(7), overwrite=True) is False


def test_a_replacement_that_fails_leaves_the_song(library):
    with pytest.raises(ValueError, match="'one' is the same recording as 'two', from /music/two.wav"):
        library.add("one", marks(1), overwrite=True)
    assert [song.name for song in library] == ["one", "two", "three"] and heard(library, 0) == "one"


def test_details_are_brought_up_to_date(library):
    assert library.add("two", marks(1), artist="Bach", path="/moved/two.wav", file=(11, 5, "g")) is False
    song = next(song for song in library if song.name == "two")
    assert (song.title, song.artist, song.path) == ("Title two", "Bach", "/moved/two.wav")
    assert (song.file_size, song.file_modified, song.file_digest) == (11, 5, "g")


def test_a_song_gets_another_name(library):
    other = Library(library._store.engine.url.database)
    assert heard(other, 1) == "two"
    before = {song.digest: song for song in library}
    library.rename("two", "été")
    for each in (library, other):
        assert heard(each, 1) == "été" and "two" not in each and len(each) == 3
    for song in library:
        old = before[song.digest]
        assert (song.title, song.path, song.file_digest) == (old.title, old.path, old.file_digest)
    assert library.add("four", marks(4)) and heard(library, 4) == "four"
    with pytest.raises(ValueError, match="new: a song is called 'one' already"):
        library.rename("three", "one")
    with pytest.raises(ValueError, match="new: expected some text"):
        library.rename("three", "")
    with pytest.raises(KeyError, match="no song is called 'thre'; the nearest name is 'three'"):
        library.rename("thre", "3")
    assert sorted(song.name for song in library) == ["four", "one", "three", "été"]


def test_the_nearest_name_is_offered(library):
    with pytest.raises(KeyError, match="no song is called 'tow'; the nearest name is 'two'"):
        library.remove("tow")
    with pytest.raises(KeyError, match=r"no song is called 'xyz'\."):
        library.remove("xyz")


def as_format_1(path, *, numbered):
    with sqlite3.connect(path) as database:
        for column in ("file_size", "file_modified", "file_digest"):
            database.execute(f"ALTER TABLE tavtorch_song DROP COLUMN {column}")
        number = "UPDATE tavtorch_about SET value = '1'" if numbered else "DELETE FROM tavtorch_about"
        database.execute(f"{number} WHERE name = 'format'")
    database.close()


@pytest.mark.parametrize("numbered", [True, False])
def test_a_library_of_format_1_is_brought_to_format_2(library, numbered):
    path = library._store.engine.url.database
    as_format_1(path, numbered=numbered)
    for _ in range(2):
        old = Library(path, create=False)
        assert next((song.name, song.title, song.file_size) for song in old) == ("one", "Title one", None)
    assert heard(old, 2) == "three" and old.add("one", marks(0), file=(9, 5, "f")) is False
    assert next(iter(old)).file_digest == "f"
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT value FROM tavtorch_about WHERE name = 'format'").fetchall() == [("2",)]
    database.close()


def test_text_that_cannot_be_stored_is_named(library):
    with pytest.raises(ValueError, match="title: .* is no valid Unicode"):
        library.add("x", marks(9), title="\udcff")
    with pytest.raises(ValueError, match="path: expected text without NUL"):
        library.add("x", marks(9), path="a\0b")


@pytest.mark.parametrize(
    "url",
    ["nosuch://me:s3cret@host/x", "postgresql+nodriver://me:s3cret@host/x", "postgresql://me:s3cret@host:port/x",
     "nosuch://host/x?user=me&password=s3cret"],
)  # fmt: skip
def test_no_password_in_a_message(url):
    with pytest.raises(ValueError, match="url: no database can be reached") as error:
        Library(url)
    assert "s3cret" not in f"{error.value} {error.value.__cause__}"


def test_a_password_is_hidden():
    assert hide_password("library.url=a+b://me:p@ss/w:rd@host:5/x") == "library.url=a+b://me:***@host:5/x"
    assert hide_password("a://host/x?password=p&b=1") == "a://host/x?password=***&b=1"
    for plain in ("runs/library.sqlite", "a://me@host:5/x", "a://host:5/x", "a:b@c"):
        assert hide_password(plain) == plain
