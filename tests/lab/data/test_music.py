import os
from functools import partial
from pathlib import Path

import pytest
import torch

from tavtorch import Library, fingerprint, recognise
from tavtorch.audio.recognition import fingerprint_stream
from tavtorch.lab.data.files import read_audio, write_audio
from tavtorch.lab.data.music import Clips, Music, open_library
from tavtorch.lab.kinds.music import recognition, write_song

CONDITIONS = {"clean": {}, "white": {"white": 0.0}, "both": {"speech": 0.0, "white": -5.0}}


def clips(count=4, **changes):
    torch.manual_seed(0)
    songs = {f"song {i}": torch.randn(8000) for i in range(3)}
    options = {"conditions": CONDITIONS, "length": 4000, "count": count, "seed": 0} | changes
    return Clips(songs, {"other": torch.randn(8000)}, torch.randn(16000), **options)


@pytest.fixture
def folder(tmp_path):
    """Six songs of notes that nobody else plays."""
    t = torch.arange(12 * 8000) / 8000
    for i in range(6):
        steps = torch.randint(0, 24, (48,), generator=torch.Generator().manual_seed(i))
        tones = 220 * 2 ** (steps.repeat_interleave(2000)[: len(t)] / 12)
        wave = 0.2 * torch.sin(2 * torch.pi * (tones / 8000).cumsum(0)) + 0.1 * torch.sin(
            4 * torch.pi * (tones / 8000).cumsum(0)
        )
        write_audio(tmp_path / f"songs/{i}.wav", wave[None], 8000)
    return tmp_path / "songs"


# clips


def test_so_many_clips_of_known_and_unknown_songs_for_each_noise():
    items = [clips()[i] for i in range(len(clips()))]
    assert [item["condition"] for item in items] == ["clean"] * 6 + ["white"] * 6 + ["both"] * 6
    assert [item["song"] == "" for item in items[:6]] == [False] * 4 + [True] * 2
    assert all(item["inputs"]["wave"].shape == (1, 1, 4000) for item in items)


def test_the_same_clip_under_every_noise_at_its_level():
    some = clips()
    clean, white, both = (some[6 * k]["inputs"]["wave"] for k in range(3))
    for noisy, snr in ((white, 0.0), (both, None)):
        noise = noisy - clean
        ratio = 10 * (clean.square().mean() / noise.square().mean()).log10().item()
        assert snr is None or ratio == pytest.approx(snr, abs=0.01)
    assert torch.equal(clean, clips()[0]["inputs"]["wave"])
    assert not torch.equal(clean, clips(seed=1)[0]["inputs"]["wave"])


def test_a_song_shorter_than_a_clip_is_followed_by_silence():
    wave = clips(length=9000)[0]["inputs"]["wave"]
    assert wave.shape == (1, 1, 9000) and wave[..., 8000:].eq(0).all()


# from a folder to a score


def test_songs_are_known_and_strangers_are_not(folder, tmp_path):
    library = Library(tmp_path / "library.sqlite")
    music = Music(
        library,
        root=str(folder),
        speech=str(folder),
        conditions=CONDITIONS,
        seconds=4,
        clips=6,
        unknown=2,
        batch_size=9,
    )
    music.setup("test")
    assert len(library) == 4
    op, scores = partial(recognise, library=library), {}
    for batch in music.test_dataloader():
        assert len(set(batch["condition"])) == 1
        for name, values in recognition(op(**batch["inputs"]), batch).items():
            scores.setdefault(name, []).append(values)
    shares = {name: torch.cat(values).nanmean().item() for name, values in scores.items()}
    assert shares["clean/recall"] == 1 and shares["white/recall@1"] == 1
    assert shares["clean/unknown accepted"] < 0.5


