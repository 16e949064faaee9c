"""
Learn a weight map, and a regulariser, through the solver
=========================================================

Remove noise: by total variation with a weight by hand, from the noise and from a network, and by a learned energy.

::

    uv run examples/restoration.py              about three minutes
    uv run examples/restoration.py short        seconds: it runs, and has not learned yet
"""

# %%
import sys

import torch
from torch import Tensor, nn

from tavtorch import RidgeModel, Stop, ridge, rof, sure_weight
from tavtorch.image.restoration import noise_level
from tavtorch.lab.data.images import bundled, grey

STEPS, SIZE = (3, 128) if "short" in sys.argv else (300, 512)
SIGMA = 0.1
torch.manual_seed(0)
# sphinx_gallery_thumbnail_path = "_static/restoration.webp"


def picture(name: str) -> Tensor:
    return grey(bundled(name)[None])[..., :SIZE, :SIZE]


def add_noise(clean: Tensor) -> Tensor:
    return clean + SIGMA * torch.randn_like(clean)


def crops() -> Tensor:
    """A random square of each picture."""
    corners = [[int(torch.randint(n - 64, ())) for n in image.shape[-2:]] for image in pictures]
    return torch.cat([a[..., y : y + 64, x : x + 64] for a, (y, x) in zip(pictures, corners, strict=True)])


def psnr(image: Tensor, clean: Tensor) -> float:
    return -10 * (image.clamp(0, 1) - clean).square().mean().log10().item()


# %%
# One picture. The result is certified: its energy is above the minimum by less than the gap, a share of it.
clean = picture("camera")
noisy = add_noise(clean)
found = rof(noisy, 0.08, stop=Stop(tol=1e-4))
print(f"noisy {psnr(noisy, clean):.2f} dB, by hand {psnr(found.value, clean):.2f} dB", end=", ")
print(f"{found.iterations.item()} steps, gap {found.gap.item():.1e}")

# %%
# The weight from the noise alone: Stein's estimate of the error needs no clean picture.
weight = sure_weight(noisy)
print(f"σ {noise_level(noisy).item():.3f}, weight {weight.item():.3f}: {psnr(rof(noisy, weight).value, clean):.2f} dB")

# %%
# A weight for every pixel, from a small network that is trained through `rof`: less where there is texture.
network = nn.Sequential(
    *(nn.Conv2d(1, 16, 5, padding=2, padding_mode="reflect"), nn.ReLU()),
    *(nn.Conv2d(16, 16, 3, padding=2, dilation=2, padding_mode="reflect"), nn.ReLU()),
    *(nn.Conv2d(16, 16, 3, padding=4, dilation=4, padding_mode="reflect"), nn.ReLU()),
    nn.Conv2d(16, 1, 1),
)
pictures = [picture(name) for name in ("astronaut", "brick", "chelsea", "coins", "rocket", "moon")]
optimizer = torch.optim.Adam(network.parameters())
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=STEPS)
for _ in range(STEPS):
    clean = crops()
    noisy = add_noise(clean)
    restored = rof(noisy, 0.8 * SIGMA * network((noisy - 0.5) / SIGMA).exp()).value
    optimizer.zero_grad()
    (restored - clean).square().mean().log().backward()
    optimizer.step()
    schedule.step()

# %%
# Another energy, with filters and penalties instead of the gradient and its length: it is learned through `ridge`.
model = RidgeModel(axis=4, diagonal=4, size=5)
optimizer = torch.optim.Adam(model.parameters(), 2e-2)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-2, total_steps=STEPS)
for _ in range(STEPS):
    clean = crops()
    restored = model(add_noise(clean), SIGMA).value
    optimizer.zero_grad()
    (restored - clean).square().mean().log().backward()
    optimizer.step()
    schedule.step()

# %%
# On pictures that they have not seen, beside the best that one number can do, and the energy of the package.
for name in ("camera", "coffee"):
    clean = picture(name)
    noisy = add_noise(clean)
    best = max(psnr(rof(noisy, 0.01 * i).value, clean) for i in range(4, 13))
    with torch.no_grad():
        learned = rof(noisy, 0.8 * SIGMA * network((noisy - 0.5) / SIGMA).exp()).value
        own, packaged = ridge(noisy, SIGMA, model=model.eval()).value, ridge(noisy, SIGMA).value
    print(f"{name}: best number {best:.2f} dB, weight map {psnr(learned, clean):.2f} dB", end=", ")
    print(f"learned energy {psnr(own, clean):.2f} dB, that of the package {psnr(packaged, clean):.2f} dB")
