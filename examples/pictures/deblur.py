"""
Deblur a photo
==============

A camera blurs, skips pixels and adds noise: ``f = A u + noise``. ``restore`` looks behind any linear ``A``, by total
variation with a duality gap as its certificate, or by the energy that the package has learned from noise alone.
"""

# %%
import torch

from tavtorch import Blur, RidgeModel, Subsample, gaussian_kernel, motion_kernel, restore
from tavtorch.lab.data.images import bundled, square
from tavtorch.lab.kinds.pictures import psnr
from tavtorch.lab.notebook import show

torch.manual_seed(0)
clean = square(bundled("coffee")[None], 160)
camera = Blur(motion_kernel(9, 30.0))
seen = camera(clean) + 0.01 * torch.randn_like(clean)
by_tv = restore(seen, camera, 8e-4, regulariser="tv")
model = RidgeModel.pretrained()
learned = restore(seen, camera, 0.05, regulariser=model, sigma=0.045)
for name, image in {"seen": seen, "total variation": by_tv.value, "learned energy": learned.value}.items():
    print(f"{name}: {psnr(image.clamp(0, 1), clean).item():.2f} dB")
show({"seen": seen, "total variation": by_tv.value, "learned energy": learned.value})

# %%
# Operators multiply: first a lens, then a sensor of half as many pixels.
lens = Subsample(2, gaussian_kernel(1.0, 8))
small = lens(clean) + 0.005 * torch.randn_like(lens(clean))
large = restore(small, lens, 0.02, regulariser=model, sigma=0.03).value
show({"seen, half as large": small, "twice the pixels": large})

# %%
# The kernel has a gradient too: from a blur that is too small, down the error of the result.
width = torch.tensor(0.8, requires_grad=True)
true = Blur(gaussian_kernel(1.6))(clean)
optimizer = torch.optim.Adam([width], 0.1)
offsets = torch.arange(-5.0, 6.0)
for _ in range(15):
    bell = (-(offsets**2) / (2 * width**2)).exp()
    kernel = (bell[:, None] * bell) / bell.sum() ** 2
    restored = restore(true[..., :64, :64], Blur(kernel), 2e-3, regulariser="tv").value
    optimizer.zero_grad()
    (restored - clean[..., :64, :64]).square().mean().backward()
    optimizer.step()
print(f"width of the blur: {width.item():.2f} pixels (it was 1.6)")
