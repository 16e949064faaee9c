"""
Write your own op and score it
==============================

An op is a function of a batch. ``tavtorch.lab.benchmark`` scores yours on generated truth, beside ours and a classic
peer, and writes the page that ``evaluate.py`` writes. The truth is seeded: two people with one seed measure the same.
"""

# %%
# Non-local means in a dozen lines: each pixel becomes the mean of those whose patches look like its own.
import torch
import torch.nn.functional as F
from torch import Tensor

import tavtorch.lab
from tavtorch.lab.data.images import bundled, grey
from tavtorch.lab.notebook import show


def non_local_means(image: Tensor, reach: int = 5, strength: float = 0.09) -> Tensor:
    h, w = image.shape[-2:]
    padded = F.pad(image, [reach] * 4, mode="reflect")
    total, weights = torch.zeros_like(image), torch.zeros_like(image)
    for y in range(2 * reach + 1):
        for x in range(2 * reach + 1):
            moved = padded[..., y : y + h, x : x + w]
            apart = F.avg_pool2d(F.pad((moved - image).square(), [2] * 4, mode="reflect"), 5, stride=1)
            weight = (-(apart - 2 * 0.1**2).clamp(min=0) / strength**2).exp()
            total, weights = total + weight * moved, weights + weight
    return total / weights


found = tavtorch.lab.benchmark(non_local_means, "rof")
print(found)

# %%
# What the page shows of one picture.
torch.manual_seed(0)
clean = grey(bundled("camera")[None])[..., 64:256, 160:352]
noisy = clean + 0.1 * torch.randn_like(clean)
show({"noisy": noisy, "yours": non_local_means(noisy), "ours": tavtorch.rof(noisy, 0.08).value, "clean": clean})

# %%
# Structure and texture have no benchmark in the literature; ``"split"`` is one. A running mean as structure:
print(tavtorch.lab.benchmark(lambda image: F.avg_pool2d(F.pad(image, [4] * 4, mode="reflect"), 9, stride=1), "split"))
