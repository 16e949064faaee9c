import base64
import io
from functools import partial

import torch
from PIL import Image

from tavtorch import Stop, circle, fill, gvf_force, segment
from tavtorch.lab.panels.contours import animation, contours, field


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


def test_a_field_is_arrows_and_lengths():
    batch = scene()
    panels = field(gvf_force(batch["inputs"]["image"], 0.2), batch)
    assert [panel.caption for panel in panels] == ["direction of the force", "length of the force"]
    assert len(field(torch.zeros(1, 2, 33, 33), batch)) == 2  # a force that is nowhere
