"""Contours that are moved by colours, by each other, by hand, and through films; and where they start."""

from functools import partial

import numpy as np
import pytest
import torch
from skimage.segmentation import morphological_chan_vese

from tavtorch import Stop, circle, evolve, fill, gvf_force, segment
from tavtorch.image.contours import area, chan_vese_force, crosses_itself, edge_map, seeds, soft_fill, track
from tavtorch.image.contours.region import enclosed
from tavtorch.image.contours.terms import repulsion
from tavtorch.lab.data.synthetic.shapes import crowds
from tavtorch.lab.kinds.contours import iou

REGION = partial(segment, force=None, region=chan_vese_force)


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def disk(radius=20.0, size=96, center=(47.5, 45.0)):
    return fill(circle(center, radius, 400), (size, size))


def noisy(mask, sigma=0.5):
    """An object without an edge that a gradient would find: in the noise of half its contrast."""
    return mask.any(1, keepdim=True) + sigma * torch.randn(len(mask), 1, *mask.shape[-2:], generator=dice())


# truth


def test_integrals_over_polygons_are_those_of_their_pixels():
    image = torch.rand(2, 3, 60, 70, generator=dice(), dtype=torch.float64)
    corners = torch.tensor([[[9.5, 7.5], [40.5, 7.5], [40.5, 33.5], [9.5, 33.5]]]).double().repeat(2, 1, 1)[:, None]
    sides = torch.stack([torch.lerp(corners, corners.roll(-1, -2), t / 104) for t in range(104)], 3).flatten(2, 3)
    for points in (sides, sides.flip(2)):
        integral, size = enclosed(image, points)
        torch.testing.assert_close(size, torch.full_like(size, 31.0 * 26))
        torch.testing.assert_close(integral[:, 0], image[..., 8:34, 10:41].sum((2, 3)), rtol=1e-2, atol=0)
    torch.testing.assert_close(enclosed(torch.ones_like(image), sides)[0], size.expand(-1, -1, 3))


def test_the_force_is_one_way_on_the_inside_and_the_other_outside():
    mask = disk().double()
    for radius, sign in ((10.0, 1), (30.0, -1)):
        start = circle(torch.tensor([[47.5, 45.0]]).double(), radius, 64)
        outwards = torch.nn.functional.normalize(start - torch.tensor([47.5, 45.0]).double(), dim=-1)
        for points in (start, start.flip(1)):
            force = (chan_vese_force(mask, points) * (outwards if points is start else outwards.flip(1))).sum(-1)
            assert (force * sign > 0.4).all() and (force.abs() <= 1).all()


def test_an_object_in_noise_is_found_without_its_edge():
    mask = disk()
    image, start = noisy(mask, 0.7), circle((44, 50), 33, 100)
    found = REGION(image, start, elasticity=0.3)
    assert found.converged.all() and iou(fill(found.value, (96, 96)), mask) > 0.93
    by_edges = segment(image, start, elasticity=0.3)
    assert iou(fill(by_edges.value, (96, 96)), mask) < 0.8


@pytest.mark.parametrize("turn", [False, True])
def test_dark_objects_and_starts_that_run_either_way(turn):
    mask = disk()
    start = circle((44, 50), 33, 100)
    found = REGION(1 - noisy(mask, 0.2), start.flip(1) if turn else start)
    assert iou(fill(found.value, (96, 96)), mask) > 0.95
    assert (area(found.value) * area(start) > 0).item() != turn


# optimality


def test_it_descends_the_energy_of_chan_and_vese():
    image, points = noisy(disk(), 0.2).double(), circle((46, 47), 26, 120).double()

    def energy(x):
        inside = soft_fill(x, (96, 96), width=0.5)
        means = [(image * m).sum() / m.sum() for m in (inside, 1 - inside)]
        return (inside * (image - means[0]).square() + (1 - inside) * (image - means[1]).square()).sum()

    force = chan_vese_force(image, points)
    assert energy(points + 0.3 * force) < energy(points) < energy(points - 0.3 * force)


