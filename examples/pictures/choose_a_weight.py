"""
Choose a weight without knowing the noise
=========================================

Total variation needs one number, λ. Too small leaves noise, too large flattens the picture, and the best depends on a
noise that nobody told. Stein's estimate of the error needs no clean picture: ``sure_weight`` minimises it.
"""

# %%
import torch
from matplotlib.figure import Figure

from tavtorch import rof, sure_weight
from tavtorch.image.restoration import discrepancy_weight, noise_level
from tavtorch.lab.data.images import bundled, grey
from tavtorch.lab.kinds.pictures import psnr
from tavtorch.lab.notebook import show

torch.manual_seed(0)
clean = grey(bundled("camera")[None])[..., 64:320, 128:384]
noisy = clean + 0.1 * torch.randn_like(clean)
weight = sure_weight(noisy)
print(f"noise found: {noise_level(noisy).item():.3f} (it is 0.1); weight {weight.item():.3f}")
show({"noisy": noisy, "result": rof(noisy, weight).value, "clean": clean})

# %%
# A weight for each item of a batch: the whole curve in one call. The dot is what was chosen without the clean picture.
weights = torch.logspace(-2, -0.5, 24)
quality = psnr(rof(noisy.expand(24, -1, -1, -1), weights).value, clean.expand(24, -1, -1, -1))
chosen = psnr(rof(noisy, weight).value, clean)
print(f"best of the curve {quality.max():.2f} dB, chosen {chosen.item():.2f} dB")
by_residual = discrepancy_weight(noisy, 0.1)
print(f"by the size of the residual, with the noise known: {psnr(rof(noisy, by_residual).value, clean).item():.2f} dB")

figure = Figure(figsize=(6, 3), layout="constrained")
axes = figure.add_subplot(xlabel="weight λ", ylabel="PSNR in dB", xscale="log")
axes.plot(weights, quality)
axes.plot(weight, chosen, "o")
show({"quality over the weight": figure})
