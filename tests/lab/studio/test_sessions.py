"""The files of each visitor."""

import pytest

from tavtorch.lab.studio.sessions import RefusedError, Sessions


@pytest.fixture
def sessions():
    made = Sessions(most=1000, idle=100.0)
    yield made
    made.close()


def test_a_visitor_has_files_of_their_own(sessions):
    one, other = (sessions.get(sessions.new()) for _ in range(2))
    number, place = one.new_file("a (1), b's=.png")
    place.write_bytes(b"x")
    one.files[number] = place
    assert place.name == "a (1), b's_.png" and one.file(number) == place
    with pytest.raises(RefusedError, match="no such file"):
        other.file(number)


def test_who_is_not_known_has_nothing(sessions):
    for key in (None, "", "guess"):
        with pytest.raises(RefusedError, match="load it again"):
            sessions.get(key)


def test_files_are_bounded_together(sessions):
    session = sessions.get(sessions.new())
    for _ in range(2):
        session.check_room()
        session.new_file("x")[1].write_bytes(bytes(600))
    with pytest.raises(RefusedError, match="your files take more than"):
        session.check_room()


def test_what_is_not_used_is_removed(sessions):
    unused, used = sessions.new(), sessions.new()
    sessions.get(unused).seen -= 101
    folder = sessions.all[unused].folder
    assert sessions.remove_idle() == [unused] and not folder.exists()
    assert sessions.get(used).folder.exists()
    sessions.close()
    assert not sessions.root.exists()
