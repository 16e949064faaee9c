"""Holes filled with copies of the known part of a picture.

`inpaint` is the public function. It calls `greedy` (patch by patch from the border inwards) or `multiscale` (all
patches together, from coarse to fine, on a `pyramid`); both look for patches with `nearest`. `duplicate` finds holes
in what the picture shows twice.
"""

from tavtorch.image.patches.inpaint import inpaint_patches as inpaint_patches
