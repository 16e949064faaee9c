import base64
import io
from functools import partial

import pytest
import torch
from PIL import Image

from tavtorch import Solution, Stop, circle, fill, segment
from tavtorch.lab.kinds.contours import animation, contours, film, followed, hausdorff, iou, segmentation

# score


def test_iou_is_the_mean_over_the_objects_of_an_image():
    truth = torch.zeros(2, 2, 4, 5, dtype=torch.bool)
    truth[:, :, 1:3] = True
    mask = truth.clone()
    mask[0, 1, 2], mask[1] = False, False
    assert iou(mask, truth).tolist() == [0.75, 0]
    assert iou(mask[1:], torch.zeros_like(mask[1:])).item() == 1


def test_hausdorff_distance_of_circles():
    one, other = circle((9.0, 9.0), 5.0, 400), circle((10.0, 9.0), 7.0, 300)
    assert hausdorff(one, other).item() == pytest.approx(3, abs=0.01)
    assert hausdorff(one, other) == hausdorff(other, one) and hausdorff(one, one) == 0
    assert hausdorff(one, one.roll(7, 1)).item() < 1e-5


def test_a_segmentation_is_scored_against_its_masks():
    points = torch.stack((circle((10, 10), 5, 50)[0], circle((20, 20), 4, 50)[0]))[None]
    truth = fill(points, (32, 32))
    one = torch.ones(1, 2)
    batch = {"inputs": {"image": torch.rand(1, 1, 32, 32), "points": points + 20.0}, "truth": truth}
    scores = segmentation(Solution(points, 5 * one, one, torch.tensor([[True, False]])), batch)
    assert scores["result/iou"].tolist() == [1] and scores["start/iou"].item() < 0.1
    assert scores["result/converged"].tolist() == [0.5] and scores["result/iterations"].tolist() == [5]


def test_contours_without_a_truth_still_say_how_they_went():
    points, one = circle((10, 10), 5, 50), torch.ones(1)
    batch = {"inputs": {"image": torch.rand(1, 1, 32, 32), "points": points}, "truth": torch.rand(1, 1, 32, 32)}
    assert segmentation(Solution(points, one, one, one > 0), batch).keys() == {"result/iterations", "result/converged"}


def films():
    """Two frames of two films: the contours are those of the truth but for the last frame of the second."""
    points = circle(torch.tensor([[[10.0, 10.0], [14.0, 10.0]], [[10.0, 12.0], [20.0, 20.0]]]), 5.0, 40)
    truth = fill(points, (32, 32))
    points = points.clone()
    points[1, 1] -= 9
    one = torch.ones(2, 2)
    batch = {"inputs": {"frames": torch.rand(2, 1, 2, 32, 32), "points": points[:, 0]}, "truth": truth}
    return Solution(points, 4 * one, one, one > 0), batch


def test_films_are_scored_frame_by_frame():
    scores = followed(*films())
    assert scores["result/iou"][0] == 1 and scores["result/least iou"][0] == 1
    assert scores["result/iou"][1] == (1 + scores["result/least iou"][1]) / 2 and scores["result/least iou"][1] < 0.2
    assert scores["result/iterations"].tolist() == [4, 4] and scores["result/converged"].tolist() == [1, 1]


# panels


def test_a_film_is_shown_with_its_contours():
    moving, still = film(*films())
    shown = Image.open(io.BytesIO(base64.b64decode(moving.picture.removeprefix("data:image/webp;base64,"))))
    assert shown.n_frames == 2 and still.picture.startswith("data:image/webp")


def scene():
    disk = fill(circle((16, 16), 8, 64), (33, 33))
    return {"inputs": {"image": disk.float(), "points": circle((16, 16), 14, 64)}, "truth": disk}


def test_a_contour_is_shown_with_its_way():
    batch, op = scene(), partial(segment, stop=Stop(tol=0.1, max_iter=60, every=10))
    still, moving = contours(op(**batch["inputs"]), batch, op=op)
    assert still.picture.startswith("data:image/webp")
    film = Image.open(io.BytesIO(base64.b64decode(moving.picture.removeprefix("data:image/webp;base64,"))))
    assert film.n_frames > 2
    batch["truth"] = batch["inputs"]["image"]  # a picture, whose objects nobody has marked
    assert contours(op(**batch["inputs"]), batch, op=op)[0].caption == "start (dashed) and end"


def test_a_long_way_is_told_in_few_pictures():
    image, points = torch.rand(1, 20, 30), circle((15, 10), 5, 20)[0]
    film = animation(image, [points + 0.02 * k for k in range(200)])
    assert Image.open(io.BytesIO(base64.b64decode(film.removeprefix("data:image/webp;base64,")))).n_frames <= 40
