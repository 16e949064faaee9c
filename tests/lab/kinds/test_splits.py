import base64
import io

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image

from tavtorch import Solution
from tavtorch.image.splitting.split import Split
from tavtorch.lab.kinds.splits import parts, spectrum_plot, splitting

# score


def test_a_split_is_scored_by_its_texture():
    structure, texture = torch.rand(2, 1, 16, 16), 0.1 * torch.randn(2, 1, 16, 16)
    batch = {"inputs": {"image": structure + texture}, "truth": {"structure": structure, "texture": texture}}
    ripple = 0.1 * (-1) ** torch.arange(16)
    one = torch.ones(2)
    scores = splitting(Split(structure - ripple, texture + ripple + 0.3, Solution(None, one, one, one > 0)), batch)
    torch.testing.assert_close(scores["texture/psnr"], torch.tensor([20.0, 20.0]), atol=1e-3, rtol=0)
    assert scores["structure/iterations"].tolist() == [1, 1]
    assert splitting(Split(structure, structure), {"inputs": {}})["structure/correlation"].tolist() == pytest.approx(
        [1, 1]
    )


# panels


def pixels(url):
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/webp;base64,")))))


def test_one_wave_is_to_be_seen_in_a_spectrum(monkeypatch):
    shown = []
    drawing = Axes.imshow
    monkeypatch.setattr(Axes, "imshow", lambda axes, x, **kind: shown.append(x) or drawing(axes, x, **kind))
    wave = torch.cos(2 * torch.pi * torch.arange(500) / 5).expand(1, 500, 500)
    spectrum_plot(wave)
    assert max(shown[0].shape) <= 128 and (shown[0] > -10).sum() == 2


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
