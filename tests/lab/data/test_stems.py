import shutil

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.data import _set_sampler_epoch
from torch.utils.data import DataLoader

from tavtorch.lab.data.epochs import EpochNumbers
from tavtorch.lab.data.songs import Form, SongInMemory, UnfitSong
from tavtorch.lab.data.stems import Excerpts, Remix, Stems, WholeSongs

FORM = Form(sample_rate=1000)


def made_song(name, seconds=5.0, level=1.0, channels=1):
    wave = torch.randn(2, channels, round(1000 * seconds))
    return SongInMemory(name, {"vocals": level * wave[0], "drums": level * wave[1]}, 1000)


# truth


def test_an_excerpt_is_a_mixture_and_its_stems():
    item = Excerpts([made_song("one")], FORM, seconds=0.5)[0]
    assert item["truth"].shape == (2, 1, 500)
    torch.testing.assert_close(item["inputs"]["wave"], item["truth"].sum(0))


def test_stems_stay_together_without_remixing():
    song = SongInMemory("ramp", dict.fromkeys(("vocals", "drums"), torch.arange(5000.0)[None]), 1000)
    truth = Excerpts([song], FORM, seconds=0.5)[7]["truth"]
    assert torch.equal(truth[0], truth[1])


def test_remixing_takes_stems_from_several_songs():
    songs = [made_song(str(level), level=level) for level in (0.01, 1.0)]
    excerpts = Excerpts(songs, FORM, seconds=0.5, remix=Remix(across=1.0, gain=0.0))
    levels = torch.stack([excerpts[i]["truth"].std(-1).flatten() for i in range(40)])
    loud = levels > 0.1
    assert (loud[:, 0] != loud[:, 1]).float().mean() == pytest.approx(0.5, abs=0.25)


def test_gain_is_in_decibels():
    rng = np.random.default_rng(0)
    gains = torch.cat([Remix(gain=6.0)(torch.ones(2, 1, 1), rng).flatten() for _ in range(500)])
    assert gains.log10().mul(20).abs().max() == pytest.approx(6, abs=0.1)


def test_channels_change_places():
    stereo = torch.tensor([[[1.0], [2.0]]])
    swapped = Remix(gain=0.0, swap=1.0)(stereo, np.random.default_rng(0))
    assert swapped.flatten().tolist() == [2, 1]


def test_long_songs_come_more_often():
    songs = [made_song("short", 1.0, 0.01), made_song("long", 9.0)]
    excerpts = Excerpts(songs, FORM, seconds=0.5)
    loud = sum(excerpts[i]["truth"].std() > 0.1 for i in range(200))
    assert loud == pytest.approx(180, abs=15)


def test_a_song_shorter_than_an_excerpt_ends_in_silence():
    truth = Excerpts([made_song("one", 0.2)], FORM, seconds=0.5)[0]["truth"]
    assert truth[..., 200:].abs().max() == 0


def test_whole_songs():
    song = made_song("one")
    item = WholeSongs([song], FORM)[0]
    torch.testing.assert_close(item["inputs"]["wave"], item["truth"].sum(1))
    assert item["name"] == "one"
    assert item["inputs"]["sample_rate"] == 1000


def test_songs_that_cannot_be_scored_are_items_with_an_error():
    songs = [UnfitSong("bad", "bad: why"), made_song("one"), SongInMemory("two", {"mixture": torch.ones(1, 9)}, 1000)]
    items = WholeSongs(songs, FORM)
    assert [items[i].get("error", "")[:25] for i in range(3)] == ["bad: why", "", "two: vocals cannot be had"]
    assert len({items.batch_key(i) for i in range(3)}) == 3


# reproduction


def test_a_number_is_always_the_same_excerpt():
    songs = [made_song("one"), made_song("two")]
    draw = [Excerpts(songs, FORM, seconds=0.5, remix=Remix(), seed=3)[11]["truth"] for _ in range(2)]
    assert torch.equal(*draw)


def test_another_seed_is_another_excerpt():
    songs = [made_song("one")]
    draws = [Excerpts(songs, FORM, seconds=0.5, seed=seed)[11]["truth"] for seed in range(2)]
    assert not torch.equal(*draws)


