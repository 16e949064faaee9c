"""Datasets as processes that read ahead get them: started afresh, they receive the pickled dataset and send items."""

import pickle
from functools import partial

import pytest
import torch
from torch.utils.data import DataLoader

from tavtorch.lab.data.batches import loader
from tavtorch.lab.data.damage import noisy
from tavtorch.lab.data.drawings import Drawings, scene
from tavtorch.lab.data.files import Picture, write_audio, write_picture
from tavtorch.lab.data.folder import Files
from tavtorch.lab.data.generated import generated_songs
from tavtorch.lab.data.images import DamagedPictures
from tavtorch.lab.data.media import PICTURE, RECORDING, STREAM, with_circle, with_hole
from tavtorch.lab.data.music import SONG, Clips
from tavtorch.lab.data.recordings import DamagedRecordings
from tavtorch.lab.data.songs import Form
from tavtorch.lab.data.stems import Excerpts, Remix, WholeSongs
from tavtorch.lab.data.synthetic.shapes import disks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("files")
    write_picture(place / "a.png", Picture(torch.rand(3, 12, 12), None, 255))
    write_audio(place / "a.wav", 0.1 * torch.randn(1, 8000), 8000)
    return place


def datasets(folder):
    songs, form = generated_songs(2, 1.0, sample_rate=8000, seed=0), Form(sample_rate=8000)
    pictures = (PICTURE, with_hole(color=[1.0, 1.0, 0.0]), with_hole(holes=str(folder / "a.png")), with_circle())
    yield from (Files([folder / "a.png"], media) for media in pictures)
    yield from (Files([folder / "a.wav"], media) for media in (RECORDING, STREAM, SONG))
    yield DamagedPictures([("a", folder / "a.png")], partial(noisy, sigma=0.1), color=False, size=None, seed=0)
    yield DamagedRecordings([("a", folder / "a.wav")], untouched_wave, seed=0)
    yield Excerpts(songs, form, seconds=0.5, remix=Remix())
    yield WholeSongs(songs, form)
    yield Clips(
        {"a": torch.randn(800)}, {"b": torch.randn(800)}, torch.randn(800), {"white": {"white": 0.0}}, 400, 2, 0
    )
    yield Drawings({"disk": partial(scene, shapes=partial(disks, size=16))})


def untouched_wave(wave, generator):
    return {"wave": wave}


def test_every_dataset_and_its_items_can_be_pickled(folder):
    for dataset in datasets(folder):
        item = pickle.loads(pickle.dumps(dataset))[0]
        assert "error" not in item or "hole" in item["error"] or "mask" in item["error"]
        pickle.loads(pickle.dumps(item))


@pytest.mark.slow
def test_a_folder_is_read_ahead_by_a_process_that_is_started_afresh(folder):
    batches = loader(Files([folder], PICTURE), (0, 1), workers=1)
    ahead = DataLoader(batches.dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    (batch,) = list(ahead)
    assert batch["name"] == ["a"] and batch["inputs"]["image"].shape == (1, 3, 12, 12)
