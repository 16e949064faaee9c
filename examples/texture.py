"""
Learn what texture is
=====================

Part structure from texture by four models, then learn what texture is: the kernel of `split_hilbert`.

::

    uv run examples/texture.py              about a minute
    uv run examples/texture.py short        seconds: it runs, and has not learned yet
"""

# %%
import sys
from functools import partial

import torch
from torch import Generator, Tensor, nn

from tavtorch import Stop, split_fourier, split_hilbert, split_rof
from tavtorch.image.grid import cosine_frequencies
from tavtorch.image.splitting import least_correlated
from tavtorch.lab.data.synthetic.textures import grating, textured

STEPS, SIZE, COUNT = (3, 32, 2) if "short" in sys.argv else (60, 96, 6)
generator = Generator().manual_seed(0)
torch.manual_seed(0)
# sphinx_gallery_thumbnail_path = "_static/texture.webp"


def drawings(count: int) -> tuple[Tensor, Tensor]:
    """Pictures of discs and boxes, some of them hatched, and the hatching alone."""
    hatched = partial(grating, frequency=(0.12, 0.09))
    items = [textured(generator, texture=hatched, size=SIZE, shapes=6) for _ in range(count)]
    return torch.cat([i["inputs"]["image"] for i in items]), torch.cat([i["truth"]["texture"] for i in items])


def psnr(texture: Tensor, truth: Tensor) -> Tensor:
    apart = texture - truth
    return -10 * (apart - apart.mean((-2, -1), keepdim=True)).square().mean().log10()


# %%
# Four ways, each with the best of a few settings; and the weight that needs no truth.
image, truth = drawings(COUNT)
weights = torch.logspace(-2, 0, 9)
best = {
    "fourier": max(psnr(split_fourier(image, 0.02 * i).texture, truth) for i in range(2, 10)),
    "rof": max(psnr(split_rof(image, float(w)).texture, truth) for w in weights),
    "hilbert": max(psnr(split_hilbert(image, float(w)).texture, truth) for w in 10 * weights),
    "rof, least correlated": psnr(split_rof(image, least_correlated(image, split_rof, weights)).texture, truth),
}
print(", ".join(f"{name} {value:.2f} dB" for name, value in best.items()))

# %%
# What a texture costs at each frequency is a small network's to say; the gradient goes through the solver.
network = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))


def learned(image: Tensor) -> Tensor:
    cost = network(12 * cosine_frequencies(image).movedim(0, -1) - 3).squeeze(-1)
    return split_hilbert(image, 0.1, kernel=cost.exp() + 0.01, stop=Stop(tol=1e-3, max_iter=300)).texture


optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
for _ in range(STEPS):
    some, hatching = drawings(4)
    optimizer.zero_grad()
    (-psnr(learned(some), hatching)).backward()
    optimizer.step()

# %%
# On drawings that it has not seen.
with torch.no_grad():
    print(f"best of the four {max(best.values()):.2f} dB, learned kernel {psnr(learned(image), truth):.2f} dB")
