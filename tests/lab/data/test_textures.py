from functools import partial

import pytest
import torch

from tavtorch.lab.data.synthetic.textures import checks, grain, grating, textured, warped, weave


def grid(size=64):
    return torch.stack(torch.meshgrid(*(2 * [torch.arange(float(size))]), indexing="xy"))


def source(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("texture", [partial(grating, frequency=(0.2, 0.1)), partial(checks, side=3), grain])
def test_a_texture_has_mean_0_and_size_1(texture):
    pattern = texture(grid(240), source())
    assert abs(pattern.mean().item()) < 0.02
    assert pattern.square().mean().sqrt().item() == pytest.approx(1, abs=0.02)


def test_a_grating_has_one_frequency():
    spectrum = torch.fft.rfft2(grating(grid(), source(), frequency=(10 / 64, 5 / 64))).abs()
    assert spectrum.argmax().item() == 5 * 33 + 10


def test_squares_have_their_side():
    row = checks(grid(), source(), side=4)[20]
    changes = row.diff().nonzero()[:, 0]
    assert (changes.diff() == 4).all()


def test_the_parts_add_up_and_half_of_the_shapes_are_bare():
    item = textured(source(3), texture=grain, size=64, amplitude=0.2)
    parts = item["truth"]
    assert torch.equal(item["inputs"]["image"], parts["structure"] + parts["texture"])
    where = parts["texture"] != 0
    assert 0.05 < where.float().mean() < 0.95
    assert parts["texture"][where].std().item() == pytest.approx(0.2, rel=0.1)
    assert len(parts["structure"].unique()) <= 11


def test_the_same_seed_makes_the_same():
    one, same, other = (textured(source(seed), texture=grain, size=32)["inputs"]["image"] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("pattern", [partial(warped, frequency=(0.12, 0.09)), partial(weave, thread=4.6)])
def test_a_pattern_has_mean_zero_and_deviation_one(pattern):
    drawn = pattern(grid(192), source())
    assert abs(drawn.mean()) < 0.05 and abs(drawn.square().mean().sqrt() - 1) < 0.05


def test_shades_change_the_structure_and_nothing_else():
    plain, shaded = (
        textured(
            torch.Generator().manual_seed(0), texture=partial(grating, frequency=(0.1, 0)), shapes=1, shades=shades
        )
        for shades in (0.0, 0.1)
    )
    apart = shaded["truth"]["structure"] - plain["truth"]["structure"]
    assert 0.05 < apart.abs().max() <= 0.1001
    assert torch.equal(shaded["inputs"]["image"], sum(shaded["truth"].values()))