def test_scores_do_not_depend_on_earlier_runs(folder, tmp_path):
    """Another number of unknown songs on the same library is refused; the same, or an empty library, is not."""
    library = Library(tmp_path / "library.sqlite")
    few = {"conditions": {"clean": {}}, "root": str(folder), "speech": str(folder), "clips": 1}
    for _ in range(2):
        Music(library, **few, unknown=1).setup("test")
        assert len(library) == 5
    with pytest.raises(ValueError, match="library.url: this library has 2 other songs, such as '3'.*leave library.url"):
        Music(library, **few, unknown=3).setup("test")
    in_memory = [open_library("sqlite://", run=run) for run in ("runs/a", "runs/b", "runs/a")]
    assert in_memory[0] is in_memory[2] and in_memory[0] is not in_memory[1]
    Music(in_memory[0], **few, unknown=1).setup("test")
    Music(in_memory[1], **few, unknown=3).setup("test")
    assert [len(one) for one in in_memory] == [5, 3, 5]


def test_songs_of_two_albums_are_both_scored(tmp_path):
    for i in range(2):
        write_noise(tmp_path / f"album{i}/01.wav", i)
    library, root = Library("sqlite://"), str(tmp_path)
    Music(library, root=root, speech=root, conditions={"clean": {}}, unknown=0, clips=1).setup("test")
    assert sorted(song.name for song in library) == ["album0/01", "album1/01"]


# songs into a library


def write_noise(path, i, **tags):
    wave = 0.1 * torch.randn(1, 2 * 8000, generator=torch.Generator().manual_seed(i))
    write_audio(path, wave, 8000, tags=tags)


def index(root, library, **options):
    """As a run does: which songs were decoded, and the errors of items."""
    music = Music(library, root=root, conditions={})
    music.setup("predict")
    decoded, errors = [], {}
    for batch in music.predict_dataloader():
        errors |= batch["errors"]
        if "inputs" in batch:
            decoded += batch["name"]
            output = fingerprint_stream(**batch["inputs"])
            try:
                assert write_song(Path("unused"), output, batch, library=library, **options) is None
            except ValueError as error:
                errors[batch["name"][0]] = str(error)
    return decoded, errors


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path / "library.sqlite")


def known(library):
    return {song.name: song for song in library}


def test_songs_that_are_there_are_not_decoded_again(tmp_path, library):
    for i in range(3):
        write_noise(tmp_path / f"songs/{i}.wav", i)
    assert index(str(tmp_path / "songs"), library) == (["0", "1", "2"], {})
    os.utime(tmp_path / "songs/1.wav", (1, 1))  # another time, the same content
    assert index(str(tmp_path / "songs"), library) == ([], {})
    assert index([str(tmp_path / "songs/0.wav"), str(tmp_path / "songs")], library) == ([], {})


def test_the_same_name_in_two_albums(tmp_path, library):
    for i in (1, 2):
        write_noise(tmp_path / f"album{i}/01.wav", i)
    assert index(str(tmp_path), library) == (["album1/01", "album2/01"], {})

    alone = Library(tmp_path / "alone.sqlite")
    assert index(str(tmp_path / "album1"), alone) == (["01"], {})
    for _ in range(2):  # it is told again
        decoded, errors = index(str(tmp_path / "album2"), alone)
        assert decoded == ["01"]
        assert f"another recording is called '01', from {tmp_path}/album1/01.wav" in errors["01"]
        assert "rename" in errors["01"] and "overwrite=true" in errors["01"]
    assert index(str(tmp_path / "album2"), alone, overwrite=True) == (["01"], {})
    assert known(alone)["01"].path == f"{tmp_path}/album2/01.wav"
    assert index(str(tmp_path / "album2"), alone) == ([], {})


def test_a_changed_file_is_noticed(tmp_path, library):
    write_noise(tmp_path / "songs/a.wav", 1)
    index(str(tmp_path / "songs"), library)
    before = known(library)["a"]
    write_noise(tmp_path / "songs/a.wav", 2)
    decoded, errors = index(str(tmp_path / "songs"), library)
    assert decoded == ["a"] and "'a' has changed since it was added" in errors["a"] and known(library)["a"] == before
    assert index(str(tmp_path / "songs"), library, overwrite=True) == (["a"], {})
    assert known(library)["a"].digest != before.digest and len(library) == 1
    assert index(str(tmp_path / "songs"), library) == ([], {})


