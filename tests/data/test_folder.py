from itertools import chain

import pytest
import torch
from torch.utils.data import TensorDataset

from tavtorch.data.files import write_audio
from tavtorch.data.folder import Files, Folder, shard


def fill(root, *names):
    for name in names:
        write_audio(root / name, 0.1 * torch.randn(1, 800), 8000)


def names(files):
    return [files[i]["name"] for i in range(len(files))]


def test_a_folder_with_its_sub_folders(tmp_path):
    fill(tmp_path, "b.wav", "a.flac", "live/b.wav")
    (tmp_path / "notes.txt").touch()
    assert names(Files(tmp_path)) == ["a", "b", "live/b"]


def test_one_file(tmp_path):
    fill(tmp_path, "a.wav", "b.wav")
    item = Files(tmp_path / "b.wav")[0]
    assert item["name"] == "b"
    assert item["inputs"]["wave"].shape == (1, 1, 800)
    assert item["inputs"]["sample_rate"] == 8000


def test_names_that_differ_in_their_suffix_keep_it(tmp_path):
    fill(tmp_path, "a.wav", "a.mp3", "b.wav")
    assert names(Files(tmp_path)) == ["a.mp3", "a.wav", "b"]


def test_done_ones_are_left_out(tmp_path):
    fill(tmp_path, "in/a.wav", "in/b.wav", "in/c.wav")
    (tmp_path / "out/a").mkdir(parents=True)
    fill(tmp_path, "out/b.flac")
    assert names(Files(tmp_path / "in", tmp_path / "out")) == ["c"]
    folder = Folder(str(tmp_path / "in"), results=str(tmp_path / "out"), overwrite=True)
    folder.setup("predict")
    assert names(folder.files) == ["a", "b", "c"]


def test_a_bad_file_is_an_item_with_an_error(tmp_path):
    fill(tmp_path, "a.wav")
    (tmp_path / "b.wav").write_text("la la la")
    assert "b.wav: not a recording" in Files(tmp_path)[1]["error"]


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_each_item_goes_to_one_process(world):
    items = TensorDataset(torch.arange(7))
    shares = [[int(item) for (item,) in shard(items, 7, (rank, world))] for rank in range(world)]
    assert sorted(chain(*shares)) == list(range(7))


# errors


def test_more_processes_than_items():
    with pytest.raises(ValueError, match="trainer.devices: 3 processes share 2 items"):
        shard(TensorDataset(torch.arange(2)), 2, (0, 3))


def test_no_such_folder(tmp_path):
    with pytest.raises(ValueError, match="data.root.*does not exist"):
        Files(tmp_path / "nowhere")


def test_no_recording_in_it(tmp_path):
    with pytest.raises(ValueError, match="data.root: no audio file"):
        Files(tmp_path)


def test_a_folder_has_no_truth(tmp_path):
    with pytest.raises(ValueError, match="run=predict"):
        Folder(str(tmp_path)).setup("test")
