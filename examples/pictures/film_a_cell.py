"""
Film a cell
===========

A snake settles on a border; in the next frame it starts where the object has gone. ``track`` follows each object by the
correlation of what its contour encloses, and tells, frame by frame, which it has lost.
"""

# %%
# A film of a cell that moves by its own radius from frame to frame.
from functools import partial

import torch

from tavtorch import chan_vese_force, fill, gvf_force, segment, track
from tavtorch.lab.data.synthetic.shapes import runners, stars
from tavtorch.lab.notebook import show
from tavtorch.lab.panels import image_figure

film, truth, start = runners(1, 96, frames=12, generator=torch.Generator().manual_seed(0))
found = track(film, start, force=partial(gvf_force, smoothness=0.2))
print("film", tuple(film.shape), "contours", tuple(found.value.shape))


def drawn(frame: int):
    figure, axes = image_figure(film[0, :, frame])
    contour = found.value[0, frame]
    axes.plot(*torch.cat((contour, contour[:1])).T, linewidth=3)
    return figure


show({f"frame {frame}": drawn(frame) for frame in (0, film.shape[2] // 2, film.shape[2] - 1)})

# %%
# Two forces for one border: edges by the gradient vector flow, or the colours inside and outside (Chan & Vese).
picture, mask, points = stars(1, 128, noise=0.1, generator=torch.Generator().manual_seed(1))
shown = {"picture": picture, "truth": mask}
for name, options in {
    "edges": {"force": partial(gvf_force, smoothness=0.2)},
    "colours": {"force": None, "region": chan_vese_force},
}.items():
    snake = segment(picture, points, **options)
    inside = fill(snake.value, picture.shape[-2:])
    overlap = ((inside & mask).sum() / (inside | mask).sum()).item()
    print(f"{name}: {snake.iterations.flatten()[0].item()} steps, overlap {overlap:.2f}")
    shown[f"by {name}"] = inside
show(shown)
