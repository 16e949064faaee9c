"""
Remove an object
================

What shall go is a hole, and each pixel of the hole becomes a copy of a known one: the field of copies that makes every
patch in the hole look like a patch outside. On your photo: ``python evaluate.py task=inpaint_patches files=photo.png``,
with what shall go painted in one colour, or by hand in ``tavtorch-studio``.
"""

# %%
# The person in the foreground, outlined by a dozen corners as one clicks them.
import torch

from tavtorch import circle, fill, inpaint_harmonic, inpaint_patches, inpaint_tv
from tavtorch.image.patches import apply
from tavtorch.lab.data.images import bundled
from tavtorch.lab.notebook import show

photo = bundled("chelsea")[None, :, :256, 64:384]
hole = fill(circle((86.0, 44.0), 26.0, 60)[None] * torch.tensor([1.0, 1.0]), photo.shape[-2:])
show({"photo": photo, "what shall go": hole.float()})

# %%
# Copies continue texture; diffusion and total variation only continue grey levels.
found = inpaint_patches(photo, hole)
show(
    {
        "copies of patches": found.value,
        "least total variation": inpaint_tv(photo, hole).value,
        "harmonic": inpaint_harmonic(photo, hole).value,
    }
)

# %%
# The answer names its source for each pixel, so that the same copies can be made in another picture: here in one of
# where each pixel is, x in red and y in green.
y, x = torch.meshgrid(torch.linspace(0, 1, photo.shape[-2]), torch.linspace(0, 1, photo.shape[-1]), indexing="ij")
places = torch.stack((x, y, torch.full_like(x, 0.3)))[None]
print(f"{int(hole.sum())} pixels, {found.iterations.item()} rounds")
show({"where each pixel is from": apply(found.sources, places)})
