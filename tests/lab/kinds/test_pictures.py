import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from tavtorch import Solution, Stop
from tavtorch.lab.kinds.pictures import convergence, marked, removed, restoration, restored

# score


def test_a_tenth_off_everywhere_is_twenty_decibels():
    truth = torch.rand(2, 3, 16, 16) / 2
    batch = {"inputs": {"image": truth + 0.01}, "truth": truth}
    scores = restoration(truth + torch.tensor([0.1, 0.001]).reshape(2, 1, 1, 1), batch)
    torch.testing.assert_close(scores["result/psnr"], torch.tensor([20.0, 60.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(scores["input/psnr"], torch.tensor([40.0, 40.0]), atol=1e-3, rtol=0)
    assert scores["result/ssim"][0] < scores["result/ssim"][1] < 1


def test_what_is_out_of_range_is_cut_off_before_it_is_compared():
    truth = torch.ones(1, 1, 16, 16)
    scores = restoration(truth + 5, {"inputs": {"image": truth - 0.1}, "truth": truth})
    assert scores["result/psnr"].item() == float("inf")


def test_in_the_hole_only_the_hole_counts():
    truth, hole = torch.rand(1, 3, 16, 16) / 2, torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    hole[..., :4] = True
    result = torch.where(hole, truth + 0.1, truth + 0.3)
    scores = restoration(result, {"inputs": {"image": truth, "hole": hole}, "truth": truth})
    assert scores["result/psnr_in_hole"].item() == pytest.approx(20, abs=1e-3)


def test_a_solution_says_how_it_went():
    image, one = torch.rand(1, 1, 16, 16), torch.ones(1)
    batch = {"inputs": {"image": image}, "truth": image}
    scores = restoration(Solution(image, 7 * one, 0.5 * one, one > 2), batch)
    assert [scores[f"result/{key}"].item() for key in ("iterations", "gap", "converged")] == [7, 0.5, False]


# panels


def pixels(url):
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/webp;base64,")))))


def half(image, *, hole=None, stop=None):
    """A pretended solver: the gap halves with each step."""
    gap = image.new_tensor([0.5 ** (stop or Stop()).max_iter])
    return Solution(image / 2, gap, gap, gap < 1)


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
        "the way to the result",
    ]
    assert panels[1].before == "input"
    expected = (image[0, 0].clamp(0, 1) / 2 * 255).round()
    assert np.abs(pixels(panels[1].picture)[..., 0] - expected.numpy()).max() <= 1
    batch["inputs"]["hole"] = torch.zeros(1, 1, 6, 7, dtype=torch.bool)
    assert [panel.caption for panel in restored(image, batch)][:3] == ["input", "result", "truth"]


def test_what_is_shown_of_a_removal():
    image = torch.rand(1, 1, 6, 7)
    batch = {"inputs": {"image": image, "hole": torch.ones(1, 1, 6, 7, dtype=torch.bool)}, "truth": image}
    panels = removed(image / 2, batch)
    assert [panel.caption for panel in panels] == ["before", "what is taken away", "after"]
    assert len(removed(half(image), batch, op=half)) == 4


@pytest.mark.parametrize("steps", [200, 1400])
def test_the_way_is_drawn(monkeypatch, steps):
    drawn = {}
    monkeypatch.setattr("matplotlib.axes.Axes.loglog", lambda axes, x, y, label, **_: drawn.update({label: (x, y)}))
    monkeypatch.setattr("matplotlib.axes.Axes.legend", lambda *_, **__: None)
    convergence(half, {"image": torch.rand(1, 1, 2, 2)}, steps=steps)
    looks, gaps = drawn["gap: energy above the least, at most"]
    assert looks[0] == 1 and looks[-1] == steps
    np.testing.assert_allclose(gaps, 0.5 ** np.array(looks, dtype=float), atol=1e-30)
    assert drawn["relative distance to the last picture"] == (looks[:-1], [0.0] * (len(looks) - 1))
