"""
Compare four splits
===================

A picture is structure plus texture, and what is texture is a choice of norm: frequencies beyond a cutoff, what total
variation leaves, what is small in Meyer's G norm, or what oscillates fast (TV-Hilbert). Of drawings both are known.
"""

# %%
import torch

from tavtorch import split_fourier, split_hilbert, split_l1, split_meyer, split_rof
from tavtorch.image.splitting import least_correlated
from tavtorch.lab.data.images import bundled
from tavtorch.lab.data.synthetic.textures import checks, textured
from tavtorch.lab.kinds.pictures import psnr
from tavtorch.lab.notebook import show

item = textured(torch.Generator().manual_seed(0), texture=lambda grid, dice: checks(grid, dice, side=4), size=160)
image, truth = item["inputs"]["image"], item["truth"]["texture"]
show({"picture": image, "its texture": 0.5 + truth})

# %%
# Each split with the best of a few settings.
splits = {
    "Fourier": split_fourier,
    "ROF": split_rof,
    "TV-L1": split_l1,
    "TV-G": split_meyer,
    "TV-Hilbert": split_hilbert,
}
settings = {
    "Fourier": (0.02, 0.05, 0.1, 0.15),
    "ROF": (0.1, 0.2, 0.4),
    "TV-L1": (0.5, 1.0, 2.0),
    "TV-G": (0.02, 0.05, 0.1),
    "TV-Hilbert": (0.3, 1.0, 3.0),
}
shown = {}
for name, split in splits.items():
    found = {setting: split(image, setting).texture for setting in settings[name]}
    quality = {setting: psnr(0.5 + texture, 0.5 + truth).item() for setting, texture in found.items()}
    best = max(quality, key=quality.__getitem__)
    shown[f"{name}, {best:g}: {quality[best]:.1f} dB"] = 0.5 + found[best]
    print(f"{name:10} setting {best:<5g} {quality[best]:.2f} dB")
show(shown)

# %%
# On a photograph there is no truth. Structure and texture should then have little to do with each other: the weight of
# least correlation.
photo = bundled("brick")[None, :, :192, :192]
weight = least_correlated(photo, split_hilbert, torch.logspace(-1, 1, 7))
parts = split_hilbert(photo, weight)
show({"photo": photo, "structure": parts.structure, "texture": 0.5 + parts.texture})
