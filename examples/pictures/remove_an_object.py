"""
Remove an object
================

What shall go is a hole, and each pixel of the hole becomes a copy of a known one, so that every patch in the hole looks
like a patch outside. On your photo: ``python evaluate.py task=inpaint_patches files=photo.png``, with what shall go
painted in one colour, or by hand in ``tavtorch-studio``.
"""

# %%
# A spoon, outlined by a few corners as one clicks them.
import torch

from tavtorch import fill, inpaint_harmonic, inpaint_patches, inpaint_tv
from tavtorch.image.patches import apply
from tavtorch.lab.data.images import bundled, square
from tavtorch.lab.notebook import show

photo = square(bundled("coffee")[None], 256)
corners = [[189, 40], [210, 40], [208, 62], [190, 140], [201, 168], [200, 200], [176, 214], [150, 208], [138, 186]]
corners += [[140, 150], [172, 140], [192, 80]]
hole = fill(torch.tensor([corners]).float(), (256, 256))
print(f"{hole.float().mean():.0%} of the picture")
show({"photo": photo, "what shall go": photo.masked_fill(hole, 1.0)})

# %%
# Copies continue grain and rims; diffusion and total variation only continue colours.
found = inpaint_patches(photo, hole)
show(
    {
        "least total variation": inpaint_tv(photo, hole).value,
        "harmonic": inpaint_harmonic(photo, hole).value,
        "copies of patches": found.value,
    }
)

# %%
# The answer names its source for each pixel, so that the same copies can be made in another picture: here in one of
# where each pixel is, x in red and y in green. Copies come in pieces, as a restorer would cut them.
y, x = torch.meshgrid(*(2 * [torch.linspace(0, 1, 256)]), indexing="ij")
places = torch.stack((x, y, torch.full_like(x, 0.3)))[None]
show({"where each pixel is from": apply(found.sources, places)})

# sphinx_gallery_thumbnail_number = 2
