from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from skimage.color import rgb2gray
from skimage.filters import gaussian, sobel
from skimage.segmentation import active_contour

from tavtorch import Stop, chan_vese_force, circle, evolve, fill, gaussian_force, gvf_force, kass_force, segment
from tavtorch.image.contours import area, edge_map
from tavtorch.image.contours.edges import blur
from tavtorch.image.contours.polygons import distance
from tavtorch.lab.data.synthetic.shapes import bays, crowds, disks, stars
from tavtorch.lab.kinds.contours import iou

SURE = partial(edge_map, sigma=1.5, threshold=0.4)
REST = Stop(tol=1e-11, max_iter=20000, every=50)


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def overlap(found, truth):
    return iou(fill(found.value, truth.shape[-2:]).flatten(0, 1)[:, None], truth.flatten(0, 1)[:, None])


def spring(b=1, size=21, middle=10.0):
    """A field that pulls to the middle, as long as the way."""
    y, x = torch.meshgrid(torch.arange(size) - middle, torch.arange(size) - middle, indexing="ij")
    return -torch.stack((x, y)).expand(b, 2, size, size)


# truth


def test_one_step_by_hand():
    """On a circle the Fourier response is one number: 1 / (1 + τ (α e + β e²)), e = 2 - 2 cos(2π / n)."""
    start = circle((10.0, 10.0), 4.0, 30)
    once = Stop(tol=0.0, max_iter=1, every=1)
    e = 2 - 2 * np.cos(2 * np.pi / 30)
    shrink = 1 / (1 + 2 * (0.3 * e + 0.7 * e**2))
    options = {"step": 2.0, "elasticity": 0.3, "rigidity": 0.7, "unit": False, "resample": 0, "stop": once}
    found = evolve(start, torch.zeros(1, 2, 21, 21), **options)
    torch.testing.assert_close(found.value, circle((10.0, 10.0), 4.0 * shrink, 30))
    inflated = evolve(start, torch.zeros(1, 2, 21, 21), balloon=0.25, **options)
    torch.testing.assert_close(inflated.value, circle((10.0, 10.0), 4.5 * shrink, 30))
    pulled = evolve(start, 0.1 * spring(), **options)
    torch.testing.assert_close(pulled.value, circle((10.0, 10.0), 3.2 * shrink, 30))


@pytest.mark.parametrize("radius", [4.0, 8.0, 16.0, 23.0, 44.0, 62.0])
def test_capture_range(radius):
    disk = fill(circle((63.5, 63.5), 23.0, 400), (128, 128))
    found = segment(disk.float(), circle((63.5, 63.5), radius, 200))
    assert overlap(found, disk).item() >= 0.95 and found.converged.all()


@pytest.mark.parametrize(("noise", "least"), [(0.0, 0.98), (0.1, 0.97), (0.2, 0.97), (0.4, 0.88)])
def test_gvf_enters_the_bay(noise, least):
    scene = bays(4, 128, noise=noise, generator=dice())
    found = segment(scene.image, scene.points, force=partial(gvf_force, smoothness=0.2, edges=SURE))
    assert overlap(found, scene.truth).mean() >= least


def test_gvf_reaches_the_bottom_of_the_bay():
    scene = bays(4, 128, generator=dice())
    bay = fill(torch.cat([hull(truth) for truth in scene.truth[:, 0]]), (128, 128)) & ~scene.truth
    mask = fill(segment(scene.image, scene.points).value, (128, 128))
    assert 1 - (mask & bay).sum() / bay.sum() >= 0.98


def hull(truth):
    """The bounding box of a mask, as a contour."""
    y, x = truth.nonzero().unbind(1)
    left, right, top, bottom = (value.item() for value in (x.min(), x.max() + 0.5, y.min(), y.max() + 0.5))
    return torch.tensor([[[left, top], [right, top], [right, bottom], [left, bottom]]], dtype=torch.float32)


def test_other_forces_do_not():
    scene = bays(4, 128, generator=dice())
    for force in (kass_force, partial(gaussian_force, sigma=3.0)):
        assert overlap(segment(scene.image, scene.points, force=force), scene.truth).max() < 0.85


def test_disks_and_stars(dtype):
    for scene in (disks(3, 96, generator=dice()), stars(3, 96, generator=dice())):
        found = segment(scene.image.to(dtype), scene.points.to(dtype))
        assert overlap(found, scene.truth).min() > 0.94 and found.value.dtype == dtype and found.converged.all()


def test_a_crowd_shares_one_field():
    scene = crowds(1, 256, generator=dice())
    found = segment(scene.image, scene.points, force=partial(gvf_force, smoothness=0.02))
    scores = overlap(found, scene.truth)
    assert found.value.shape == (1, 100, 64, 2) and found.converged.shape == (1, 100)
    assert scores.mean() >= 0.8 and scores.min() > 0.5
    assert overlap(found._replace(value=scene.points), scene.truth).mean() < 0.72


