import os
import subprocess
import threading
import time
from functools import partial

import lightning as L
import numpy as np
import pytest
import torch

from tavtorch import (
    Library,
    Solution,
    Stop,
    circle,
    fill,
    inpaint_patches,
    kass_force,
    recognise,
    rof,
    segment,
    separate_components,
)
from tavtorch.atomic import whole
from tavtorch.audio.recognition import fingerprint_stream
from tavtorch.image.splitting.split import Split
from tavtorch.lab.data.batches import loader
from tavtorch.lab.data.files import About, Picture, read_audio, read_picture, write_audio, write_picture
from tavtorch.lab.data.folder import Files, Folder
from tavtorch.lab.data.media import PICTURE, RECORDING, long_recordings, with_circle, with_hole
from tavtorch.lab.data.music import SONG
from tavtorch.lab.data.results import Results
from tavtorch.lab.kinds.contours import write_contours
from tavtorch.lab.kinds.copies import write_filled
from tavtorch.lab.kinds.forces import write_field
from tavtorch.lab.kinds.music import write_answers, write_song
from tavtorch.lab.kinds.notes import write_components
from tavtorch.lab.kinds.pictures import write_image
from tavtorch.lab.kinds.splits import write_parts
from tavtorch.lab.kinds.stems import write_stems
from tavtorch.lab.kinds.waves import write_wave
from tavtorch.lab.task import Task
from tavtorch.lab.write import Write


def halves(wave, sample_rate):
    return torch.stack((wave / 2, wave / 2), 1)


def save(path, output, batch):
    return write_stems(path, output, batch, stems=["vocals", "rest"])


def save_with_long_name(path, output, batch):
    with whole(path.with_name(f"{path.name}.result")) as part:
        part.touch()


@pytest.fixture
def recordings(tmp_path):
    for name in ("a.wav", "live/b.flac"):
        write_audio(tmp_path / "in" / name, 0.1 * torch.randn(2, 8000), 8000)
    return tmp_path / "in"


def predict(root, folder, save=save, op=halves, media=RECORDING, settings="", threads=None, **options):
    callback, task = Write(str(folder), settings=settings, threads=threads), Task(op, save=save)
    data = Folder(str(root), media, results=str(folder), settings=settings, **options)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[callback], enable_checkpointing=False
    )
    trainer.predict(task, data, return_predictions=False)
    return callback.written, task.errors


def test_one_file_a_stem(recordings, tmp_path):
    assert predict(recordings, tmp_path / "out") == (2, {})
    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.[wf]*"))
    assert files == ["a/rest.wav", "a/vocals.wav", "live/b/rest.flac", "live/b/vocals.flac"]
    wave, rate = read_audio(tmp_path / "out/a/vocals.wav")
    assert rate == 8000
    torch.testing.assert_close(wave, read_audio(recordings / "a.wav")[0] / 2)


def halved_blocks(blocks, sample_rate, *, model, loud=1.0):
    """Of a network `model` that is a number."""
    for wave in blocks:
        yield torch.stack((wave * model, wave * loud), 1)


class Half(torch.nn.Module):
    def __mul__(self, other):
        return other * 0.5

    __rmul__ = __mul__

    def forward(self, wave, sample_rate):
        raise AssertionError("a recording in blocks is never there as a whole")


