"""A stranger's function beside ours."""

import json

import pytest
import torch

import tavtorch
from tavtorch.lab import benchmark
from tavtorch.lab.page import Section
from tavtorch.lab.scored_systems import SYSTEMS

STRANGERS = {
    "rof": lambda image: image,
    "inpaint": lambda image, hole: tavtorch.inpaint_harmonic(image, hole),
    "patches": lambda image, hole: tavtorch.inpaint_harmonic(image, hole).value,
    "segment": lambda image, points: points,
    "split": lambda image: (0.9 * image, 0.1 * image),
    "separate": lambda wave, rate: torch.stack((wave / 2, wave / 2), 1),
    "hpss": lambda wave, rate: torch.stack((wave / 2, wave / 2), 1),
    "recognise": lambda wave, rate, songs: [next(iter(songs))] * len(wave),
}


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_scores_a_stranger(system, tmp_path):
    found = benchmark(STRANGERS[system], system, folder=tmp_path, peer=False)
    assert found.page == tmp_path / system / "report.html" and found.page.is_file()
    assert str(found).startswith(f"{system}, {found.average}")
    for values in found.table.values():
        assert set(values) == {"yours", "tavtorch"} and all(abs(value) < 1000 for value in values.values())


def test_ours_in_a_strangers_hands_scores_as_ours(tmp_path):
    found = benchmark(lambda image: tavtorch.rof(image, 0.08), "rof", folder=tmp_path)
    for measure in ("psnr", "ssim"):
        values = found.table[measure]
        assert values["yours"] == pytest.approx(values["tavtorch"], abs=1e-4)
        assert values["scikit-image"] == pytest.approx(values["tavtorch"], rel=0.01)  # the same energy
    section = Section.read(tmp_path / "rof" / "section.json")
    assert len(section.rows) == 6 and len(section.exhibits) == 2
    assert json.loads(json.dumps(section.table)) == found.table


def test_a_peer_that_fails_costs_no_score(tmp_path, monkeypatch):
    def failing(image):
        raise RuntimeError("no memory")

    monkeypatch.setitem(SYSTEMS, "rof", SYSTEMS["rof"]._replace(peers={"peer": failing}))
    found = benchmark(lambda image: image, "rof", folder=tmp_path)
    assert set(found.table["psnr"]) == {"yours", "tavtorch"}
    assert found.notes == Section.read(tmp_path / "rof" / "section.json").notes
    assert found.notes[0] == "peer fails on camera: no memory" and found.notes[0] in str(found)


def test_the_truth_is_that_of_its_seed(tmp_path):
    def score(seed):
        return benchmark(lambda image: image, "rof", folder=tmp_path, seed=seed, peer=False).table["psnr"]["yours"]

    assert score(1) == score(1) != score(2)


@pytest.mark.parametrize(
    ("op", "system", "message"),
    [
        (len, "denoise", "system: expected one of rof, inpaint, patches"),
        (lambda image: image[..., 1:], "rof", r"op: expected a picture of shape \(1, 1, 192, 192\)"),
        (lambda image: image * torch.nan, "rof", "op: expected a picture of finite numbers"),
        (lambda image, points: None, "segment", r"op: expected points of shape .* got NoneType"),
        (lambda image: (image, None), "split", "op: expected a part of shape"),
        (lambda wave, rate, songs: "song", "recognise", "op: expected a list of 1 names of songs"),
    ],
)
def test_what_is_wrong_is_told(op, system, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        benchmark(op, system, folder=tmp_path, peer=False)
