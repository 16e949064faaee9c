import pytest
import torch

from tavtorch import CrowdModel, Solution, circle, fill, segment_crowd
from tavtorch.lab.data.synthetic.shapes import crowds
from tavtorch.lab.kinds.crowds import crowd, crowded, error


def pair(radii=(6.0, 8.0)):
    """Two disks, and contours about them of other radii."""
    middle = torch.tensor([[[12.0, 14.0], [34.0, 20.0]]])
    truth = fill(circle(middle, torch.tensor([[6.0, 8.0]]), 200), (40, 50))
    points = circle(middle, torch.tensor([list(radii)]), 200)
    one = torch.ones(1, 2)
    return Solution(points, one, 0 * one, one > 0), truth


def test_the_error_is_what_contours_miss_of_their_objects():
    assert error(*pair()).item() < 0.1  # corners of pixels
    assert error(*pair((6.0, 4.0))).item() == pytest.approx(0.75 / 2 + 0.04, abs=0.03)
    assert error(*pair((12.0, 8.0))).item() == pytest.approx(0.75 / 2 + 0.04, abs=0.03)


def test_it_grows_with_the_distance_and_can_be_differentiated():
    found, truth = pair()
    away = torch.tensor([2.0, 0.0], requires_grad=True)
    loss = error(found._replace(value=found.value + away), truth)
    (slope,) = torch.autograd.grad(loss.sum(), away)
    assert slope[0] > 0.02 and slope[1].abs() < 0.02


def test_a_contour_that_has_collapsed_counts_as_lost_without_a_gradient():
    found, truth = pair()
    points = found.value.clone().requires_grad_()
    loss = error(found._replace(value=points, gap=torch.tensor([[0.0, torch.inf]])), truth)
    (slope,) = torch.autograd.grad(loss.sum(), points)
    assert 0.5 < loss.item() < 0.56 and slope[:, 0].any() and not slope[:, 1].any()


def test_what_the_network_sees_counts_in_training():
    found, truth = pair()
    right, unsure = (error((found, known), truth) for known in (truth.float(), torch.full(truth.shape, 0.5)))
    torch.testing.assert_close(right, error(found, truth))
    assert unsure > right + 1


def test_the_least_and_the_lost_are_scored():
    found, truth = pair((6.0, 4.0))
    batch = {"inputs": {"image": torch.rand(1, 1, 40, 50), "points": found.value}, "truth": truth}
    columns = crowded(found._replace(gap=torch.tensor([[0.0, torch.inf]])), batch)
    assert columns["result/least iou"].item() == pytest.approx(0.25, abs=0.03)
    assert columns["result/collapsed"].item() == 0.5
    assert columns["result/iou"] > columns["result/least iou"]


def test_the_page_shows_contours_and_what_the_network_sees():
    scene = crowds(1, 51, objects=4, generator=torch.Generator().manual_seed(0))
    batch = {"inputs": {"image": scene.image, "points": scene.points}, "truth": scene.truth}
    panels = crowd(segment_crowd(scene.image, scene.points), batch, model=CrowdModel.pretrained())
    assert [panel.caption for panel in panels] == [
        "start (dashed), end (cyan) and truth (green)",
        "the way there",
        "what the network takes for each object",
    ]
