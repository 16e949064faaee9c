import base64
import io

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from tavtorch import Solution, Stop
from tavtorch.image.splitting.split import Split
from tavtorch.lab.panels import picture, plot
from tavtorch.lab.panels.pictures import convergence, marked, parts, removed, restored, spectrum_plot


def pixels(url):
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/webp;base64,")))))


def half(image, *, hole=None, stop=None):
    """A pretended solver: the gap halves with each step."""
    gap = image.new_tensor([0.5 ** (stop or Stop()).max_iter])
    return Solution(image / 2, gap, gap, gap < 1)


def test_a_picture_is_drawn_pixel_by_pixel():
    assert pixels(picture(torch.tensor([[[0.0, 0.5], [1.0, 1.5]]])))[..., 0].tolist() == [[0, 128], [255, 255]]
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


def test_one_wave_is_to_be_seen_in_a_spectrum(monkeypatch):
    shown = []
    drawing = Axes.imshow
    monkeypatch.setattr(Axes, "imshow", lambda axes, x, **kind: shown.append(x) or drawing(axes, x, **kind))
    wave = torch.cos(2 * torch.pi * torch.arange(500) / 5).expand(1, 500, 500)
    spectrum_plot(wave)
    assert max(shown[0].shape) <= 128 and (shown[0] > -10).sum() == 2


def test_a_plot_stands_on_any_ground():
    figure = Figure(figsize=(2, 2))
    figure.add_subplot(title="words").plot([0, 1])
    drawn = pixels(plot(figure))
    assert drawn.shape[-1] == 4 and drawn[0, 0, 3] == 0  # transparent where nothing is
    inked = drawn[drawn[..., 3] > 250][:, :3].astype(int)
    assert inked.max(1).min() > 90  # nothing is black


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
