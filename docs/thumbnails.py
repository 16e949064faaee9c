"""The thumbnails of the stories that train for minutes, which the site does not run: `python docs/thumbnails.py`.

Each shows what its story begins with: the solver that it then learns through.
"""

from functools import partial
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from tavtorch import circle, gvf_force, hpss, rof, segment, spectrum, split_hilbert, sure_weight
from tavtorch.image.contours import edge_map
from tavtorch.lab.data.generated import loud_drums
from tavtorch.lab.data.images import bundled, grey
from tavtorch.lab.data.synthetic.textures import grating, textured

STATIC, SIZE = Path(__file__).with_name("_static"), (400, 280)


def contours() -> Image.Image:
    """An ellipse, and where the gradient vector flow takes it."""
    photo, corner = bundled("coffee")[None, :, :231, 120:450], torch.tensor([120.0, 0.0])
    start = torch.tensor([285.0, 115.0]) - corner + torch.tensor([125.0, 110.0]) * circle((0.0, 0.0), 1.0, 300)[None]
    flow = partial(gvf_force, smoothness=0.2, edges=partial(edge_map, sigma=3))
    found = segment(grey(photo), start, force=flow, elasticity=0.1, rigidity=1.0).value
    image = ImageOps.scale(drawn(photo), 3)
    for points, color in ((start, "#ffd52e"), (found, "#19e3ff")):
        corners = (3 * points + 1.5).flatten(0, -2)
        ImageDraw.Draw(image).line([*map(tuple, torch.cat((corners, corners[:1])).tolist())], color, 9)
    return image


def restoration() -> Image.Image:
    """Noise on the left, and what total variation makes of it."""
    clean = grey(bundled("camera")[None])[..., 40:250, 120:420]
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return halves(noisy, rof(noisy, sure_weight(noisy)).value)


def texture() -> Image.Image:
    """Discs and boxes on the left, and their structure without the hatching."""
    hatched = partial(grating, frequency=(0.12, 0.09))
    item = textured(torch.Generator().manual_seed(7), texture=hatched, size=200, shapes=12)
    image = item["inputs"]["image"]
    return halves(image, split_hilbert(image, 4.0).structure)


def separation() -> Image.Image:
    """The sonogram of a song: what sounds on in blue, what is struck in orange."""
    (song,) = loud_drums(1, 6.0, sample_rate=16000, seed=99)
    levels = [(part.abs()[0, 0, :280] + 1e-4).log().flip(0) for part in hpss(spectrum(sum(song.stems.values())[None]))]
    low = max(float(part.max()) for part in levels) - 7
    struck, tones = (((part - low) / 7).clamp(0, 1) for part in reversed(levels))
    colors = torch.tensor([[1.0, 0.5, 0.1], [0.1, 0.5, 1.0]])[:, :, None, None]
    return drawn((torch.stack((struck, tones))[:, None] * colors).sum(0, keepdim=True))


def halves(left: Tensor, right: Tensor) -> Image.Image:
    middle = left.shape[-1] // 2
    line = torch.ones_like(left[..., :2])
    return drawn(torch.cat((left[..., : middle - 1], line, right[..., middle + 1 :]), -1))


def drawn(image: Tensor) -> Image.Image:
    """An image `(1, c, h, w)` as a picture in colours."""
    levels = (255 * image[0].clamp(0, 1)).round().byte().expand(3, -1, -1)
    return Image.fromarray(levels.movedim(0, -1).contiguous().numpy())


for story in (contours, restoration, separation, texture):
    ImageOps.fit(story(), SIZE).save(STATIC / f"{story.__name__}.webp", quality=85)