def test_no_draw_comes_twice_over_epochs_and_processes():
    seen = []
    for epoch in range(3):
        for rank in range(2):
            draws = EpochNumbers(10, rank, 2)
            draws.set_epoch(epoch)
            assert len(list(draws)) == len(draws)
            seen += list(draws)
    assert sorted(seen) == list(range(30))


def test_lightning_tells_the_epoch():
    loader = DataLoader(range(10), sampler=EpochNumbers(10), batch_size=2)
    _set_sampler_epoch(loader, 4)
    assert next(iter(loader.sampler)) == 40


# the module


def stems(**changes):
    def excerpts(songs, form, **kind):
        return Excerpts(songs, form, seconds=0.5, **kind)

    return Stems(Form(), excerpts, **{"generated": 8, "batch_size": 4, "per_epoch": 16} | changes)


def test_generated_songs_train_validate_and_test():
    data = stems()
    data.setup("fit")
    data.setup("test")
    assert len(data.train_dataloader()) == 4
    assert next(iter(data.train_dataloader()))["truth"].shape == (4, 2, 1, 8000)
    assert len(data.val_dataloader().dataset) == 2
    batch = next(iter(data.test_dataloader()))
    assert batch["truth"].shape == (1, 2, 1, 12 * 16000)
    assert batch["name"] == ["made_2_0000"]


def test_songs_are_renewed_after_an_epoch():
    data = stems(generated=8, renewed=3)
    data.setup("fit")
    first, second = ([song.name for song in data.train.fresh(number)] for number in (15, 16))
    assert second == [*first[3:], "made_0_0008", "made_0_0009", "made_0_0010"]
    once = data.train[40]["truth"]
    other = stems(generated=8, renewed=3)
    other.setup("fit")
    assert torch.equal(other.train[40]["truth"], once)  # as in a run that goes on, and in another process


def test_real_songs_beside_generated_ones(real_stems):
    data = stems(root=str(real_stems), group=r"(mir_[a-z]+)_\d+", memory=0.0)
    data.setup("fit")
    singers = (
        {name.rsplit("_", 1)[0] for name in names(data.train)},
        {name.rsplit("_", 1)[0] for name in names(data.val)},
    )
    assert any(name.startswith("made") for name in names(data.train))
    assert not any(name.startswith("made") for name in names(data.val))
    assert not singers[0] & {singer for singer in singers[1] if singer.startswith("mir")}
    assert data.train[0]["truth"].abs().max() > 0


def names(excerpts):
    return [song.name for song in (*excerpts.songs, *(excerpts.fresh(0) if excerpts.fresh else ()))]


# errors


def test_more_devices_than_the_batch_can_feed(monkeypatch):
    monkeypatch.setattr("tavtorch.lab.data.stems.process_of", lambda trainer: (0, 3))
    data = stems()
    data.setup("fit")
    with pytest.raises(ValueError, match=r"data.batch_size: 4 .* 3 devices; try 3"):
        data.train_dataloader()


def test_unfit_songs_stop_a_training_and_are_items_of_a_test(songs, tmp_path):
    root = tmp_path / "songs"
    shutil.copytree(songs, root)
    (root / "song_3" / "drums.wav").write_text("la la la")
    (root / "song_5" / "VOCALS.flac").touch()
    data = stems(root=str(root), generated=0, test=1.0)
    with pytest.raises(ValueError, match=r"(?s)mend these songs.*song_3.drums.wav: not a.*song_5: VOCALS.flac and"):
        data.setup("fit")
    data.setup("test")
    batches = list(data.test_dataloader())
    assert sum("inputs" in batch for batch in batches) == 6
    assert {name for batch in batches for name in batch["errors"]} == {"song_3", "song_5"}


def test_nothing_to_learn_from():
    with pytest.raises(ValueError, match="no song to learn from"):
        stems(generated=0).setup("fit")


def test_a_song_without_the_stem_that_the_network_wants():
    with pytest.raises(ValueError, match="one: drums cannot be had from accompaniment"):
        Excerpts([SongInMemory("one", {"accompaniment": torch.zeros(1, 10)}, 10)], Form(stems=["drums"]))