def test_other_tags_are_no_other_song(tmp_path, library):
    write_noise(tmp_path / "songs/a.wav", 1, title="Étude", artist="Chopin")
    index(str(tmp_path / "songs"), library)
    assert (known(library)["a"].title, known(library)["a"].artist) == ("Étude", "Chopin")
    write_noise(tmp_path / "songs/a.wav", 1, title="Etude in E", artist=" ")
    assert index(str(tmp_path / "songs"), library) == (["a"], {})
    assert (known(library)["a"].title, known(library)["a"].artist) == ("Etude in E", "Chopin")
    assert index(str(tmp_path / "songs"), library) == ([], {})


def test_a_song_that_was_renamed_or_moved_is_known(tmp_path, library):
    write_noise(tmp_path / "songs/a.wav", 1)
    index(str(tmp_path / "songs"), library)
    (tmp_path / "songs").rename(tmp_path / "moved")
    assert index(str(tmp_path / "moved"), library) == ([], {})
    (tmp_path / "moved").rename(tmp_path / "songs")
    library.rename("a", "An étude")
    assert index(str(tmp_path / "songs"), library) == ([], {})


def test_the_same_recording_under_another_name_is_told(tmp_path, library):
    write_noise(tmp_path / "songs/a.wav", 1)
    write_noise(tmp_path / "songs/b.wav", 1)
    for _ in range(2):
        _, errors = index(str(tmp_path / "songs"), library)
        assert f"'b' is the same recording as 'a', from {tmp_path}/songs/a.wav" in errors["b"] and len(errors) == 1


def test_names_of_any_bytes_and_any_length(tmp_path, library):
    long = "x" * 251
    write_noise(tmp_path / "songs/plain.wav", 1)
    write_noise(tmp_path / f"songs/{long}.wav", 2)
    os.rename(os.fsencode(tmp_path / "songs/plain.wav"), os.fsencode(tmp_path / "songs") + b"/m\xfcsik.wav")  # noqa: PTH104
    decoded, errors = index(str(tmp_path / "songs"), library)
    assert sorted(decoded) == [r"m\xfcsik", long] and errors == {}
    assert known(library)[r"m\xfcsik"].path == str(tmp_path / "songs") + r"/m\xfcsik.wav"
    assert index(str(tmp_path / "songs"), library) == ([], {})


def test_a_library_of_an_older_version_learns_the_files_of_its_songs(tmp_path, library):
    write_noise(tmp_path / "songs/a.wav", 1)
    wave, rate = read_audio(tmp_path / "songs/a.wav")
    library.add("a", fingerprint(wave[None], rate), path="songs/a.wav")  # as it did
    assert index(str(tmp_path / "songs"), library) == (["a"], {})
    assert index(str(tmp_path / "songs"), library) == ([], {})


def test_a_run_has_one_library(tmp_path):
    one = open_library(str(tmp_path / "library.sqlite"))
    assert open_library(str(tmp_path / "library.sqlite")) is one
    assert open_library(str(tmp_path / "other.sqlite")) is not one


# errors


def test_bad_input(folder, tmp_path):
    library = Library(tmp_path / "library.sqlite")
    with pytest.raises(ValueError, match="data.unknown: 4 of 6 songs"):
        Music(library, root=str(folder), conditions=CONDITIONS, unknown=4).setup("test")
    with pytest.raises(ValueError, match="data.root: say which song"):
        Music(library, conditions=CONDITIONS).setup("predict")
    with pytest.raises(ValueError, match="data.conditions: expected before, room, speech, .*, opus, got 'pink'"):
        clips(conditions={"pink": {"pink": 0.0}})[0]
