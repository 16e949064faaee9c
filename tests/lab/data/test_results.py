import os
import shutil

import pytest

from tavtorch.lab.data.results import Results, Source


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "in/a.wav"
    path.parent.mkdir()
    path.write_bytes(b"la la la")
    return path


@pytest.fixture
def results(song, tmp_path):
    """With the result of the song."""
    (tmp_path / "out/a").mkdir(parents=True)
    results = Results(tmp_path / "out", "settings")
    results.add("a", [Source.of(song)], tmp_path / "out/a", converged=False)
    return results


def done(song, folder, settings="settings", name="a"):
    return Results(folder, settings).has(name, [Source.of(song)])


def test_what_is_done_is_known_to_the_next_run(results, song):
    assert done(song, results.folder)
    assert not done(song, results.folder, "other settings")
    assert not done(song, results.folder, name="b")
    assert not Results(results.folder, "settings").lines["a"].converged


def test_a_file_counts_by_its_content(results, song):
    os.utime(song, (0, 0))
    assert done(song, results.folder)  # touched
    song.write_bytes(b"lo lo lo")
    assert not done(song, results.folder)  # of the same length


def test_a_file_that_was_moved_is_the_same(results, song):
    moved = song.with_name("moved.wav")
    shutil.move(song, moved)
    assert done(moved, results.folder)


def test_another_file_does_not_take_the_place(results, song, tmp_path):
    other = tmp_path / "other/a.wav"
    other.parent.mkdir()
    other.write_bytes(b"something else")
    with pytest.raises(ValueError, match="is the result of .*in/a.wav, another file.*hydra.run.dir.*overwrite=true"):
        done(other, results.folder)
    song.unlink()
    assert not done(other, results.folder)


def test_a_second_source_counts_too(results, song, tmp_path):
    mask = tmp_path / "mask.png"
    mask.write_bytes(b"white")
    results.add("a", [Source.of(song), Source.of(mask)], results.folder / "a")
    assert Results(results.folder, "settings").has("a", [Source.of(song), Source.of(mask)])
    mask.write_bytes(b"black")
    assert not Results(results.folder, "settings").has("a", [Source.of(song), Source.of(mask)])


def test_a_result_that_was_removed_is_not_done(results, song):
    (results.folder / "a").rmdir()
    assert not done(song, results.folder)


def test_a_file_that_changed_while_it_was_processed_is_not_done(results, song):
    before = Source.of(song)
    song.write_bytes(b"la la la, and more")
    results.add("a", [before], results.folder / "a")
    assert not done(song, results.folder)


@pytest.mark.parametrize(
    "end", ['{"name": "b", "resu', "null\n", '{"name": "a"}\n', '{"sources": [{"path": 1}]}\n', "\xe9"]
)
def test_a_damaged_line_is_none(results, song, end):
    with results.file.open("a", encoding="latin-1") as file:
        file.write(end)
    assert done(song, results.folder)
