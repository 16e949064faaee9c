"""A library spread over processes answers as a whole one, to the bit."""

import subprocess
import sys

import pytest
import torch

from tavtorch import Library, fingerprint

RATE = 8000

BEGIN = """
import os, sqlite3, sys
import torch
from tavtorch import Library, fingerprint, recognise
from tavtorch.audio.recognition import setlist

torch.set_num_threads(1)
url, store, processes = sys.argv[1], sys.argv[2], int(sys.argv[3])

def song(i, seconds=12):
    return torch.randn(1, 1, seconds * 8000, generator=torch.Generator().manual_seed(i))

def marks(i):
    return fingerprint(song(i), 8000, verify=False)

known = torch.cat([song(i)[..., 24000:64000] + 0.5 * song(30 + i)[..., :40000] for i in range(6)])
unknown = torch.cat([song(50 + i)[..., :40000] for i in range(3)])
clips = fingerprint(torch.cat((known, unknown, torch.zeros(1, 1, 40000))), 8000)
faster = fingerprint(torch.cat((known, unknown)), 8960)

def same(shard, whole):
    assert repr(shard) == repr(whole), (rank, shard, whole)

def work():
"""

END = """

children = []
for rank in range(processes):
    children.append(os.fork())
    if children[-1] == 0:
        try:
            torch.distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=processes)
            work()
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
        os._exit(1)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * processes
"""


def song(i, seconds=12):
    return torch.randn(1, 1, seconds * RATE, generator=torch.Generator().manual_seed(i))


@pytest.fixture
def url(tmp_path):
    """A library of six songs of noise."""
    library = Library(tmp_path / "songs.db")
    for i in range(6):
        library.add(f"song {i}", fingerprint(song(i), RATE, verify=False))
    return tmp_path / "songs.db"


def in_processes(url, work, processes=2):
    """Run `work` in so many processes of a group; it has `rank`, and `same(shard, whole)`."""
    indented = "".join(f"    {line}\n" for line in work.strip().splitlines())
    script = BEGIN + indented + END
    command = [sys.executable, "-c", script, str(url), str(url.with_name("store")), str(processes)]
    done = subprocess.run(command, timeout=300, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_two_processes_answer_as_one(url):
    in_processes(
        url,
        """
shard, whole = Library(url, shard=(rank, 2)), Library(url)
for options in ({}, {"top": 30}, {"vote": "count", "top": 3}, {"changed": False, "top": 2}):
    same(shard.recognise(clips, **options), whole.recognise(clips, **options))
assert len(shard._own.ids) == 3 and len(shard) == 6 and shard._index.ids == whole._index.ids
found = shard.recognise(faster)
same(found, whole.recognise(faster))
assert [(m.name, m.accepted) for (m,) in found[:6]] == [(f"song {i}", True) for i in range(6)]
assert all(abs(m.speed * m.tempo * m.pitch / 1.12 - 1) < 0.01 for (m,) in found[:6])
assert not any(m.accepted for (m,) in found[6:])
same(shard.spans(clips, shard.recognise(clips)), whole.spans(clips, whole.recognise(clips)))
if rank == 0:  # alone, as it draws the page
    assert max(len(x) for x in shard.offsets(clips, "song 1")) > 100
""",
    )


def test_a_long_recording_has_the_same_tracks(url):
    in_processes(
        url,
        """
wave = torch.cat((song(2), song(60), song(5)), 2)[0]
def tracks(library):
    return setlist(library, lambda start, frames: wave[:, start:start + frames], wave.shape[1], 8000)
found = tracks(Library(url, shard=(rank, 2)))
same(found, tracks(Library(url)))
assert [track.name for track in found] == ["song 2", "song 5"]
""",
    )


def test_a_process_may_have_no_song(url):
    in_processes(
        url,
        """
if rank == 0:
    [Library(url).remove(f"song {i}") for i in range(6) if i % 3 != 1]
torch.distributed.barrier()
shard, whole = Library(url, shard=(rank, 3)), Library(url)
for options in ({}, {"vote": "count"}):
    same(shard.recognise(clips, **options), whole.recognise(clips, **options))
same(shard.recognise(faster), whole.recognise(faster))
same(shard.spans(clips, shard.recognise(clips)), whole.spans(clips, whole.recognise(clips)))
assert len(whole) == 2 and len(shard._own.ids) == (2 if rank == 2 else 0)
""",
        processes=3,
    )


def test_all_see_what_one_adds_and_removes(url):
    in_processes(
        url,
        """
shard = Library(url, shard=(rank, 2))
shard.recognise(clips)
if rank == 1:
    shard.remove("song 0"), shard.rename("song 3", "another"), shard.add("song 50", marks(50))
torch.distributed.barrier()
found = shard.recognise(clips)
same(found, Library(url).recognise(clips))
names = [m.name if m.accepted else None for (m,) in found[:7]]
assert names == [None, "song 1", "song 2", "another", "song 4", "song 5", "song 50"]
""",
    )


def test_what_one_cannot_read_all_tell(url):
    in_processes(
        url,
        """
if rank == 0:
    with sqlite3.connect(url) as connection:
        connection.execute("UPDATE tavtorch_song SET peaks = zeroblob(400) WHERE name = 'song 1'")
torch.distributed.barrier()
for _ in range(2):
    try:
        Library(url, shard=(rank, 2)).recognise(clips)
        raise AssertionError("not told")
    except ValueError as error:
        assert "the peaks of 'song 1' are damaged" in str(error), error
""",
    )


def test_an_empty_library_knows_nothing(url):
    in_processes(url, 'assert Library("sqlite://", shard=(rank, 2)).recognise(clips) == [[]] * 10')


def test_without_the_other_processes_there_is_no_answer(url):
    clip = fingerprint(song(0), RATE)
    with pytest.raises(ValueError, match="spread over 2 processes, but torch.distributed joins 1"):
        Library(url, shard=(0, 2)).recognise(clip)
    with pytest.raises(ValueError, match="shard: only a whole library can be calibrated"):
        Library(url, shard=(0, 2)).calibrate()
