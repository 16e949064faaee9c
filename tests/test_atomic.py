import pytest

from tavtorch.atomic import whole


def test_a_folder_replaces_a_folder_and_no_file_does(tmp_path):
    place = tmp_path / "deep/result"
    for content in ("first", "second"):
        with whole(place) as part:
            part.mkdir()
            (part / content).touch()
    assert [path.name for path in place.iterdir()] == ["second"]
    with pytest.raises(IsADirectoryError), whole(place) as part:
        part.write_text("third")
    assert [path.name for path in place.iterdir()] == ["second"]
    assert [path.name for path in place.parent.iterdir()] == ["result"]


def test_what_was_there_stays_where_writing_fails(tmp_path):
    place = tmp_path / "result"
    place.mkdir()
    with pytest.raises(NotADirectoryError), whole(place) as part:
        (part.write_text("half") and part / "below").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
    assert place.is_dir()


def test_a_name_as_long_as_the_file_system_allows(tmp_path):
    with whole(tmp_path / ("n" * 251 + ".wav")) as part:
        part.touch()
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]