def test_contours_that_repel_part():
    """Two circles that overlap, in no field: each gives way along the line between them."""
    start = circle(torch.tensor([[[40.0, 48.0], [60.0, 48.0]]]), 12.0, 60)
    options = {"elasticity": 0.0, "stop": Stop(tol=0.02, max_iter=100, every=10)}
    found = evolve(start, torch.zeros(1, 2, 96, 100), repel=1.0, **options)
    mask = fill(found.value, (96, 100))
    assert (fill(start, (96, 100)).all(1)).sum() > 20 and not mask.all(1).any()
    assert found.value[0, 0, :, 0].amax() < found.value[0, 1, :, 0].amin()
    assert repulsion(start[:, :1], 2.0).eq(0).all()
    far = circle(torch.tensor([[[20.0, 48.0], [60.0, 48.0]]]), 12.0, 60)
    assert repulsion(far, 2.0).eq(0).all()


def test_cells_of_a_crowd_are_kept_by_repulsion():
    scene = crowds(1, 256, generator=dice())
    force = partial(gvf_force, smoothness=0.2, edges=partial(edge_map, sigma=0.7, normalize="binary", threshold=0.1))
    found = segment(scene.image, scene.points, force=force, repel=0.5, stop=Stop(0.1, 200, 10))
    scores = iou(fill(found.value, (256, 256))[0, :, None], scene.truth[0, :, None])
    assert scores.mean() > 0.9 and scores.min() > 0.7 and found.gap.isfinite().all()


def test_a_handle_holds_the_contour():
    mask = disk().float()
    start, handle = circle((47.5, 45.0), 30, 100), torch.tensor([[[80.0, 45.0], [47.5, 12.0]]])
    found = segment(mask, start, anchors=handle)
    away = (found.value[:, None] - handle[:, :, None]).norm(dim=-1).amin(-1)
    free = segment(mask, start)
    assert away.amax() < 1.5 and (free.value - handle[:, :1]).norm(dim=-1).amin() > 10
    opposite = found.value[0, (found.value[0] @ torch.tensor([1.0, -1.0])) < -15]  # left of the line between them
    assert ((opposite - torch.tensor([47.5, 45.0])).norm(dim=-1) - 20).abs().amax() < 2


@pytest.mark.parametrize("drag", [-12.0, -5.0, 8.0, 15.0])
def test_what_a_handle_pulls_comes_to_rest_and_does_not_cross_itself(drag):
    """Out of a disk of radius 20, or into it, from the contour at rest or from where it was dragged to before."""
    mask, way = disk().float(), torch.tensor([0.8, 0.6])
    mask = mask + 0.1 * torch.randn(mask.shape, generator=dice())
    middle = torch.tensor([47.5, 45.0])
    rest = segment(mask, circle(middle[None], 24, 100)).value
    handle = (middle + (20 + drag) * way)[None, None]
    found = segment(mask, rest, anchors=handle)
    assert found.converged.all() and found.iterations <= 300 and not crosses_itself(found.value).any()
    assert (found.value - handle).norm(dim=-1).amin() < 1.5
    behind = (found.value - middle) @ way < -10
    assert ((found.value - middle).norm(dim=-1)[behind] - 20).abs().amax() < 1
    before = segment(mask, rest, anchors=(middle + (20 + drag / 2) * way)[None, None]).value
    again = segment(mask, before, anchors=handle)
    assert iou(fill(again.value, (96, 96)), fill(found.value, (96, 96))) > 0.97


