"""A recording that was cleaned: its scores, its panels and its file."""

import pytest
import torch

from tavtorch.lab.data.files import read_audio
from tavtorch.lab.kinds.waves import cleaned, cleaning, write_wave


def batch(seconds=1, rate=8000, **more):
    truth = 0.1 * torch.randn(2, 2, seconds * rate)
    inputs = {"wave": truth + 0.01 * torch.randn_like(truth), "sample_rate": rate}
    return {"inputs": inputs, "truth": truth, "errors": {}, **more}


def test_a_tenth_of_the_noise_gains_twenty_decibels():
    one = batch()
    output = one["truth"] + (one["inputs"]["wave"] - one["truth"]) / 10
    scores = cleaning(output, one)
    for measure in ("si_sdr", "sdr"):
        assert scores[f"input/{measure}"].tolist() == pytest.approx([20, 20], abs=0.5)
        assert scores[f"result/{measure}_gain"].tolist() == pytest.approx([20, 20], abs=0.1)


def test_items_are_scored_one_by_one_and_silence_has_no_ratio():
    one = batch()
    one["truth"][1] = 0
    scores = cleaning(one["inputs"]["wave"], one)
    assert scores["result/sdr"][0].isfinite() and scores["result/sdr"][1].isnan()
    assert scores["result/sdr_gain"][0] == 0


def test_before_and_after_can_be_heard():
    one = batch()
    panels = cleaned(one["truth"], one)
    assert [panel.caption for panel in panels] == ["input", "result", "truth", "input - result"]
    assert all(panel.sound for panel in panels)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_the_file_has_the_format_of_the_one_it_comes_from(tmp_path, suffix):
    one = batch(file=[{"suffix": suffix}])
    write_wave(tmp_path / "folder" / "song", one["truth"][:1], one)
    wave, rate = read_audio(tmp_path / "folder" / f"song{suffix}")
    assert rate == 8000
    torch.testing.assert_close(wave, one["truth"][0], atol=1e-4, rtol=0)
