from functools import partial

import pytest
import torch

from tavtorch import Library, recognise
from tavtorch.lab.data.files import write_audio
from tavtorch.lab.data.music import Clips, Music, open_library
from tavtorch.lab.kinds.music import recognition

NOISES = {"clean": {}, "white": {"white": 0.0}, "both": {"speech": 0.0, "white": -5.0}}


def clips(count=4, **changes):
    torch.manual_seed(0)
    songs = {f"song {i}": torch.randn(8000) for i in range(3)}
    options = {"noises": NOISES, "length": 4000, "count": count, "seed": 0} | changes
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
    assert [item["noise"] for item in items] == ["clean"] * 6 + ["white"] * 6 + ["both"] * 6
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
        library, root=str(folder), speech=str(folder), noises=NOISES, seconds=4.0, clips=6, unknown=2, batch_size=9
    )
    music.setup("test")
    assert len(library) == 4
    op, scores = partial(recognise, library=library), {}
    for batch in music.test_dataloader():
        assert len(set(batch["noise"])) == 1
        for name, values in recognition(op(**batch["inputs"]), batch).items():
            scores.setdefault(name, []).append(values)
    shares = {name: torch.cat(values).nanmean().item() for name, values in scores.items()}
    assert shares["clean/recall"] == 1 and shares["white/recall@1"] == 1
    assert shares["clean/unknown accepted"] < 0.5


def test_songs_that_are_there_are_not_read_again(folder, tmp_path):
    library = Library(tmp_path / "library.sqlite")
    music = Music(library, root=str(folder), noises=NOISES)
    music.setup("predict")
    assert [batch["name"] for batch in music.predict_dataloader()] == [[str(i)] for i in range(6)]
    batch = next(iter(music.predict_dataloader()))
    from tavtorch.audio.recognition import fingerprint_stream

    library.add("0", fingerprint_stream(**batch["inputs"]))
    music.setup("predict")
    assert [batch["name"] for batch in music.predict_dataloader()] == [[str(i)] for i in range(1, 6)]


def test_a_run_has_one_library(tmp_path):
    one = open_library(str(tmp_path / "library.sqlite"))
    assert open_library(str(tmp_path / "library.sqlite")) is one
    assert open_library(str(tmp_path / "other.sqlite")) is not one


# errors


def test_bad_input(folder, tmp_path):
    library = Library(tmp_path / "library.sqlite")
    with pytest.raises(ValueError, match="data.unknown: 4 of 6 songs"):
        Music(library, root=str(folder), noises=NOISES, unknown=4).setup("test")
    with pytest.raises(ValueError, match="data.root: say which song"):
        Music(library, noises=NOISES).setup("predict")
    with pytest.raises(ValueError, match="data.noises: expected white, speech or babble, got 'pink'"):
        clips(noises={"pink": {"pink": 0.0}})[0]