def test_a_collapsed_contour_is_flagged_and_keeps_its_last_shape():
    """Two contours deflate, one around a disk, one around nothing."""
    disk = fill(circle((16.0, 32.0), 8.0, 100), (65, 65))
    points = circle(torch.tensor([[[16.0, 32.0], [48.0, 32.0]]]), 14.0, 60)
    found = evolve(points, kass_force(disk.float()), balloon=-0.5)
    assert found.converged.tolist() == [[True, False]] and found.gap[0, 1].isinf()
    assert found.value.isfinite().all() and (area(found.value).abs() >= 1).all()
    assert found.iterations.max() < 100  # the iteration does not wait for it


def test_in_a_constant_image_a_contour_shrinks_and_is_flagged():
    start = circle((15.0, 15.0), 10.0, 40)
    found = segment(torch.ones(1, 1, 31, 31), start, elasticity=0.5)
    assert found.value.isfinite().all() and not found.converged.any() and found.gap.isinf().all()
    assert 0 < area(found.value) < area(start)


def test_a_balloon_fills_what_it_is_started_in_and_the_frame_is_a_wall():
    disk = fill(circle((32.0, 32.0), 20.0, 200), (65, 65))
    start = circle((30.0, 33.0), 4.0, 100)
    assert overlap(evolve(start, kass_force(disk.float()), balloon=0.3), disk) > 0.95
    free = evolve(start, spring(size=65, middle=32.0).mul(0), balloon=1.0, elasticity=0.0)
    assert free.value.min() >= 0 and free.value.max() <= 64 and area(free.value) > 0.9 * 64**2


def test_a_contour_that_crosses_itself_is_moved_like_any_other():
    bowtie = torch.tensor([[[8.0, 8.0], [24.0, 24.0], [24.0, 8.0], [8.0, 24.0]]])
    found = evolve(bowtie, kass_force(torch.rand(1, 1, 33, 33)))
    assert torch.equal(found.value, bowtie) and not found.converged.any()  # the areas of its loops cancel: collapsed
    loops = circle((16.0, 16.0), 12.0, 60).clone()
    loops[:, :15] = 32 - loops[:, :15]  # a quarter is mirrored at the middle: it crosses itself, but has an area
    tangled = evolve(loops, torch.zeros(1, 2, 33, 33), elasticity=0.0, resample=0, terms=[torch.zeros_like])
    assert tangled.gap < 0.1 and not tangled.converged.any()
    bowtie[:, 1, 1] = 28.0
    assert evolve(bowtie, kass_force(torch.rand(1, 1, 33, 33)), stop=Stop(max_iter=20)).value.isfinite().all()


@pytest.mark.parametrize("ends", ["free", "fixed"])
def test_open_contours(ends):
    """A wire in a field that pulls it down to the line y = 14."""
    image = torch.zeros(1, 1, 24, 40)
    image[..., 14, :] = 1
    start = torch.stack((torch.linspace(5, 35, 31), torch.full((31,), 5.0)), dim=-1)[None]
    found = evolve(start, gaussian_force(image.cumsum(-2), 4.0), ends=ends, elasticity=0.01, rigidity=0.01)
    assert found.value[0, 8:-8, 1].sub(13.5).abs().max() < 0.6
    kept = (found.value[0, [0, -1]] - start[0, [0, -1]]).norm(dim=-1).max()
    assert kept < 1e-5 if ends == "fixed" else kept > 5


def test_an_object_that_the_frame_cuts_is_found_from_its_inside():
    """By its region, up to the frame; the frame is no edge, so that a snake about it collapses, and is flagged."""
    disk = fill(circle((8.0, 32.0), 20.0, 200), (65, 65))
    found = segment(disk.float(), circle((13.0, 32.0), 9.0, 120), force=None, region=chan_vese_force)
    assert overlap(found, disk) > 0.98 and found.converged.all() and found.value.min() == 0
    assert segment(disk.float(), circle((8.0, 32.0), 26.0, 120).clamp(min=0)).gap.isinf().all()


@pytest.mark.parametrize("balloon", [0.0, 0.2])
def test_clockwise_and_anticlockwise_starts_enclose_the_same(balloon):
    star = stars(1, 96, generator=dice())
    field = gvf_force(star.image, 0.2).value
    one, other = (evolve(start, field, balloon=balloon) for start in (star.points, star.points.flip(-2)))
    assert (area(one.value) > 0).all() and (area(other.value) < 0).all()
    assert iou(fill(one.value, (96, 96)), fill(other.value, (96, 96))) > 0.99 and other.converged.all()