def test_the_gradient_reaches_the_handle():
    field = gvf_force(disk().double(), 0.2).value
    rest = evolve(circle((47.5, 45.0), 24, 50).double(), field).value

    def size(handle):
        found = evolve(rest, field, anchors=handle, stop=Stop(1e-5, 2000, 50), adjoint=Stop(1e-4, 2000))
        return area(found.value).sum()

    handle = torch.tensor([[[70.0, 60.0]]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(size(handle), handle)
    step = 1e-2 * torch.eye(2, dtype=torch.float64)
    expected = [(size(handle.detach() + d) - size(handle.detach() - d)).item() / 2e-2 for d in step]
    torch.testing.assert_close(slope.flatten(), torch.tensor(expected).double(), rtol=1e-3, atol=0)


def film(frames=12, size=72, radius=7.0):
    """A soft cell that moves by its own radius a frame, on a ragged ground; its middle in each frame."""
    t = torch.arange(frames) * radius
    middle = torch.stack((size / 2 + 22 * torch.cos(t / 22), size / 2 + 22 * torch.sin(t / 22)), -1)
    y, x = torch.meshgrid(*(2 * [torch.arange(float(size))]), indexing="ij")
    away = torch.hypot(x - middle[:, 0, None, None], y - middle[:, 1, None, None])
    cells = torch.sigmoid((radius - away) / 0.7) * (1 + 0.3 * torch.sin(x))
    noise = 0.05 * torch.randn(frames, size, size, generator=dice())
    return (cells + noise)[None, None], middle


def test_a_cell_that_moves_by_its_radius_is_followed():
    frames, middle = film(40)
    found = track(frames, circle(middle[:1], 10, 60), force=None, region=chan_vese_force)
    assert found.value.shape == (1, 40, 60, 2) and found.converged.shape == (1, 40)
    assert ((found.value.mean(2)[0] - middle).norm(dim=-1)).amax() < 0.5
    assert (area(found.value[0]).abs() / (torch.pi * 49) - 1).abs().amax() < 0.1


def test_many_cells_of_many_films_are_followed_as_alone():
    one, middle = film(6)
    frames = torch.cat((one, one.flip(-1)))
    starts = circle(torch.stack((middle[0], torch.stack((71 - middle[0, 0], middle[0, 1]))))[:, None], 10.0, 40)
    found = track(frames, starts)
    for i in range(2):
        alone = track(frames[i : i + 1], starts[i : i + 1])
        assert torch.equal(alone.value[0], found.value[i])
    assert (found.value[0].mean(2)[:, 0] - middle[:6]).norm(dim=-1).amax() < 1.5


def test_blobs_are_proposed_with_their_radii():
    centres, radii = torch.tensor([[[20.0, 24.0], [70.0, 30.0], [40.0, 70.0]]]), torch.tensor([[8.0, 14.0, 11.0]])
    image = fill(circle(centres, radii, 64), (100, 100)).any(1, keepdim=True).float()
    image = image + 0.05 * torch.randn(1, 1, 100, 100, generator=dice())
    for picture, dark in ((image, None), (1 - image, None), (1 - image, True)):
        (found,) = seeds(picture, dark=dark)
        assert found.shape == (3, 64, 2)
        away = torch.cdist(found.mean(1), centres[0])
        assert sorted(away.argmin(1).tolist()) == [0, 1, 2] and away.amin(1).amax() < 1.5
        radius = (found - found.mean(1, keepdim=True)).norm(dim=-1).mean(1)
        assert (radius / radii[0, away.argmin(1)] - 1).abs().amax() < 0.2
    found = segment(image, seeds(image)[0][None])
    assert found.converged.all()
    assert seeds(torch.ones(2, 1, 40, 50))[1].shape == (0, 64, 2)
    both = seeds(torch.cat((image, 1 - image)))
    assert all(torch.equal(a, seeds(u)[0]) for a, u in zip(both, (image, 1 - image), strict=True))


# symmetry


def test_brightness_and_mirrors_do_not_count():
    image, points = noisy(disk()).double(), circle((44, 50), 28, 80).double()
    force = chan_vese_force(image, points)
    torch.testing.assert_close(chan_vese_force(5 - 3 * image, points), force)
    torch.testing.assert_close(chan_vese_force(image.repeat(1, 3, 1, 1), points), force)
    mirrored = torch.stack((95 - points[..., 0], points[..., 1]), -1)
    expected = force * torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(chan_vese_force(image.flip(-1), mirrored), expected)


# batch


def test_alone_is_together():
    image = noisy(torch.cat((disk(), disk(14.0))))
    points = circle(torch.tensor([[44.0, 50.0], [50.0, 47.0]]), 30, 80)
    together = REGION(image, points, repel=1.0)
    for i in range(2):
        alone = REGION(image[i : i + 1], points[i : i + 1], repel=1.0)
        for one, all_ in zip(alone, together, strict=True):
            assert torch.equal(one[0], all_[i])


# gradient


def test_the_force_has_its_gradient():
    image = torch.rand(1, 2, 12, 13, dtype=torch.float64, requires_grad=True)
    points = (circle(torch.tensor([[[4.2, 5.1], [8.3, 6.4]]]).double(), 3.07, 7) + 0.013).requires_grad_()
    assert torch.autograd.gradcheck(chan_vese_force, (image, points), fast_mode=True)
    assert torch.autograd.gradcheck(partial(repulsion, reach=2.0), (points,), fast_mode=True)


def test_the_area_at_rest_has_the_gradient_of_the_light():
    """A blob of soft border: the contour ends where the light is midway, and moves with it."""
    y, x = torch.meshgrid(*(2 * [torch.arange(64.0).double()]), indexing="ij")
    blob = torch.sigmoid((15 - torch.hypot(x - 31, y - 30)) / 4)[None, None]

    def size(power):
        found = segment(
            blob.pow(power), circle((31.0, 30.0), 20, 60).double(), force=None, region=chan_vese_force,
            stop=Stop(1e-9, 4000, 50),
        )  # fmt: skip
        return area(found.value)

    power = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(size(power).sum(), power)
    step = 1e-3
    expected = (size(torch.tensor(1 + step).double()) - size(torch.tensor(1 - step).double())) / (2 * step)
    torch.testing.assert_close(slope, expected[0], rtol=0.05, atol=0)


# reference


def test_it_encloses_what_scikit_image_labels():
    image = noisy(disk(), 0.3)
    start = circle((47, 47), 30, 100)
    level = fill(start, (96, 96))[0, 0].numpy().astype(np.int8)
    label = torch.from_numpy(morphological_chan_vese(image[0, 0].numpy(), 100, init_level_set=level, smoothing=2) > 0)
    found = fill(REGION(image, start).value, (96, 96))
    assert iou(found, label[None, None]) > 0.95


# errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda u, p: chan_vese_force(u, p, inside=-1.0), "inside: expected a finite number >= 0"),
        (lambda u, p: chan_vese_force(u, p.repeat(2, 1, 1)), "points: expected contours of 1 images, got 2"),
        (lambda u, p: segment(u, p, force=None), "force: expected a function of the image, or a region"),
        (lambda u, p: segment(u, p, repel=-1.0), "repel: expected a finite number >= 0"),
        (lambda u, p: segment(u, p, anchors=torch.zeros(1, 2)), "anchors: expected finite places"),
        (lambda u, p: segment(u, p, anchors=torch.full((1, 1, 2), torch.nan)), "anchors: expected finite places"),
        (lambda u, p: track(u, p), "frames: expected films"),
        (lambda u, p: track(u[:, :, None], p, reach=0), "reach: expected a whole number"),
        (lambda u, p: seeds(u, least=9.0, most=3.0), "least, most: expected radii"),
        (lambda u, p: seeds(u, threshold=0.0), "threshold: expected a number above 0"),
    ],
)
def test_what_is_wrong_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(disk().float(), circle((47.0, 47.0), 20, 40))
