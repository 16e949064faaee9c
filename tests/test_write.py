import lightning as L
import pytest
import torch

from tavtorch.data.batches import loader
from tavtorch.data.files import Picture, read_audio, read_picture, write_audio, write_picture
from tavtorch.data.folder import PICTURE, RECORDING, Files, Folder
from tavtorch.image.split import Split
from tavtorch.task import Task
from tavtorch.write import Write, write_image, write_parts, write_stems


def halves(wave, sample_rate):
    return torch.stack((wave / 2, wave / 2), 1)


def save(place, output, batch):
    write_stems(place, output, batch, stems=["vocals", "rest"])


@pytest.fixture
def recordings(tmp_path):
    for name in ("a.wav", "live/b.flac"):
        write_audio(tmp_path / "in" / name, 0.1 * torch.randn(2, 8000), 8000)
    return tmp_path / "in"


def predict(root, folder, save=save, op=halves, media=RECORDING, **options):
    callback, task = Write(str(folder), save), Task(op)
    data = Folder(str(root), media, results=str(folder), **options)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[callback], enable_checkpointing=False
    )
    trainer.predict(task, data, return_predictions=False)
    return callback.written, task.errors


def test_one_file_a_stem(recordings, tmp_path):
    assert predict(recordings, tmp_path / "out") == (2, {})
    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.wav"))
    assert files == ["a/rest.wav", "a/vocals.wav", "live/b/rest.wav", "live/b/vocals.wav"]
    wave, rate = read_audio(tmp_path / "out/a/vocals.wav")
    assert rate == 8000
    torch.testing.assert_close(wave, read_audio(recordings / "a.wav")[0] / 2)


def test_what_is_done_is_not_done_again(recordings, tmp_path):
    predict(recordings, tmp_path / "out")
    assert predict(recordings, tmp_path / "out") == (0, {})
    (tmp_path / "out/a/vocals.wav").unlink()
    (tmp_path / "out/a/rest.wav").unlink()
    (tmp_path / "out/a").rmdir()
    assert predict(recordings, tmp_path / "out") == (1, {})


def test_a_bad_file_is_told_and_the_others_are_done(recordings, tmp_path):
    (recordings / "c.wav").write_text("la la la")
    written, errors = predict(recordings, tmp_path / "out")
    assert written == 2
    assert "c.wav: not a recording" in errors["c"]


def test_a_stop_in_the_middle_leaves_whole_songs_only(recordings, tmp_path):
    def dies_between_stems(place, output, batch):
        if batch["name"] == ["a"]:
            return save(place, output, batch)
        return write_stems(place, output[:, :1], batch, stems=["vocals", "rest"])  # fails after the first stem

    with pytest.raises(ValueError, match="shorter|longer|argument"):
        predict(recordings, tmp_path / "out", dies_between_stems)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.wav")) == ["rest.wav", "vocals.wav"]
    assert predict(recordings, tmp_path / "out")[0] == 1


def test_a_place_that_cannot_be_written(recordings, tmp_path):
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(ValueError, match="cannot be written"):
        predict(recordings, tmp_path / "out")


def test_files_are_read_one_at_a_time(recordings):
    batch = next(iter(loader(Files(recordings, RECORDING), (0, 1))))
    assert batch["inputs"]["wave"].shape == (1, 2, 8000)


# pictures


@pytest.fixture
def pictures(tmp_path):
    """Of four formats and depths and two sizes, one of them transparent."""
    for name, picture in {
        "a.png": Picture(torch.rand(3, 6, 8), torch.rand(1, 6, 8)),
        "b.tif": Picture(torch.rand(1, 6, 8), None, 65535),
        "deep/b.png": Picture(torch.rand(3, 6, 8), None, 65535),
        "c.jpg": Picture(torch.full((3, 9, 7), 0.5)),
        "c.png": Picture(torch.rand(1, 9, 7)),
    }.items():
        write_picture(tmp_path / "in" / name, picture)
    return tmp_path / "in"


def halved(image):
    return image / 2


@pytest.mark.parametrize("batch_size", [1, 4])
def test_pictures_keep_their_format_depth_and_transparency(pictures, tmp_path, batch_size):
    written = predict(pictures, tmp_path / "out", write_image, halved, PICTURE, batch_size=batch_size)
    assert written == (5, {})
    names = {path.relative_to(pictures) for path in pictures.rglob("*.*")}
    assert {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.*")} == names
    for name in names:
        before, after = read_picture(pictures / name), read_picture(tmp_path / "out" / name)
        assert after.levels == before.levels
        assert (after.image - before.image / 2).abs().max() < 0.6 / before.levels + 1e-6 + (
            name.suffix == ".jpg"
        ) * 0.05
        assert (after.alpha is None) == (before.alpha is None)
        assert before.alpha is None or torch.equal(after.alpha, before.alpha)


def test_pictures_that_are_done_are_not_done_again(pictures, tmp_path):
    again = {"save": write_image, "op": halved, "media": PICTURE}
    predict(pictures, tmp_path / "out", **again)
    (tmp_path / "out/c.jpg").unlink()
    assert predict(pictures, tmp_path / "out", **again) == (1, {})


def test_the_parts_of_a_split_are_two_pictures(pictures, tmp_path):
    predict(pictures / "b.tif", tmp_path / "out", write_parts, lambda image: Split(image, 0 * image), PICTURE)
    parts = {path.stem: read_picture(path).image for path in (tmp_path / "out/b").iterdir()}
    assert torch.allclose(parts["structure"], read_picture(pictures / "b.tif").image, atol=1e-4)
    assert torch.allclose(parts["texture"], torch.tensor(0.5), atol=1e-4)