def test_recordings_in_blocks_go_from_disk_to_disk(recordings, tmp_path):
    write_audio(recordings / "live/c.wav", 0.1 * torch.randn(1, 200_000), 16000, subtype="PCM_16")
    (recordings / "d.wav").write_text("la la la")
    content = (recordings / "live/b.flac").read_bytes()
    (recordings / "live/e.flac").write_bytes(content[: len(content) * 3 // 4])
    callback = Write(str(tmp_path / "out"))
    task = Task(Half(), inference=partial(halves, loud=0.25), in_blocks=halved_blocks, save=save)
    data = Folder(str(recordings), long_recordings(), results=str(tmp_path / "out"))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    L.Trainer(accelerator="cpu", callbacks=[callback], **quiet).predict(task, data, return_predictions=False)
    assert callback.written == 3 and round(callback.seconds, 3) == 1 + 1 + 12.5
    assert "d.wav: not a recording" in task.errors["d"] and "e.flac: the recording is cut" in task.errors["live/e"]
    assert sorted(path.name for path in (tmp_path / "out/live").iterdir()) == ["b", "c"]
    wave, rate = read_audio(tmp_path / "out/live/c/vocals.wav")
    whole = read_audio(recordings / "live/c.wav")[0]
    assert rate == 16000 and (wave - 0.5 * whole).abs().max() < 2**-15
    assert (read_audio(tmp_path / "out/live/c/rest.wav")[0] - 0.25 * whole).abs().max() < 2**-14  # with its settings


def test_one_file_a_component(recordings, tmp_path):
    op = partial(separate_components, components=2, stop=Stop(max_iter=2))
    assert predict(recordings, tmp_path / "out", write_components, op)[0] == 2
    parts = [read_audio(tmp_path / "out/live/b" / f"component_{k}.flac")[0] for k in (1, 2)]
    torch.testing.assert_close(sum(parts), read_audio(recordings / "live/b.flac")[0], atol=1e-6, rtol=0)


def test_a_cleaned_recording_keeps_its_format(recordings, tmp_path):
    assert predict(recordings, tmp_path / "out", write_wave, lambda wave, sample_rate: wave / 2)[0] == 2
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["a.wav", "b.flac"]
    wave, _ = read_audio(tmp_path / "out/live/b.flac")
    torch.testing.assert_close(wave, read_audio(recordings / "live/b.flac")[0] / 2, atol=1e-4, rtol=0)


def test_what_is_done_is_not_done_again(recordings, tmp_path):
    predict(recordings, tmp_path / "out")
    assert predict(recordings, tmp_path / "out") == (0, {})
    (tmp_path / "out/a/vocals.wav").unlink()
    (tmp_path / "out/a/rest.wav").unlink()
    (tmp_path / "out/a").rmdir()
    assert predict(recordings, tmp_path / "out") == (1, {})


def test_what_changed_is_done_again(recordings, tmp_path):
    write_audio(recordings / "a.wav", 0.1 * torch.randn(2, 8000), 8000)
    predict(recordings, tmp_path / "out")
    assert predict(recordings, tmp_path / "out", settings="others") == (2, {})
    write_audio(recordings / "a.wav", 0.1 * torch.randn(2, 8000), 8000)
    assert predict(recordings, tmp_path / "out", settings="others") == (1, {})


def test_a_result_that_did_not_converge_is_recorded_as_such(pictures, tmp_path):
    op = partial(rof, weight=0.1, stop=Stop(1e-9, 2, 1))
    predict(pictures, tmp_path / "out", write_image, op, PICTURE)
    lines = Results(tmp_path / "out").lines
    assert not lines["a"].converged and not lines["b"].converged


def test_a_result_with_too_long_a_name_is_told_and_the_others_are_done(recordings, tmp_path):
    write_audio(recordings / f"{'n' * 250}.wav", 0.1 * torch.randn(2, 8000), 8000)
    written, errors = predict(recordings, tmp_path / "out", save_with_long_name)
    assert written == 2
    assert "rename the file" in errors["n" * 250]


def test_what_a_killed_run_left_is_removed(recordings, tmp_path):
    finished = subprocess.Popen(["true"])
    finished.wait()
    (tmp_path / f"out/live/.{finished.pid}.b").mkdir(parents=True)
    (tmp_path / f"out/.{os.getpid()}.other").touch()  # of a run that goes on
    predict(recordings, tmp_path / "out")
    assert not (tmp_path / f"out/live/.{finished.pid}.b").exists()
    assert (tmp_path / f"out/.{os.getpid()}.other").exists()


def test_a_bad_file_is_told_and_the_others_are_done(recordings, tmp_path):
    (recordings / "c.wav").write_text("la la la")
    written, errors = predict(recordings, tmp_path / "out")
    assert written == 2
    assert "c.wav: not a recording" in errors["c"]


def test_a_result_that_cannot_be_told_leaves_whole_songs_only(recordings, tmp_path):
    def dies_between_stems(path, output, batch):
        if batch["name"] == ["a"]:
            return save(path, output, batch)
        return write_stems(path, output[:, :1], batch, stems=["vocals", "rest"])  # fails after the first stem

    written, errors = predict(recordings, tmp_path / "out", dies_between_stems)
    assert written == 1 and errors.keys() == {"live/b"}
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


HOLES = {
    "a corner": lambda y, x: (y < 9) & (x < 12),
    "whole rows": lambda y, x: (y > 11) & (y < 19),
    "few known pixels": lambda y, x: ~((y > 10) & (y < 22) & (x > 12) & (x < 24)),
}


@pytest.mark.parametrize("place", HOLES)
@pytest.mark.parametrize("levels", [255, 65535])
def test_holes_in_files_are_filled_in_their_depth(tmp_path, levels, place):
    """Transparent pixels of any place are filled and become opaque; the others are those of the file, to the bit."""
    y, x = torch.meshgrid(torch.arange(30), torch.arange(36), indexing="ij")
    missing = HOLES[place](y, x)[None]
    known = torch.stack([0.5 + 0.4 * torch.sin(y / (3 + k)) * torch.cos(x / 4) for k in range(3)])
    write_picture(tmp_path / "in/a.png", Picture(known, (~missing).float(), levels))
    write_picture(tmp_path / "in/b.tif", Picture(known, (~missing).float(), levels))
    done = predict(tmp_path / "in", tmp_path / "out", write_filled, inpaint_patches, with_hole())
    assert done == (2, {})
    for name in ("a.png", "b.tif"):
        before, after = read_picture(tmp_path / "in" / name), read_picture(tmp_path / "out" / name)
        assert after.levels == levels and after.alpha is None
        assert torch.equal(torch.where(missing, 0, after.image), torch.where(missing, 0, before.image))
        used = {tuple(color) for color in before.image[:, ~missing[0]].T.tolist()}
        assert {tuple(color) for color in after.image[:, missing[0]].T.tolist()} <= used


def test_several_fillings_of_a_file_are_a_folder(tmp_path):
    alpha = torch.ones(1, 40, 44)
    alpha[:, 12:24, 15:28] = 0
    write_picture(tmp_path / "in/a.png", Picture(torch.rand(3, 40, 44), alpha, 65535))
    op = partial(inpaint_patches, n=3)
    save = partial(write_filled, sources=True)
    assert predict(tmp_path / "in", tmp_path / "out", save, op, with_hole()) == (1, {})
    names = {path.relative_to(tmp_path / "out/a").as_posix() for path in (tmp_path / "out/a").iterdir()}
    assert names == {f"{k}{kind}" for k in (1, 2, 3) for kind in (".png", ".sources.npz")}
    fillings = [read_picture(path).image for path in sorted((tmp_path / "out/a").glob("*.png"))]
    assert len(fillings) == 3 and not torch.equal(fillings[0], fillings[1])
    assert predict(tmp_path / "in", tmp_path / "out", save, op, with_hole()) == (0, {})  # done


def test_results_are_written_beside_the_op(pictures, tmp_path):
    together, names = threading.Barrier(2, timeout=60), []

    def save(path, output, batch):
        names.append(path.name)
        if len(names) <= 2:
            together.wait()  # for the other one, which is written at the same time
        return write_image(path, output, batch)

    count, errors = predict(pictures, tmp_path / "out", save, halved, PICTURE, threads=2)
    assert count == len(names) == len(list(pictures.glob("*"))) and not errors


def test_few_results_wait_to_be_written(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("tavtorch.lab.write._MOST", 1)
    writing, most = [], []

    def save(path, output, batch):
        writing.append(path)
        most.append(len(writing))
        time.sleep(0.05)
        writing.remove(path)
        return write_image(path, output, batch)

    predict(pictures, tmp_path / "out", save, halved, PICTURE, threads=4)
    assert set(most) == {1}


def test_pictures_in_another_format(pictures, tmp_path):
    predict(pictures, tmp_path / "out", partial(write_image, suffix=".tif"), halved, PICTURE)
    names = ["a.tif", "b.tif", "c.jpg.tif", "c.png.tif", "deep/b.tif"]
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")) == names
    image = read_picture(pictures / "deep/b.png").image / 2
    assert (read_picture(tmp_path / "out/deep/b.tif").image - image).abs().max() < 1e-5
    written, errors = predict(pictures, tmp_path / "none", partial(write_image, suffix=".xyz"), halved, PICTURE)
    assert written == 0 and "pictures are written as .png" in errors["a"]


def test_a_writer_says_what_it_wrote(tmp_path):
    disk, path = fill(circle((16, 16), 8, 64), (33, 33)).float(), tmp_path / "a.b"
    file = {"suffix": ".png", "alpha": None, "levels": 255, "about": About()}
    batch = {"name": ["a.b"], "inputs": {"image": disk}, "file": [file], "errors": {}}
    one = torch.ones(1)
    for name, writer, output in [
        ("a.b.png", write_image, disk),
        ("a.b.webp", partial(write_image, suffix=".webp"), Solution(disk, one, one, one > 0)),
        ("a.b", write_parts, Split(disk, 0 * disk)),
        ("a.b", write_contours, Solution(circle((16, 16), 8, 64), one, one, one > 0)),
        ("a.b.npy", write_field, kass_force(disk)),
    ]:
        assert writer(path, output, batch) == tmp_path / name and (tmp_path / name).exists()


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


def test_a_force_is_an_array(pictures, tmp_path):
    predict(pictures / "b.tif", tmp_path / "out", write_field, kass_force, PICTURE)
    assert np.load(tmp_path / "out/b.npy").shape == (2, 6, 8)


def test_a_contour_is_a_table_and_a_mask(tmp_path):
    disk = fill(circle((16, 16), 8, 64), (33, 33))[0].float()
    write_picture(tmp_path / "disk.png", Picture(disk))
    predict(tmp_path / "disk.png", tmp_path / "out", write_contours, segment, with_circle(n=80))
    assert (read_picture(tmp_path / "out/disk/mask.png").image - disk).abs().mean() < 0.03
    lines = (tmp_path / "out/disk/contour.csv").read_text().splitlines()
    assert lines[0] == "x,y" and len(lines) == 81


# music


def test_songs_into_a_library_and_out_again(tmp_path, caplog):
    songs = {name: 0.1 * torch.randn(1, 20 * 8000).cumsum(-1).diff(n=1) for name in ("one", "two")}
    for name, wave in songs.items():
        write_audio(tmp_path / f"in/{name}.wav", wave, 8000)
    write_audio(tmp_path / "in/silence.wav", torch.zeros(1, 8000), 8000)
    write_audio(tmp_path / "clip.wav", songs["two"][:, 5 * 8000 : 11 * 8000], 8000)
    write_audio(tmp_path / "mix.wav", torch.cat((songs["two"], songs["one"]), 1), 8000)
    write_audio(tmp_path / "noise.wav", torch.randn(1, 6 * 8000), 8000)
    library = Library(tmp_path / "library.sqlite")
    shelve = partial(write_song, library=library)
    with caplog.at_level("INFO", "tavtorch"):
        written, errors = predict(tmp_path / "in", tmp_path / "none", shelve, fingerprint_stream, SONG)
    assert written == 2 and "no peaks" in errors["silence"] and len(library) == 2
    assert f"2 written to {tmp_path / 'library.sqlite'}" in caplog.text
    ask = {"save": write_answers, "op": partial(recognise, library=library), "media": RECORDING}
    answers = {}
    with caplog.at_level("INFO", "tavtorch"):
        for name in ("clip", "mix", "noise"):
            predict(tmp_path / f"{name}.wav", tmp_path / "out", **ask)
            answers[name] = (tmp_path / f"out/{name}.csv").read_text().splitlines()
    assert answers["clip"][0] == "name,offset,votes,score,accepted,speed,tempo,pitch"
    assert answers["clip"][1].startswith("two,4.99") and answers["clip"][1].endswith(",1.0,1.0,1.0")
    assert [line.split(",")[0] for line in answers["mix"]] == ["name", "two", "one"]
    assert "clip: two from 0:05.0 on" in caplog.text and "mix: 0:00.1 to 0:20.0: two" in caplog.text
    assert "noise: nothing that" in caplog.text or "but not surely" in caplog.text
