import shutil

import pytest
import torch

from tavtorch.lab.data.files import SoundAbout, read_audio, sound_about
from tavtorch.lab.kinds.stems import Baseline, bss_eval, ideal_ratio_mask, separation, stems_panels, write_stems

STEMS = ["vocals", "accompaniment"]


def song(estimate=None, channels=1):
    truth = torch.randn(1, 2, channels, 8000)
    batch = {"inputs": {"wave": truth.sum(1)}, "truth": truth}
    return separation(truth if estimate is None else estimate(truth), batch, stems=STEMS), truth


def test_taking_the_mixture_gains_nothing():
    scores, _ = song(lambda truth: truth.sum(1, keepdim=True).expand_as(truth))
    for stem in STEMS:
        for measure in ("si_sdr", "sdr"):
            assert scores[f"{stem}/{measure}_gain"].item() == 0
            assert scores[f"{stem}/{measure}"].item() == pytest.approx(0, abs=0.5)  # as loud as the rest


def test_a_tenth_of_the_amplitude_is_twenty_decibels():
    scores, _ = song(lambda truth: 1.1 * truth, channels=2)
    assert scores["vocals/sdr"].item() == pytest.approx(20, abs=0.01)
    assert scores["vocals/si_sdr"].item() > 60  # to which a scale is nothing


def test_the_oracle_is_between_the_mixture_and_the_truth():
    scores, _ = song()
    assert scores["vocals/si_sdr_mixture"] < scores["vocals/si_sdr_oracle"] < scores["vocals/si_sdr"]


def test_oracle_masks_share_out_the_mixture():
    truth = torch.randn(2, 3, 2, 8000)
    mixture = truth.sum(1, keepdim=True)
    torch.testing.assert_close(ideal_ratio_mask(mixture, truth).sum(1, keepdim=True), mixture)


def test_a_silent_stem_has_no_ratio():
    truth = torch.randn(1, 2, 1, 8000)
    truth[:, 0] = 0
    scores = separation(truth, {"inputs": {"wave": truth.sum(1)}, "truth": truth}, stems=STEMS)
    assert scores["vocals/sdr"].isnan()
    assert scores["accompaniment/sdr"].isfinite()


def test_songs_are_scored_one_by_one():
    truth = torch.randn(2, 2, 1, 8000)
    output = truth + torch.tensor([0.1, 1.0])[:, None, None, None] * torch.randn_like(truth)
    both = separation(output, {"inputs": {"wave": truth.sum(1)}, "truth": truth}, stems=STEMS)
    for i in range(2):
        one = {"inputs": {"wave": truth[i : i + 1].sum(1)}, "truth": truth[i : i + 1]}
        for name, values in separation(output[i : i + 1], one, stems=STEMS).items():
            torch.testing.assert_close(values, both[name][i : i + 1])


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="museval cannot be imported without ffmpeg")
def test_bss_eval_hears_noise_at_its_level():
    truth = torch.randn(1, 2, 1, 32000)
    output = truth + 0.1 * torch.randn_like(truth)
    scores = bss_eval(output, {"truth": truth}, stems=STEMS, sample_rate=16000)
    assert scores["vocals/sdr_v4"].item() == pytest.approx(20, abs=1)
    assert set(scores) == {f"{stem}/{measure}_v4" for stem in STEMS for measure in ("sdr", "isr", "sir", "sar")}


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 256), (4096, 1024), (4096, 2048)])
def test_the_oracle_of_any_window(n_fft, hop):
    truth = torch.randn(1, 2, 1, 9001)
    estimate = ideal_ratio_mask(truth.sum(1, keepdim=True), truth, n_fft=n_fft, hop=hop)
    assert estimate.shape == truth.shape
    assert estimate.abs().max() < 10


def test_baselines_stand_beside_where_they_know_the_stems():
    truth = torch.randn(1, 2, 1, 8000)
    batch = {"inputs": {"wave": truth.sum(1), "sample_rate": 8000}, "truth": truth}
    swapped = Baseline(lambda wave, sample_rate: 1.1 * truth.flip(1), ["accompaniment", "vocals"])
    other = Baseline(lambda wave, sample_rate: truth, ["rest", "drums"])
    scores = separation(truth, batch, stems=STEMS, baselines={"simple": swapped, "other": other})
    assert scores["vocals/sdr_simple"].item() == pytest.approx(20, abs=0.01)
    assert "vocals/sdr_other" not in scores