def test_history_keeps_the_start_and_every_look():
    disk = fill(circle((20.0, 20.0), 8.0, 60), (41, 41)).float()
    history = []
    start = circle((20.0, 20.0), 15.0, 60)
    found = segment(disk, start, history=history)
    assert torch.equal(history[0], start) and torch.equal(history[-1], found.value)
    assert len(history) == 1 + found.iterations.item() // 10


# symmetry


def test_segments_move_and_turn_with_the_image():
    scene = stars(1, 80, generator=dice())
    found = segment(scene.image, scene.points).value
    turned = torch.stack((79 - scene.points[..., 0], scene.points[..., 1]), dim=-1)
    torch.testing.assert_close(segment(scene.image.flip(-1), turned).value[..., 1], found[..., 1], rtol=0, atol=0.02)
    moved = F.pad(scene.image, (7, 0, 0, 0))
    shifted = segment(moved, scene.points + torch.tensor([7.0, 0.0])).value - torch.tensor([7.0, 0.0])
    assert distance(shifted, found).max() < 0.2  # the border of the image is nearer


def test_the_way_a_contour_runs_does_not_matter():
    disk = fill(circle((20.0, 20.0), 8.0, 60), (41, 41)).float()
    start = circle((20.0, 20.0), 4.0, 60)
    one, other = (area(segment(disk, p, balloon=0.2).value).abs() for p in (start, start.flip(1)))
    torch.testing.assert_close(one, other, rtol=0.02, atol=0)


# batch


def test_alone_is_together_and_nothing_is_edited():
    scene = stars(3, 64, noise=0.05, n=80, generator=dice())
    scene.image[1] = 0  # nothing to find
    before = scene.points.clone()
    field = gvf_force(scene.image, 0.2).value
    weight = torch.tensor([0.02, 0.05, 0.1])
    together = evolve(scene.points, field, elasticity=weight, rigidity=weight)
    for i in range(3):
        w = weight[i].item()
        alone = evolve(scene.points[i : i + 1], field[i : i + 1], elasticity=w, rigidity=w)
        torch.testing.assert_close(alone.value[0], together.value[i], rtol=0, atol=1e-3)
        assert alone.iterations[0] == together.iterations[i] and alone.converged[0] == together.converged[i]
    assert torch.equal(scene.points, before)


def test_many_contours_an_image_are_as_many_images():
    disk = fill(circle((20.0, 20.0), 8.0, 60), (41, 41)).float()
    points = circle(torch.tensor([[[20.0, 20.0], [18.0, 22.0]]]), torch.tensor([[14.0, 5.0]]), 60)
    many = segment(disk, points, elasticity=torch.tensor([[0.05, 0.1]]))
    apart = segment(disk.expand(2, -1, -1, -1), points[0], elasticity=torch.tensor([0.05, 0.1]))
    torch.testing.assert_close(many.value[0], apart.value, rtol=0, atol=1e-4)
    assert torch.equal(many.iterations[0], apart.iterations)


# precision


def test_half_precision_is_computed_in_single():
    disk = fill(circle((20.0, 20.0), 8.0, 60), (41, 41)).bfloat16()
    start = circle((20.0, 20.0), 14.0, 60).bfloat16()
    history = []
    found, single = segment(disk, start, history=history), segment(disk.float(), start.float())
    assert found.value.dtype == history[-1].dtype == torch.bfloat16
    assert torch.equal(found.value, single.value.bfloat16()) and torch.equal(found.iterations, single.iterations)
    field = gvf_force(disk, 0.2).value
    assert torch.equal(evolve(start, field).value, evolve(start.float(), field.float()).value.bfloat16())


@pytest.mark.parametrize("ends", ["closed", "free", "fixed"])
def test_autocast_changes_nothing(ends):
    disk = fill(circle((20.0, 20.0), 8.0, 60), (41, 41)).float()
    start = circle((20.0, 20.0), 14.0, 60)
    options = {"ends": ends, "rigidity": 0.1}
    expected = evolve(start, gaussian_force(disk, 2.0), **options).value
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(evolve(start, gaussian_force(disk, 2.0), **options).value, expected)


# gradient


def blobs():
    """Two uneven blobs, and a direction in which to change them."""
    centers = torch.tensor([[15.3, 16.1], [14.8, 15.5]], dtype=torch.float64)
    image = fill(circle(centers, torch.tensor([8.2, 7.1]), 64), (32, 32)).double()
    noise = torch.randn(2, 2, 1, 32, 32, dtype=torch.float64, generator=dice())
    return blur(image, 1.0) + 0.02 * noise[0], blur(noise[1], 1.5)


