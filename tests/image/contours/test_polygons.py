import math

import numpy as np
import pytest
import torch
from skimage.draw import polygon2mask

from tavtorch import circle, fill
from tavtorch.image.contours import area, crosses_itself, soft_fill
from tavtorch.image.contours.polygons import distance, equidistant


def blob(b=2, n=50, **kind):
    """Random closed contours around (20, 15)."""
    angle = torch.arange(n, **kind) * (2 * math.pi / n)
    radius = 8 + 3 * torch.rand(b, n, **kind)
    return torch.stack((20 + radius * angle.cos(), 15 + radius * angle.sin()), dim=-1)


# truth


def test_circles():
    points = circle((5.0, 4.0), 2.0, 100)
    assert points.shape == (1, 100, 2)
    torch.testing.assert_close((points - torch.tensor([5.0, 4.0])).norm(dim=-1), torch.full((1, 100), 2.0))
    assert area(points).item() == pytest.approx(4 * math.pi, rel=1e-3)


def test_circles_for_a_batch_and_for_many_an_image():
    centers = torch.tensor([[[5.0, 4.0], [9.0, 9.0]]], dtype=torch.float64)
    assert circle(centers[0], 2, 10).shape == (2, 10, 2) and circle(centers[0], 2, 10).dtype == torch.float64
    radii = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    torch.testing.assert_close(area(circle(centers, radii, 400)), math.pi * radii**2, rtol=1e-3, atol=0)


def test_a_center_of_whole_numbers_leaves_the_radius_as_it_is():
    points = circle(torch.tensor([[5, 4]]), 2.9, 12)
    torch.testing.assert_close(points, circle((5.0, 4.0), 2.9, 12))


def test_fill_of_a_square_includes_its_upper_and_left_sides():
    square = torch.tensor([[[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0]]])
    mask = fill(square, (5, 5))
    assert mask.shape == (1, 1, 5, 5)
    assert mask[0, 0].nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_fill_of_a_contour_that_leaves_the_image():
    assert fill(circle((5.0, 5.0), 100.0, 20), (8, 9)).all()
    assert not fill(circle((50.0, 5.0), 10.0, 20), (8, 9)).any()


def test_a_contour_that_crosses_itself_is_filled_where_it_winds():
    bowtie = torch.tensor([[[0.5, 0.5], [6.5, 5.5], [6.5, 0.5], [0.5, 5.5]]])
    mask = fill(bowtie, (7, 8))[0, 0]
    assert mask[3, 1] and mask[3, 6] and not mask[1, 3] and not mask[5, 3]


def test_distance_by_hand():
    square = torch.tensor([[[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]])
    queries = torch.tensor([[[2.0, 1.0], [2.0, -3.0], [7.0, 8.0], [4.0, 2.0]]])
    assert distance(queries, square)[0].tolist() == [1, 3, 5, 0]


@pytest.mark.parametrize("closed", [True, False])
def test_equidistant_points_are_so_on_a_line(closed):
    points = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [6.0, 0.0], [6.0, 6.0], [0.0, 6.0]]])
    spread = equidistant(points, 12, closed=closed)
    assert torch.equal(spread[:, 0], points[:, 0]) and spread.shape == (1, 12, 2)
    if closed:
        torch.testing.assert_close(spread.diff(dim=1).norm(dim=-1), torch.full((1, 11), 2.0))
    else:
        torch.testing.assert_close(spread[0, -1], points[0, -1])


def test_what_crosses_itself_is_told():
    simple, eight = blob(2), torch.tensor([[[0.0, 0.0], [2.0, 2.0], [2.0, 0.0], [0.0, 2.0]]])
    assert not crosses_itself(simple).any() and not crosses_itself(simple.flip(-2)).any()
    assert crosses_itself(eight).all() and crosses_itself(eight.expand(3, 2, 4, 2)).shape == (3, 2)
    touching = torch.tensor([[[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [2.0, 0.0], [0.0, 4.0]]])
    assert not crosses_itself(touching).any()  # a corner on an edge does not cross it


# symmetry


def test_neighbours_share_every_pixel_once():
    left = torch.tensor([[[2.0, 1.0], [7.5, 3.0], [6.0, 9.0], [1.0, 8.0]]])
    right = torch.tensor([[[7.5, 3.0], [12.0, 2.0], [11.0, 10.0], [6.0, 9.0]]])
    both = torch.tensor([[[2.0, 1.0], [7.5, 3.0], [12.0, 2.0], [11.0, 10.0], [6.0, 9.0], [1.0, 8.0]]])
    parts = fill(left, (12, 14)).int() + fill(right, (12, 14)).int()
    assert torch.equal(parts, fill(both, (12, 14)).int())


def test_the_way_a_contour_runs_changes_only_the_sign_of_its_area():
    points = blob()
    assert torch.equal(fill(points.flip(1), (30, 40)), fill(points, (30, 40)))
    torch.testing.assert_close(area(points.flip(1)), -area(points))


def test_soft_fill_goes_to_fill(dtype, device):
    points = blob(dtype=dtype, device=device)
    mask, soft = fill(points, (30, 40)), soft_fill(points, (30, 40), width=1e-4)
    assert torch.equal(soft > 0.5, mask) and soft.dtype == dtype
    assert soft_fill(points, (30, 40)).sum().item() == pytest.approx(area(points).sum().item(), rel=0.05)


# batch


def test_alone_is_together_and_many_are_channels():
    points = blob(6)
    together = fill(points, (30, 40))
    for i in range(6):
        assert torch.equal(fill(points[i : i + 1], (30, 40))[0], together[i])
    assert torch.equal(fill(points.reshape(2, 3, 50, 2), (30, 40)).flatten(0, 1)[:, None], together)


# gradient


def test_gradients():
    points = blob(1, 9, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(area, points)
    assert torch.autograd.gradcheck(equidistant, points)
    assert torch.autograd.gradcheck(lambda p: soft_fill(p, (6, 5), width=2.0), points)


def test_the_gradient_of_a_soft_mask_is_that_of_the_area():
    points = blob(1, dtype=torch.float64).requires_grad_()
    (mask,) = torch.autograd.grad(soft_fill(points, (30, 40)).sum(), points)
    (truth,) = torch.autograd.grad(area(points).sum(), points)
    assert torch.cosine_similarity(mask.flatten(), truth.flatten(), dim=0) > 0.95


# reference


def test_fill_is_scikit_images():
    points = blob(4, dtype=torch.float64)
    expected = np.stack([polygon2mask((30, 40), p[:, ::-1]) for p in points.numpy()])
    assert torch.equal(fill(points, (30, 40))[:, 0], torch.from_numpy(expected))


# errors


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.rand(1, 2, 2), "points: expected at least 3"),
        (torch.rand(0, 5, 2), "points: expected contours"),
        (torch.full((1, 5, 2), torch.nan), "points: some are NaN"),
    ],
)
def test_what_is_wrong_with_points_is_named(points, message):
    with pytest.raises(ValueError, match=message):
        fill(points, (8, 8))


def test_what_is_wrong_with_circles_is_named():
    with pytest.raises(ValueError, match="n: expected at least 3"):
        circle((0, 0), 1, 2)
    for radius in (0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="radius"):
            circle((0, 0), radius, 10)
    with pytest.raises(ValueError, match="center"):
        circle((0, 0, 0), 1, 10)


@pytest.mark.parametrize("width", [0.0, -1.0, float("inf"), float("nan")])
def test_a_soft_border_has_a_width(width):
    with pytest.raises(ValueError, match="width: expected a finite number of pixels > 0"):
        soft_fill(blob(1), (30, 40), width=width)
