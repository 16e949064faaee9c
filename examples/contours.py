"""
Learn an edge map through the snake
===================================

Find objects by snakes: in a photograph, and among textures by an edge map that a network learns through the snake.

::

    uv run examples/contours.py              about two minutes
    uv run examples/contours.py short        seconds: it runs, and has not learned yet
"""

# %%
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from tavtorch import Stop, circle, evolve, fill, gvf_force, kass_force, sample, segment
from tavtorch.image.contours import edge_map
from tavtorch.lab.data.images import bundled, grey
from tavtorch.lab.data.synthetic.shapes import bays, disks, stars
from tavtorch.lab.data.synthetic.textures import checks

STEPS, TESTS = (3, 1) if "short" in sys.argv else (400, 10)
SIZE, CENTER = 64, 31.5
torch.manual_seed(0)
# sphinx_gallery_thumbnail_path = "_static/contours.webp"

# %%
# A photograph: an ellipse around the cup shrinks onto its rim in the gradient vector flow, not in the raw gradient.
photo = grey(bundled("coffee")[None])
start = torch.tensor([285.0, 115.0]) + torch.tensor([125.0, 110.0]) * circle((0.0, 0.0), 1.0, 300)[None]
flow = partial(gvf_force, smoothness=0.2, edges=partial(edge_map, sigma=3))
for name, force in (("flow", flow), ("raw", kass_force)):
    found = segment(photo, start, force=force, elasticity=0.1, rigidity=1.0)
    cup = fill(found.value, photo.shape[-2:])
    print(f"{name}: {found.iterations.item()} steps, {cup.sum()} pixels of mean brightness {photo[cup].mean():.2f}")


# %%
# Objects of one colour under a chessboard of another: both have equally strong edges, which no smoothing separates.
def scenes(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures `(b, 3, h, w)`, the objects in them `(b, 1, h, w)`, and contours to start from `(b, 1, n, 2)`."""
    parts = [shapes(count, SIZE, n=100, generator=generator) for shapes in (disks, stars, bays)]
    truth, points = (torch.cat([getattr(part, name) for part in parts]) for name in ("truth", "points"))
    grid = torch.stack(torch.meshgrid(*(2 * [torch.arange(float(SIZE))]), indexing="xy"))
    boards = torch.stack([checks(grid, generator, side=4) for _ in truth])[:, None]
    paint, ink = (torch.tensor(color)[:, None, None] for color in ((1.0, 0.5, 0.2), (0.4, 1.0, 0.6)))
    noise = torch.randn(len(truth), 3, SIZE, SIZE, generator=generator)
    return 0.25 * paint * truth + 0.4 * ink * boards + 0.05 * noise, truth, points


def overlap(edges: Callable[[Tensor], Tensor], pictures: Tensor, truth: Tensor, points: Tensor) -> float:
    """Mean intersection over union of what the snake finds."""
    with torch.no_grad():
        mask = fill(
            segment(pictures, points, force=partial(gvf_force, smoothness=0.2, edges=edges)).value, (SIZE, SIZE)
        )
    return ((mask & truth).sum((1, 2, 3)) / (mask | truth).sum((1, 2, 3))).mean().item()


def misplaced(points: Tensor, truth: Tensor) -> Tensor:
    """Area between the contours and the truth over that of the truth, `|T| + ∫_C (1 - 2 T)` by Green's theorem."""
    sign = 1 - 2 * truth.float()
    after = points.roll(-1, 2)
    across = sample(sign.cumsum(-1) - sign / 2, (points / 2 + after / 2).flatten(1, 2)).reshape(points.shape[:3])
    size = truth.sum((2, 3))
    return (size + (across * (after - points)[..., 1]).sum(2)).clamp(min=0) / size


# %%
# The edge map of what a small network makes of a picture, trained through the flow and the snake.
network = nn.Sequential(
    *(nn.Conv2d(3, 16, 5, padding=2, padding_mode="reflect"), nn.ReLU()),
    *(nn.Conv2d(16, 16, 5, padding=2, padding_mode="reflect"), nn.ReLU()),
    nn.Conv2d(16, 1, 1),
)
nn.init.zeros_(network[-1].weight)  # at first it adds nothing to the brightness


def learned(pictures: Tensor) -> Tensor:
    return edge_map(5 * pictures.mean(1, keepdim=True) + network(5 * pictures), sigma=1, threshold=0.3)


dice = torch.Generator().manual_seed(1)
optimizer = torch.optim.Adam(network.parameters())
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=STEPS)
held_out, best = scenes(4, torch.Generator().manual_seed(3)), (-1.0, network.state_dict())
for k in range(STEPS):
    pictures, truth, points = scenes(4, dice)
    # Four starts a picture: from the near ones the network learns which edges to keep.
    sizes = torch.tensor([1.0, 0.75, 0.5, 0.3])[:, None, None]
    field = gvf_force(pictures, 0.2, edges=learned, stop=Stop(tol=1e-3, max_iter=20, every=1)).value
    found = evolve(CENTER + sizes * (points - CENTER), field, stop=Stop(0.1, 200, 10), adjoint=Stop(1e-3, max_iter=5))
    optimizer.zero_grad()
    (misplaced(found.value, truth) + 0.05).log().mean().backward()
    # A larger gradient belongs to a contour that is about to jump: its direction is of no use.
    if nn.utils.clip_grad_norm_(network.parameters(), 1) < 20:
        optimizer.step()
    schedule.step()
    # Contours jump from edge to edge, so that the score varies: the best network is kept.
    if k % 20 == 19:
        best = max(best, (overlap(learned, *held_out), deepcopy(network.state_dict())), key=lambda pair: pair[0])
network.load_state_dict(best[1])

# %%
# On unseen pictures, beside the best of eighteen hand-made edge maps, chosen on these very pictures.
unseen = scenes(TESTS, torch.Generator().manual_seed(2))
by_hand = {
    (sigma, threshold): overlap(partial(edge_map, sigma=sigma, threshold=threshold), *unseen)
    for sigma in range(1, 7)
    for threshold in (0.0, 0.3, 0.5)
}
sigma, threshold = max(by_hand, key=lambda options: by_hand[options])
print(f"hand-made edge map: {by_hand[sigma, threshold]:.3f} by sigma {sigma}, threshold {threshold}", end=", ")
print(f"learned: {overlap(learned, *unseen):.3f}")
