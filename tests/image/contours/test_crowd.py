import pytest
import torch

from tavtorch import CrowdModel, Stop, circle, fill, segment, segment_crowd
from tavtorch.image.contours import area
from tavtorch.image.contours.crowd import SIDE, Windows, probabilities
from tavtorch.lab.data.synthetic.shapes import crowds
from tavtorch.lab.kinds.contours import each_iou


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def scores(found, truth):
    return each_iou(fill(found.value, (*truth.shape[-2:],)), truth)


def cells(count=1, size=128, objects=25, seed=3, **options):
    return crowds(count, size, objects=objects, generator=dice(seed), **options)


# truth


def test_cells_that_touch_are_told_apart():
    """Other crowds than those that it was trained on, and than those of the benchmark."""
    scene = crowds(1, 256, generator=dice(777))
    found = segment_crowd(scene.image, scene.points)
    score = scores(found, scene.truth)
    assert score.mean() > 0.95 and score.min() > 0.85 and found.converged.all()
    assert scores(segment(scene.image, scene.points), scene.truth).min() < 0.5  # by all edges


def test_an_object_of_its_own_is_found_in_any_contrast():
    disk = fill(circle((32.0, 30.0), 12.0, 200), (65, 70))
    for image in (disk.float(), 1 - 0.01 * disk.float(), 100 + 7 * disk.float().repeat(1, 3, 1, 1)):
        found = segment_crowd(image, circle((33.0, 31.0), 15.0, 64))
        assert scores(found, disk) > 0.9 and found.converged.all()


def test_cells_that_the_frame_cuts_are_found_within_it():
    disk = fill(circle((2.0, 32.0), 12.0, 200), (65, 70))
    found = segment_crowd(disk.float(), circle((2.0, 32.0), 15.0, 64).clamp(min=0))
    assert scores(found, disk) > 0.9 and found.value.min() >= -0.5
    scene = crowds(1, 256, shift=14.0, generator=dice(1))
    cut = torch.cat([side.any(-1) for side in (scene.truth[0, :, 0], scene.truth[0, :, -1])])  # on top, at the bottom
    found = segment_crowd(scene.image, scene.points)
    assert cut.sum() > 5 and scores(found, scene.truth).min() > 0.7 and found.converged.all()


def test_where_nothing_is_seen_nothing_is_found():
    found = segment_crowd(torch.full((1, 1, 40, 40), 3.0), circle((20.0, 20.0), 9.0, 40))
    assert found.gap.isinf().all() and not found.converged.any() and found.value.isfinite().all()


def test_a_window_has_the_start_in_its_middle():
    points = circle(torch.tensor([[[20.0, 9.0], [30.0, 28.0]]]), torch.tensor([[4.0, 8.0]]), 64)
    windows = Windows.about(points)
    inside = windows.inside(points)
    torch.testing.assert_close(inside.mean(2), torch.full((1, 2, 2), (SIDE - 1) / 2))
    radius = (inside - (SIDE - 1) / 2).norm(dim=-1)
    torch.testing.assert_close(radius, torch.full_like(radius, (SIDE - 1) / 2 / 1.6))
    torch.testing.assert_close(windows.outside(inside), points)


def test_what_the_network_sees_is_the_object():
    disk = fill(circle((32.0, 30.0), 12.0, 200), (65, 70))
    known = probabilities(disk.float(), circle((33.0, 31.0), 15.0, 64), CrowdModel.pretrained())
    assert known.shape == disk.shape and each_iou(known > 0.5, disk) > 0.88
    assert known[..., 60:].eq(0).all()  # outside of the window


def test_history_is_in_pixels_of_the_picture():
    scene, way = cells(), []
    found = segment_crowd(scene.image, scene.points, history=way)
    torch.testing.assert_close(way[0], scene.points, atol=1e-4, rtol=0)
    last, end = (fill(points, (128, 128)) for points in (way[-1], found.value))
    assert each_iou(last, end).mean() > 0.95  # points slide, and those at rest may move on in it


# symmetry