def enclosed(change, kind, adjoint, stop=REST):
    image, direction = blobs()
    start = circle(torch.full((2, 2), 15.5, dtype=torch.float64), 12.0, 32)
    moved = image + change * direction if kind == "image" else image
    field = gvf_force(moved, 0.2, stop=Stop(1e-12, 100, 1)).value
    options = {"elasticity": 0.05, "rigidity": 0.02, "balloon": 0.02}
    if kind != "image":
        options[kind] = options[kind] + change
    return area(evolve(start, field, **options, stop=stop, adjoint=adjoint).value).sum()


def slopes(kind, adjoint, stop=REST):
    change = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(enclosed(change, kind, adjoint, stop), change)
    return slope.item()


@pytest.mark.parametrize("kind", ["image", "elasticity", "rigidity", "balloon"])
def test_implicit_and_truncated_gradients_are_those_of_finite_differences(kind):
    with torch.no_grad():
        ahead, behind = (enclosed(sign * 1e-6, kind, None).item() for sign in (1, -1))
    truth = (ahead - behind) / 2e-6
    assert slopes(kind, Stop(1e-10, 20000, 50)) == pytest.approx(truth, rel=1e-5)
    assert slopes(kind, Stop(1e-3, 20)) == pytest.approx(truth, rel=0.05)


def test_the_unrolled_gradient_is_that_of_finite_differences_away_from_rest():
    stop = Stop(tol=0.0, max_iter=20, every=10)
    with torch.no_grad():
        ahead, behind = (enclosed(sign * 1e-6, "image", None, stop).item() for sign in (1, -1))
    assert slopes("image", None, stop) == pytest.approx((ahead - behind) / 2e-6, rel=1e-5)


def test_the_gradient_leaves_the_value_as_it_is():
    image, _ = blobs()
    start = circle(torch.full((2, 2), 15.5, dtype=torch.float64), 12.0, 32)
    plain = segment(image, start).value
    attached = segment(image.requires_grad_(), start).value
    assert torch.equal(plain, attached) and attached.requires_grad


# reference


def test_scikit_images_astronaut():
    """The example of skimage.segmentation.active_contour, whose force is the gradient of Sobel edges."""
    smooth = gaussian(rgb2gray(data.astronaut()), sigma=3)[:260, 80:360]
    angle = np.linspace(0, 2 * np.pi, 400)
    start = np.stack((100 + 100 * np.sin(angle), 140 + 100 * np.cos(angle)), 1)
    expected = active_contour(smooth, start, alpha=0.015, beta=10, gamma=0.001)[:, ::-1]
    edges = F.pad(torch.from_numpy(sobel(smooth))[None, None], (1, 1, 1, 1), mode="replicate")[0]
    field = torch.stack((edges[:, 1:-1, 2:] - edges[:, 1:-1, :-2], edges[:, 2:, 1:-1] - edges[:, :-2, 1:-1]), 1) / 2
    found = evolve(
        torch.from_numpy(start[None, :, ::-1].copy()),
        field,
        elasticity=0.015,
        rigidity=10.0,
        step=100.0,
        unit=False,
        resample=0,
        stop=Stop(tol=0.05, max_iter=2500),
    )
    away = distance(found.value, torch.from_numpy(expected.copy())[None])
    assert found.converged.all() and away.mean() < 1


# errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": circle((15.0, 15.0), 20.0, 30)}, "points: some are outside the image of 31 x 31"),
        ({"points": torch.rand(1, 2, 2)}, "points: expected at least 3"),
        ({"points": torch.full((1, 9, 2), torch.nan)}, "points: some are NaN"),
        ({"points": torch.rand(1, 9, 3)}, "points: expected contours"),
        ({"points": torch.rand(2, 9, 2)}, "field: expected"),
        ({"points": torch.rand(1, 9, 2).double()}, "field: expected"),
        ({"field": torch.full((1, 2, 31, 31), torch.nan)}, "field: some values are NaN"),
        ({"field": torch.zeros(1, 1, 31, 31)}, "field: expected"),
        ({"elasticity": -1.0}, "elasticity"),
        ({"rigidity": torch.tensor([1.0, 2.0])}, "rigidity"),
        ({"balloon": float("nan")}, "balloon"),
        ({"balloon": 1.0, "ends": "free"}, "balloon: an open contour"),
        ({"balloon": float("inf")}, r"balloon: .* one a contour \(1, 1\), got inf"),
        ({"step": 0.0}, "step"),
        ({"step": float("inf")}, "step"),
        ({"resample": -1}, "resample"),
        ({"ends": "loose"}, "ends"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    arguments = {"points": circle((15.0, 15.0), 10.0, 30), "field": torch.zeros(1, 2, 31, 31), **change}
    with pytest.raises(ValueError, match=message):
        evolve(arguments.pop("points"), arguments.pop("field"), **arguments)