def test_what_is_left_over_has_a_name_and_no_score():
    truth = torch.randn(1, 2, 1, 8000)
    batch = {"inputs": {"wave": truth.sum(1), "sample_rate": 8000}, "truth": truth, "errors": {}}
    output = torch.cat((truth, 0 * truth[:, :1]), 1)
    assert separation(output, batch, stems=STEMS).keys() == separation(truth, batch, stems=STEMS).keys()
    assert "residual, estimated" in [panel.caption for panel in stems_panels(output, batch, stems=STEMS)]
    with pytest.raises(ValueError, match="form.stems: the op gives 4 stems and these are 2"):
        separation(torch.cat((truth, truth), 1), batch, stems=STEMS)


# panels


def batch(seconds=20, rate=16000):
    truth = 0.1 * torch.randn(1, 2, 2, seconds * rate)
    return {"name": "song", "inputs": {"wave": truth.sum(1), "sample_rate": rate}, "truth": truth}


def test_panels_of_stems():
    one = batch()
    panels = stems_panels(one["truth"], one, stems=["vocals", "drums"])
    assert [panel.caption for panel in panels] == [
        "mixture", "vocals, estimated", "vocals, true", "drums, estimated", "drums, true"
    ]  # fmt: skip


# writer


def halves(subtype, level=0.2, count=3):
    """Stems that add up to samples as integers of `subtype` hold them, as from a file of it."""
    mixture = (level * torch.randn(2, 5000)).clamp(-0.9, 0.9).mul(2**15).round().div(2**15)
    stems = 0.3 * level * torch.randn(count, 2, 5000)
    stems[-1] += mixture - stems.sum(0)
    about = SoundAbout(".wav", "WAV", subtype, {"artist": "a singer"})
    batch = {"inputs": {"wave": mixture[None], "sample_rate": 8000}, "errors": {}, "file": [{"about": about}]}
    return mixture, stems[None], batch


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_stems_in_the_encoding_of_the_song_add_up_to_it(tmp_path, subtype):
    mixture, stems, batch = halves(subtype)
    assert write_stems(tmp_path / "song", stems, batch, stems=["a", "b", "c"]) == tmp_path / "song"
    files = [tmp_path / "song" / f"{name}.wav" for name in "abc"]
    assert all(sound_about(file)[:3] == (".wav", "WAV", subtype) for file in files)
    assert sound_about(files[0]).tags["artist"] == "a singer"
    waves = torch.stack([read_audio(file)[0] for file in files])
    step = {"PCM_16": 2**-15, "PCM_24": 2**-23, "FLOAT": 0}[subtype]
    torch.testing.assert_close(waves[:2], stems[0, :2], atol=0.51 * step, rtol=0)
    error = (waves.double().sum(0) - mixture).abs().max()
    assert error <= {"PCM_16": 0, "PCM_24": step, "FLOAT": 1e-7}[subtype]  # float32 has 24 bits itself


def test_chosen_stems_alone(tmp_path):
    _, stems, batch = halves("PCM_16")
    write_stems(tmp_path / "all", stems, batch, stems=["a", "b", "c"])
    write_stems(tmp_path / "song", stems, batch, stems=["a", "b", "c"], only=["c"], suffix=".flac")
    assert [path.name for path in (tmp_path / "song").iterdir()] == ["c.flac"]
    assert torch.equal(read_audio(tmp_path / "song/c.flac")[0], read_audio(tmp_path / "all/c.wav")[0])
    for wrong in (["d"], []):
        with pytest.raises(ValueError, match=r"task.save.only: expected some of a, b, c, got \["):
            write_stems(tmp_path / "none", stems, batch, stems=["a", "b", "c"], only=wrong)
    assert not (tmp_path / "none").exists()


def test_one_stem_beyond_full_scale_makes_all_of_them_float(tmp_path, caplog):
    _, stems, batch = halves("PCM_16")
    stems[0, 1, 0, 7] = -1.5
    with caplog.at_level("INFO", "tavtorch"):
        write_stems(tmp_path / "song", stems, batch, stems=["a", "b", "c"])
    assert {sound_about(path).subtype for path in (tmp_path / "song").iterdir()} == {"FLOAT"}
    assert caplog.text.count("the peak is 1.5") == 1
    assert torch.equal(read_audio(tmp_path / "song/b.wav")[0], stems[0, 1])
