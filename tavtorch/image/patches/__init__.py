"""Holes filled with copies of the known part of a picture.

`inpaint` has the public function, `inpaint_patches`. It calls `greedy` (patch by patch from the border inwards) or
`multiscale` (all patches together, from coarse to fine on a `pyramid`, `voting` at each resolution); both look for
patches with `nearest`. `duplicate` recognises holes in what the picture shows twice.
"""

from tavtorch.image.patches.inpaint import inpaint_patches as inpaint_patches
