"""Holes filled with copies of the known part of a picture.

`inpaint` has the public function, `inpaint_patches`. It calls `greedy` (patch by patch from the border inwards) or
`multiscale` (all patches together, from coarse to fine on a `pyramid`, `voting` at each resolution); both look for
patches with `nearest`. `duplicate` recognises holes in what the picture shows twice. `regions` cuts a large picture
to its holes and their surroundings, `sources` names where each pixel comes from.
"""

from tavtorch.image.patches.inpaint import inpaint_patches as inpaint_patches
from tavtorch.image.patches.sources import Filling as Filling
from tavtorch.image.patches.sources import apply as apply