def test_light_and_size_do_not_count():
    scene = cells()
    image, points = scene.image.double(), scene.points.double()
    found = segment_crowd(image, points)
    lit = segment_crowd(3 * image - 1, points)
    torch.testing.assert_close(lit.value, found.value, atol=1e-3, rtol=0)
    one = points[:, 12]  # in the middle
    large = torch.nn.functional.interpolate(image, scale_factor=3, mode="bilinear")
    big, small = segment_crowd(large, 3 * one + 1), segment_crowd(image, one)
    assert each_iou(fill((big.value - 1) / 3, (128, 128)), fill(small.value, (128, 128))) > 0.95


# batch


def test_alone_is_together_and_nothing_is_edited():
    scene = cells(2)
    before = scene.image.clone(), scene.points.clone()
    together = segment_crowd(scene.image, scene.points)
    assert together.value.shape == scene.points.shape and together.gap.shape == (2, 25)
    for i in range(2):
        alone = segment_crowd(scene.image[i : i + 1], scene.points[i : i + 1])
        torch.testing.assert_close(alone.value[0], together.value[i], atol=1e-3, rtol=0)
        assert torch.equal(alone.converged[0], together.converged[i])
    one = segment_crowd(scene.image, scene.points[:, 7])
    torch.testing.assert_close(one.value, together.value[:, 7], atol=1e-3, rtol=0)
    assert torch.equal(scene.image, before[0]) and torch.equal(scene.points, before[1])


def test_half_precision_is_computed_in_single():
    scene = cells()
    half = segment_crowd(scene.image.half(), scene.points.half())
    single = segment_crowd(scene.image.half().float(), scene.points.half().float())
    assert half.value.dtype == torch.half and torch.equal(half.value, single.value.half())


# gradient


def test_the_weights_have_their_gradient_through_the_snake():
    """The area of a cell, by what the network takes for the cell; 20 rounds of the snake are not quite all."""
    disk = fill(circle((24.0, 22.0), 9.0, 200), (48, 50)).double()
    model, start = CrowdModel.pretrained().double(), circle((24.0, 23.0), 11.0, 64).double()

    def size(shift):
        weights = {"belongs.bias": model.belongs.bias.detach() + shift}
        options = {"stop": Stop(1e-9, 5000, 20)}
        found = torch.func.functional_call(model, weights, (disk, start), options)
        return area(found.value).sum()

    shift = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(size(shift), shift)
    step = 1e-3
    expected = (size(torch.tensor([step]).double()) - size(torch.tensor([-step]).double())) / (2 * step)
    assert expected > 0
    torch.testing.assert_close(slope[0], expected.detach(), rtol=0.1, atol=0)


def test_in_training_it_gives_what_it_sees_as_well_and_steep_gradients_are_limited():
    scene, model = cells(), CrowdModel.pretrained().requires_grad_(True).train()
    found, known = model(scene.image, scene.points)
    assert known.shape == scene.truth.shape and known.min() >= 0 and known.max() <= 1
    area(found.value).sum().backward()
    assert all(weight.grad.isfinite().all() and weight.grad.any() for weight in model.parameters())


# weights


def test_it_is_small_and_comes_back_from_its_file(tmp_path):
    model = CrowdModel.pretrained()
    assert sum(weight.numel() for weight in model.parameters()) <= 20_000
    model.save(tmp_path / "own.safetensors")
    scene, back = cells(), CrowdModel.pretrained(tmp_path / "own.safetensors", widths=(12, 20, 24))
    one, other = (segment_crowd(scene.image, scene.points, model=m) for m in (back, None))
    assert torch.equal(one.value, other.value)
    with pytest.raises(ValueError, match="is of a model with"):
        CrowdModel.pretrained(widths=(4, 4, 4))


# errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda u, p: segment_crowd(u, p.repeat(2, 1, 1)), "points: expected contours of 1 images, got 2"),
        (lambda u, p: segment_crowd(u, p + 30), "points: some are outside the image of 40 x 40 pixels"),
        (lambda u, p: segment_crowd(u, p[:, :2]), "points: expected at least 3"),
        (lambda u, p: segment_crowd(u * torch.nan, p), "image: some pixels are NaN"),
        (lambda u, p: CrowdModel((4, 0, 4)), "widths: expected three whole numbers > 0"),
        (lambda u, p: CrowdModel((4, 4)), "widths: expected three whole numbers > 0"),
    ],
)
def test_what_is_wrong_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.rand(1, 1, 40, 40), circle((20.0, 20.0), 9.0, 40))
