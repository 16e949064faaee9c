"""A recording that was cleaned: its scores, its panels and its file."""

import pytest
import torch

from tavtorch.lab.data.files import SoundAbout, read_audio, sound_about
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


@pytest.mark.parametrize(("suffix", "subtype"), [(".wav", "PCM_16"), (".flac", "PCM_24"), (".mp3", "MPEG_LAYER_III")])
def test_the_file_has_format_encoding_and_tags_of_the_one_it_comes_from(tmp_path, suffix, subtype):
    about = SoundAbout(suffix, suffix[1:].upper(), subtype, {"title": "a song"})
    one = batch(file=[{"about": about}])
    place = write_wave(tmp_path / "folder" / "song", one["truth"][:1], one)
    assert place == tmp_path / "folder" / f"song{suffix}" and sound_about(place)[:3] == about[:3]
    assert sound_about(place).tags["title"] == "a song"
    wave, rate = read_audio(place)
    assert rate == 8000
    torch.testing.assert_close(wave, one["truth"][0], atol=0.2 if suffix == ".mp3" else 2e-5, rtol=0)


def test_another_format_and_encoding_can_be_asked_for(tmp_path):
    one = batch(file=[{"about": SoundAbout(".wav", "WAV", "FLOAT", {})}])
    place = write_wave(tmp_path / "song", one["truth"][:1], one, suffix=".flac", subtype="PCM_16")
    assert sound_about(place)[:3] == (".flac", "FLAC", "PCM_16")
    assert write_wave(tmp_path / "song.wav", one["truth"][:1], one) == tmp_path / "song.wav"  # a name with its suffix


def test_the_result_of_no_file_is_a_float_wav(tmp_path):
    one = batch()
    place = write_wave(tmp_path / "song", 30 * one["truth"][:1], one)
    assert sound_about(place)[:3] == (".wav", "WAV", "FLOAT")
    assert torch.equal(read_audio(place)[0], 30 * one["truth"][0])
