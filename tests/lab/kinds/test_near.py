"""Ops on the part of a picture that matters."""

from functools import partial

import pytest
import torch

import tavtorch
from tavtorch.image.patches import apply
from tavtorch.lab.kinds.near import near_hole, near_points


def picture():
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    return (0.5 + 0.3 * torch.sin(x / 7) * torch.cos(y / 5))[None, None]


def test_a_smooth_filling_is_that_of_the_whole_picture():
    """Only the rim of a hole counts."""
    image, hole = picture(), torch.zeros(1, 1, 60, 80, dtype=torch.bool)
    hole[..., 20:30, 40:46] = True
    whole = tavtorch.inpaint_harmonic(image, hole).value
    near = near_hole(image, hole, model=tavtorch.inpaint_harmonic, around=8)
    assert torch.allclose(near.value, whole, atol=1e-4)
    assert torch.equal(near.value[~hole], image[~hole])


def test_each_picture_has_its_own_part():
    image = torch.cat((picture(), picture().flip(-1)))
    hole = torch.zeros(2, 1, 60, 80, dtype=torch.bool)
    hole[0, :, 5:9, 5:9] = hole[1, :, 40:52, 60:70] = True
    together = near_hole(image, hole, model=tavtorch.inpaint_harmonic, around=8)
    alone = [near_hole(image[i : i + 1], hole[i : i + 1], model=tavtorch.inpaint_harmonic, around=8) for i in (0, 1)]
    assert torch.equal(together.value, torch.cat([one.value for one in alone]))
    assert together.iterations.shape == (2,)


def test_random_numbers_reach_an_op_that_takes_them():
    image, hole = picture(), torch.zeros(1, 1, 60, 80, dtype=torch.bool)
    hole[..., 20:26, 40:46] = True
    fill = partial(tavtorch.inpaint_patches, method="random")
    first, again = (
        near_hole(image, hole, model=fill, around=12, generator=torch.Generator().manual_seed(5)).value
        for _ in range(2)
    )
    assert torch.equal(first, again)


def test_copies_are_traced_to_pixels_of_the_whole_picture():
    image, hole = picture(), torch.zeros(1, 1, 60, 80, dtype=torch.bool)
    hole[..., 30:36, 50:56] = True
    found = near_hole(image, hole, model=tavtorch.inpaint_patches, around=12)
    assert torch.equal(apply(found.sources, image.masked_fill(hole, torch.nan)), found.value)


def test_several_fillings_are_put_back():
    image, hole = picture(), torch.zeros(1, 1, 60, 80, dtype=torch.bool)
    hole[..., 30:36, 50:56] = True
    found = near_hole(image, hole, model=partial(tavtorch.inpaint_patches, n=2), around=12)
    assert found.value.shape == (1, 2, 1, 60, 80)
    for k in range(2):
        assert torch.equal(apply(found.sources[:, k], image), found.value[:, k])


def test_contours_and_their_way_are_in_pixels_of_the_whole_picture():
    disk = tavtorch.fill(tavtorch.circle((50, 30), 12, 64), (60, 80)).float()
    points, way = tavtorch.circle((50, 30), 18, 64), []
    found = near_points(disk, points, model=tavtorch.segment, around=8, history=way)
    assert bool(found.converged.all())
    assert torch.allclose(found.value.mean(1), torch.tensor([[50.0, 30.0]]), atol=0.3)
    assert torch.allclose(way[0], points, atol=1e-4) and len(way) > 1


def test_a_part_has_a_border():
    with pytest.raises(ValueError, match=r"task.inference.around: expected a whole number of pixels >= 1, got 0"):
        near_hole(picture(), picture() > 0.7, model=tavtorch.inpaint_harmonic, around=0)
