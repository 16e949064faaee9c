"""The two scripts as a user runs them: each test starts them as programs of their own."""

import csv
import re
import signal
import time
from pathlib import Path

import pytest
import torch
from programs import Program

from tavtorch.lab.data.files import Picture, read_audio, read_picture, write_audio, write_picture
from tavtorch.lab.data.synthetic import band
from tavtorch.lab.page import Section

TOP = Path(__file__).resolve().parents[1]
TINY = [
    "task.op.width=8",
    "data.excerpts.seconds=0.5",
    "data.batch_size=4",
    "data.per_epoch=32",
    "trainer.max_epochs=2",
    "trainer.precision=32-true",  # as evaluate.py has it, so that their scores are the same
]
TWO = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp"]


def start(script, out, *overrides):
    return Program(TOP / script, f"hydra.run.dir={out}", *overrides, folder=TOP)


def run(script, out, *overrides, code=0):
    process = start(script, out, *overrides)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == code, said
    return said


def on(songs):
    return ["data=stems", f"data.root={songs}", "data.generated=0"]


def scores(out):
    """The last test scores that a run logged."""
    (table,) = sorted((out / "csv").glob("version_*/metrics.csv"))[-1:]
    rows = [row for row in csv.DictReader(table.open()) if any(key.startswith("test/") and row[key] for key in row)]
    return {key: float(value) for key, value in rows[-1].items() if key.startswith("test/")}


@pytest.fixture(scope="module")
def trained(songs, tmp_path_factory):
    """A run of train.py on the little songs."""
    out = tmp_path_factory.mktemp("trained") / "run"
    said = run("train.py", out, *TINY, *on(songs))
    return out, said


def best(trained):
    return ["task.op.width=8", f"ckpt={trained[0] / 'checkpoints/best.ckpt'}"]


# train.py


