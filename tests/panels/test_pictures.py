import base64
import io

import numpy as np
import torch
from PIL import Image

from tavtorch import Solution, Stop
from tavtorch.image.split import Split
from tavtorch.panels.pictures import convergence, marked, parts, picture, restored


def pixels(url):
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))))


def half(image, *, stop=None):
    """A pretended solver: the gap halves with each step."""
    gap = image.new_tensor([0.5 ** (stop or Stop()).max_iter])
    return Solution(image / 2, gap, gap, gap < 1)


def test_a_picture_is_drawn_pixel_by_pixel():
    assert pixels(picture(torch.tensor([[[0.0, 0.5], [1.0, 1.5]]]))).tolist() == [[0, 128], [255, 255]]
    assert pixels(picture(torch.rand(3, 4, 5))).shape == (4, 5, 3)


def test_a_hole_is_painted_and_nothing_else():
    hole = torch.tensor([[[True, False]]])
    painted = marked(torch.full((1, 1, 2), 0.25), hole, (1.0, 0.0, 0.5))
    assert painted[:, 0].mT.tolist() == [[1.0, 0.0, 0.5], [0.25, 0.25, 0.25]]


def test_what_is_shown_of_a_restoration():
    image = torch.rand(1, 1, 6, 7)
    batch = {"inputs": {"image": image}, "truth": image}
    panels = restored(half(image), batch, op=half)
    assert [panel.caption for panel in panels] == [
        "input",
        "result",
        "truth",
        "result - truth, around mid-grey, × 2",
        "input - result, around mid-grey, × 2",
        "gap over the iterations",
    ]
    expected = (image[0, 0].clamp(0, 1) / 2 * 255).round()
    assert np.abs(pixels(panels[1].picture) - expected.numpy()).max() <= 1
    batch["inputs"]["hole"] = torch.zeros(1, 1, 6, 7, dtype=torch.bool)
    assert [panel.caption for panel in restored(image, batch)][:3] == ["input", "result", "truth"]


def test_the_road_is_drawn(monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.axes.Axes.loglog", lambda axes, x, y, **_: drawn.append((x, y)))
    convergence(half, {"image": torch.rand(1, 1, 2, 2)})
    ((steps, gaps),) = drawn
    np.testing.assert_allclose(gaps, 0.5 ** np.array(steps, dtype=float), atol=1e-30)


def test_what_is_shown_of_a_split():
    image = torch.rand(1, 1, 8, 8)
    split = Split(image, 0 * image)
    batch = {"inputs": {"image": image}, "truth": {"structure": image, "texture": 0 * image}}
    panels = parts(split, batch)
    assert [panel.caption for panel in panels] == [
        "image",
        "structure",
        "texture, around mid-grey",
        "true texture, around mid-grey",
        "spectrum of the image",
        "spectrum of the structure",
        "spectrum of the texture",
    ]
    assert (pixels(panels[2].picture) == 128).all()
    assert len(parts(split, {"inputs": {"image": image}})) == 6
