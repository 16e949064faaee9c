"""Generated pictures: seeded, of the size asked for, with masks and starts that belong to them."""

import pytest
import torch

from tavtorch import fill
from tavtorch.lab.data.synthetic.shapes import apples, bays, crowds, disks, runners, stars

MAKERS = [disks, stars, bays, crowds]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("make", MAKERS)
def test_shapes_and_reproduction(make):
    scene, again, other = (make(2, 96, generator=seeded(seed)) for seed in (0, 0, 1))
    objects = scene.truth.shape[1]
    assert scene.image.shape == (2, 1, 96, 96) and scene.truth.shape == (2, objects, 96, 96)
    assert scene.points.shape[:2] == (2, objects) and scene.points.shape[-1] == 2
    assert all(torch.equal(one, two) for one, two in zip(scene, again, strict=True))
    assert not torch.equal(scene.image, other.image)


@pytest.mark.parametrize("make", MAKERS)
def test_objects_are_bright_and_whole_and_start_inside_of_the_picture(make):
    scene = make(3, 128, generator=seeded())
    found = scene.truth.any(1, keepdim=True)
    assert scene.image[found].mean() > scene.image[~found].mean() + 0.3
    assert (scene.truth.flatten(2).sum(2) > 30).all()
    assert scene.points.min() >= 0 and scene.points.max() <= 127
    assert (fill(scene.points, (128, 128)) & scene.truth).sum() > 0.9 * scene.truth.sum()


def test_noise_is_as_strong_as_asked():
    clean, noisy = (disks(2, 128, noise=noise, generator=seeded()) for noise in (0.0, 0.3))
    assert (noisy.image - clean.image).std().item() == pytest.approx(0.3, rel=0.05)


def test_a_fruit_is_told_by_its_brightness_and_not_by_its_border():
    scene = apples(4, 128, generator=seeded())
    found, slope = scene.truth, scene.image.diff(dim=-1)[..., :-1, :].abs()
    assert 0.28 < scene.image[found].mean() - scene.image[~found].mean() < 0.36
    border = found[..., :-1, 1:] != found[..., :-1, :-1]
    assert slope[border].mean() < 1.5 * slope[~border].mean()
    assert scene.points.shape == (4, 1, 120, 2) and (fill(scene.points, (128, 128)) | ~found).all()
    assert torch.equal(apples(4, 128, generator=seeded()).image, scene.image)


def test_a_cell_runs_by_its_radius():
    scene = runners(2, 96, frames=7, generator=seeded())
    assert scene.image.shape == (2, 1, 7, 96, 96) and scene.truth.shape == (2, 7, 96, 96)
    y, x = torch.meshgrid(*(2 * [torch.arange(96.0)]), indexing="ij")
    size = scene.truth.sum((2, 3))
    middle = torch.stack([(scene.truth * axis).sum((2, 3)) / size for axis in (x, y)], -1)
    assert (middle.diff(dim=1).norm(dim=-1) - 8).abs().max() < 0.5 and (size / (torch.pi * 64) - 1).abs().max() < 0.05
    assert (fill(scene.points, (96, 96))[:, 0] | ~scene.truth[:, 0]).all()


def test_a_crowd_touches_without_overlap_in_uneven_light():
    scene = crowds(2, 256, generator=seeded())
    assert (scene.truth.sum(1) <= 1).all()
    gaps = ~scene.truth.any(1)
    assert 0.1 < gaps.float().mean() < 0.4
    brightness = (scene.image * scene.truth).sum((2, 3)) / scene.truth.sum((2, 3))
    assert brightness.amax() > 1.8 * brightness.amin()


def test_a_crowd_needs_a_place_for_each_cell():
    with pytest.raises(ValueError, match="places: 16 cells do not fit into 9; take as many places, or fewer objects"):
        crowds(1, 102, objects=16, places=9)


def test_a_crowd_off_the_middle_is_cut_by_the_frame():
    scene = crowds(20, 102, objects=16, shift=10.0, generator=seeded())
    size = scene.truth.sum((-2, -1)).float()
    assert (size < 0.75 * size.mean()).float().mean() > 0.05
    assert scene.points.min() >= 0 and scene.points.max() <= 101
    middle = crowds(20, 102, objects=16, generator=seeded()).truth.sum((-2, -1)).float()
    assert middle.min() > 0.75 * middle.mean()