def test_training_ends_with_scores_and_a_page(trained):
    out, said = trained
    assert "vocals" in said
    assert str(out / "report.html") in said
    page = (out / "report.html").read_text()
    assert "Learning curves" in page
    assert page.count("<audio") == 10  # two test songs of five sounds
    assert {path.name for path in (out / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert list((out / "tensorboard").rglob("events*"))


def test_the_loss_falls(trained):
    table = next((trained[0] / "csv").rglob("metrics.csv"))
    losses = [float(row["val/loss"]) for row in csv.DictReader(table.open()) if row["val/loss"]]
    assert losses[-1] < losses[0]


def test_checkpoints_hold_no_code(trained):
    state = torch.load(trained[0] / "checkpoints/best.ckpt", weights_only=True)
    assert state["made_by"]["width"] == 8


def test_the_best_checkpoint_holds_averaged_weights_and_settings_alone(trained):
    best, last = (torch.load(trained[0] / f"checkpoints/{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert best.keys() == {"state_dict", "epoch", "global_step", "pytorch-lightning_version", "made_by"}
    sizes = [(trained[0] / f"checkpoints/{name}.ckpt").stat().st_size for name in ("best", "last")]
    assert sizes[0] < 0.3 * sizes[1] and best.keys() < last.keys()
    if best["epoch"] == last["epoch"]:
        torch.testing.assert_close(best["state_dict"], last["state_dict"])  # and not current_model_state


def test_a_killed_run_goes_on_to_the_same_result(songs, tmp_path):
    long = [*TINY, *on(songs), "trainer.max_epochs=5", "data.per_epoch=64"]
    run("train.py", tmp_path / "alone", *long)
    last = tmp_path / "killed/checkpoints/last.ckpt"
    process = start("train.py", tmp_path / "killed", *long)
    while not last.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert torch.load(last, weights_only=True)["epoch"] < 4
    run("train.py", tmp_path / "killed", *long, "ckpt=last")
    alone, killed = (
        torch.load(tmp_path / kind / "checkpoints/last.ckpt", weights_only=True) for kind in ("alone", "killed")
    )
    assert killed["epoch"] == alone["epoch"] == 4
    for name in ("state_dict", "current_model_state"):
        torch.testing.assert_close(killed[name], alone[name])


def test_a_training_that_is_told_to_stop_goes_on_where_its_folder_was_moved(songs, tmp_path):
    """Exit code 143 and one sentence; the best epoch is not replaced by a worse one."""
    long = [*TINY, *on(songs), "trainer.max_time=null", "trainer.max_epochs=500"]
    process = start("train.py", tmp_path / "run", *long)
    while not (tmp_path / "run/checkpoints/last.ckpt").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 143 and "Traceback" not in said
    assert "stopped; the same command with ckpt=last goes on from the last whole epoch" in said
    moved = (tmp_path / "run").rename(tmp_path / "moved") / "checkpoints"
    epoch = torch.load(moved / "last.ckpt", weights_only=True)["epoch"]
    poor = [*long[:-1], f"trainer.max_epochs={epoch + 2}", "task.optimizer.lr=1000.0", "ckpt=last"]
    before = torch.load(moved / "best.ckpt", weights_only=True)["epoch"]
    run("train.py", tmp_path / "moved", *poor)
    assert torch.load(moved / "best.ckpt", weights_only=True)["epoch"] in (before, epoch + 1)


def test_going_on_with_nothing_starts_afresh(songs, tmp_path):
    said = run("train.py", tmp_path, *TINY, *on(songs), "ckpt=last", "trainer.max_epochs=1")
    assert "starting afresh" in said


# evaluate.py


def test_scoring_a_checkpoint(trained, songs, tmp_path):
    run("evaluate.py", tmp_path, *on(songs), *best(trained))
    assert scores(tmp_path) == pytest.approx(scores(trained[0]), nan_ok=True)


def test_two_processes_score_like_one(trained, songs, tmp_path):
    run("evaluate.py", tmp_path, *on(songs), *best(trained), *TWO)
    assert scores(tmp_path) == pytest.approx(scores(trained[0]), nan_ok=True, rel=1e-4, abs=1e-4)


def test_two_processes_train_like_one(trained, songs, tmp_path):
    """A batch is shared out and gradients are averaged: without dropout only rounding differs."""
    sure = [*TINY, *on(songs), "task.op.dropout=0.0"]
    run("train.py", tmp_path / "one", *sure)
    run("train.py", tmp_path / "two", *sure, *TWO)
    assert scores(tmp_path / "two") == pytest.approx(scores(tmp_path / "one"), nan_ok=True, rel=1e-2, abs=1e-2)


@pytest.mark.parametrize("processes", [[], TWO], ids=["one process", "two processes"])
def test_a_folder_with_a_bad_file(trained, tmp_path, processes):
    for i in range(3):
        write_audio(tmp_path / f"in/{i}.ogg", 0.1 * torch.randn(2, 22050), 22050)
    (tmp_path / "in/text.wav").write_text("la la la")
    predict = ["data=folder", f"data.root={tmp_path / 'in'}", "run=predict", *best(trained)]
    said = run("evaluate.py", tmp_path / "out", *predict, *processes, code=1)
    assert re.search(r"3 written to .*, 1 passed over; [0-9.]+ × real time", said)
    assert "text.wav: not a recording" in said
    written = sorted(
        path.relative_to(tmp_path / "out/predictions").as_posix()
        for path in (tmp_path / "out/predictions").rglob("*.ogg")
    )
    assert written == [f"{i}/{stem}.ogg" for i in range(3) for stem in ("accompaniment", "vocals")]
    wave, rate = read_audio(tmp_path / "out/predictions/0/vocals.ogg")
    assert (wave.shape, rate) == ((2, 22050), 22050)
    assert "0 written" in run("evaluate.py", tmp_path / "out", *predict, code=1)


# pictures


@pytest.fixture
def pictures(tmp_path):
    for i, size in enumerate([(20, 24), (20, 24), (18, 16)]):
        write_picture(tmp_path / f"in/{i}.png", Picture(torch.rand(3, *size), None, 65535))
    return tmp_path / "in"


@pytest.mark.parametrize("processes", [[], TWO], ids=["one process", "two processes"])
def test_pictures_are_scored(pictures, tmp_path, processes):
    said = run("evaluate.py", tmp_path / "out", "task=rof", f"data.root={pictures}", "data.batch_size=2", *processes)
    assert "PSNR, dB" in said and "converged" in said
    page = (tmp_path / "out/report.html").read_text()
    assert page.count('data-caption="the way to the result"') == 2
    assert scores(tmp_path / "out")["test/result/psnr"] > scores(tmp_path / "out")["test/input/psnr"] - 3


def test_a_folder_of_pictures(pictures, tmp_path):
    (pictures / "text.png").write_text("la la la")
    predict = ["task=rof", "data=folder", f"data.root={pictures}", "run=predict", "data.batch_size=2"]
    said = run("evaluate.py", tmp_path / "out", *predict, code=1)
    assert re.search(r"3 written to .*, 1 passed over; [0-9.]+ a second", said) and "text.png: not a picture" in said
    assert sorted(path.name for path in (tmp_path / "out/predictions").iterdir()) == ["0.png", "1.png", "2.png"]
    assert read_picture(tmp_path / "out/predictions/2.png").levels == 65535
    assert "0 written" in run("evaluate.py", tmp_path / "out", *predict, code=1)


def test_fewer_items_than_processes(tmp_path):
    """The process without one does nothing, and says nothing."""
    write_picture(tmp_path / "in/a.png", Picture(torch.rand(3, 20, 24), None, 255))
    one = ["task=rof", f"data.root={tmp_path / 'in'}", *TWO]
    said = run("evaluate.py", tmp_path / "predicted", *one, "data=folder", "run=predict")
    assert "1 written" in said and "Warning" not in said
    assert not list((tmp_path / "predicted").glob("csv")) and not list((tmp_path / "predicted").glob("tensorboard"))
    said = run("evaluate.py", tmp_path / "scored", *one)
    assert said.count("PSNR, dB") == 1 and "Warning" not in said and "recommended" not in said
    assert (tmp_path / "scored/report.html").is_file()


# several runs


def test_several_runs_are_on_one_page(tmp_path):
    """What failed stands there with its reason, the others are done, and the exit code tells."""
    settings = ["experiment=denoise_tikhonov,unet_mae_20", "++data.names=[camera],[nobody]", "++data.size=32"]
    said = run("evaluate.py", tmp_path, f"hydra.sweep.dir={tmp_path}", *settings, "-m", code=1)
    assert "failed: experiment=denoise_tikhonov ++data.names=[nobody]" in said and "Traceback" not in said
    page = (tmp_path / "report/index.html").read_text()
    assert page.count("<section ") == 4 and page.count("Not run</h4>") == 3
    assert "no picture &#39;nobody&#39; comes with scikit-image" in page
    assert page.count("is not trained yet; python train.py experiment=unet_mae_20") == 2


@pytest.mark.slow
def test_every_task_runs(tmp_path):
    """One batch of each, on the truth that comes with it, but of the one that fills a library."""
    tasks = {path.stem for path in (TOP / "configs/task").glob("*.yaml")} - {"fingerprint"}
    in_readme = re.findall(r"\| `python evaluate.py task=(\w+)`", (TOP / "README.md").read_text())
    assert tasks > set(in_readme) > set()
    few = ["+trainer.limit_test_batches=1", f"hydra.sweep.dir={tmp_path}", f"task={','.join(sorted(tasks))}"]
    run("evaluate.py", tmp_path, *few, "-m")
    sections = [Section.read(path) for path in tmp_path.rglob("section.json")]
    assert {section.name for section in sections} == tasks
    assert all(section.rows and section.exhibits and not section.errors for section in sections)


def test_a_network_is_trained_first_where_there_is_none(songs, tmp_path):
    small = [word for word in TINY if not word.startswith("trainer.")]
    said = run("evaluate.py", tmp_path, *on(songs), *small, "train_for=00:00:00:02")
    assert "not trained yet; training it for" in said
    assert (tmp_path / "checkpoints/best.ckpt").is_file() and scores(tmp_path)
    assert "not trained" not in run("evaluate.py", tmp_path, *on(songs), *small, "train_for=00:00:00:02")


def test_songs_into_a_library_and_out_again(tmp_path):
    music = band(2, 20.0, generator=torch.Generator().manual_seed(0)).sum(1)
    for name, song in zip(("one", "two"), music, strict=True):
        write_audio(tmp_path / f"songs/{name}.ogg", song, 16000)
    write_audio(tmp_path / "clip.wav", music[1, :, 6 * 16000 : 12 * 16000], 16000)
    known = f"library.url={tmp_path / 'library.sqlite'}"
    songs = ["task=fingerprint", "data=music", f"data.root={tmp_path / 'songs'}", "run=predict"]
    assert "2 written" in run("evaluate.py", tmp_path / "out", *songs, known)
    clip = ["task=recognise", "data=clips", f"data.root={tmp_path / 'clip.wav'}", "run=predict"]
    assert "clip: two from 0:06.0 on, score" in run("evaluate.py", tmp_path / "out", *clip, known)


def test_two_processes_recognise_as_one(tmp_path):
    """Each holds one of the two songs, and a file that is not one: the scores and the answers are the same."""
    clips = ["task=recognise", "data.clips=4", "data.generated=6", "data.unknown=2", "+trainer.limit_test_batches=2"]
    for name, processes in (("one", []), ("two", TWO)):
        run("evaluate.py", tmp_path / name, *clips, *processes)
    one, two = (Section.read(tmp_path / name / "section.json") for name in ("one", "two"))
    assert one.rows == two.rows and len(one.rows) == 12 and one.table == two.table
    assert [name for name, _ in one.exhibits] == [name for name, _ in two.exhibits] and one.exhibits and not two.notes

    music = band(3, 20.0, generator=torch.Generator().manual_seed(0)).sum(1)
    for name, song in zip(("first", "second"), music, strict=False):
        write_audio(tmp_path / f"songs/{name}.ogg", song, 16000)
    for name, song, rate in (("a", 0, 16000), ("faster", 1, 17600), ("unknown", 2, 16000)):
        write_audio(tmp_path / f"clips/{name}.wav", music[song, :, 96000:192000], rate)
    write_audio(tmp_path / "clips/long.wav", torch.cat((music[0], music[2], music[1]), 1), 16000)
    (tmp_path / "clips/text.wav").write_text("la la la")
    known = f"library.url={tmp_path / 'library.sqlite'}"
    run("evaluate.py", tmp_path / "added", "task=fingerprint", f"files={tmp_path / 'songs'}", known)
    for name, processes in (("one", []), ("two", TWO)):
        predict = ["task=recognise", f"files={tmp_path / 'clips'}", known, *processes]
        said = run("evaluate.py", tmp_path / name, *predict, code=1)
        assert said.count("text.wav: not a recording") == 1 and "4 written" in said and "1 passed over" in said
        assert said.count("faster: second") == 1
    written = [sorted((tmp_path / name / "predictions").glob("*.csv")) for name in ("one", "two")]
    assert [path.stem for path in written[0]] == ["a", "faster", "long", "unknown"]
    assert [path.read_text() for path in written[0]] == [path.read_text() for path in written[1]]


# bad input


def test_a_network_without_weights_is_not_scored(songs, tmp_path):
    assert "error: ckpt: the network separate is not trained yet; python train.py task.op.width=8 data=stems" in run(
        "evaluate.py", tmp_path, "task.op.width=8", *on(songs), code=1
    )


def test_without_a_training_the_weights_of_the_package_separate(tmp_path):
    song = band(1, 3.0, generator=torch.Generator().manual_seed(3))[0]
    write_audio(tmp_path / "song.wav", song.sum(0), 16000)
    said = run("evaluate.py", tmp_path / "out", "task=separate", f"files={tmp_path / 'song.wav'}")
    assert said.count("by the weights that come with the package") == 1 and "1 written" in said
    vocals, _ = read_audio(tmp_path / "out/predictions/song/vocals.wav")
    assert (vocals - song[0]).norm() < 0.9 * (song.sum(0) - song[0]).norm()


def test_bad_input_ends_with_a_sentence(trained, songs, tmp_path):
    """It names the setting; there is no traceback; the exit code is 1."""
    one_file = ["data=folder", f"data.root={songs / 'song_0/vocals.wav'}", *best(trained)]
    said = run("evaluate.py", tmp_path, *one_file, code=1)
    assert "error: data=folder has no truth" in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["task=inpaint_tv", "data=noisy"],
            "error: data: the data give `image`, and the op inpaint_tv also takes `hole`; choose data=missing or",
        ),
        (["task=rof", "task.op.weight=abc"], "error: task.op.weight: expected a number or sure, got 'abc'"),
        (["task=rof", "task.op.stop.tol=abc"], "error: task.op.stop.tol: expected a number, got 'abc'"),
        (["task=rof", "+task.score.foo=1"], "error: task.score.foo: restoration has no such argument; it takes"),
        (["task=rof", "task.op.weight=-1", "data.names=[coins,cat]", "data.size=64"], "coins, cat: weight: expected"),
        (
            ["task=rof", "task.op.stop.max_iter=1", "data.names=[coins]", "data.size=64", "strict=true"],
            "error: not converged: coins",
        ),
    ],
)
def test_a_setting_that_does_not_fit_is_named(tmp_path, settings, message):
    said = run("evaluate.py", tmp_path, *settings, code=1)
    assert message in said and "Traceback" not in said


def test_a_margin_leaves_a_third_part(tmp_path):
    """It is written, under a name of its own, and the two others are scored."""
    write_audio(tmp_path / "song.wav", 0.1 * torch.randn(1, 22050), 22050)
    predict = ["data=folder", f"data.root={tmp_path / 'song.wav'}", "run=predict"]
    run("evaluate.py", tmp_path / "out", "task=hpss", "task.op.margin=[2,1]", *predict)
    written = sorted(path.stem for path in (tmp_path / "out/predictions/song").iterdir())
    assert written == ["drums", "residual", "rest"]
    run("evaluate.py", tmp_path / "out", "task=hpss", "task.op.margin=2", "data.dataset.songs.count=1")


def test_what_did_not_converge_is_told_and_still_written(pictures, tmp_path):
    predict = ["task=rof", "data=folder", f"data.root={pictures}", "run=predict", "task.op.stop.max_iter=1"]
    said = run("evaluate.py", tmp_path / "out", *predict)
    assert "3 written" in said and "not converged: 3 of 3: 0, 1, 2" in said
    run("evaluate.py", tmp_path / "out", *predict, "strict=true", "overwrite=true", code=1)
