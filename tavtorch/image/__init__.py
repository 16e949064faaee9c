"""Pictures: every system of this wing is a function of a batch `(b, c, h, w)`.

`grid` has the differences and transforms that all of them use, `multigrid` the preconditioner of large linear systems,
`fields` what total-variation solvers share, and `check` what is asked of arguments. Each system has a room of its own:
`restoration`, `patches`, `splitting`, `contours`.
"""

from tavtorch.image.grid import divergence as divergence
from tavtorch.image.grid import gradient as gradient
from tavtorch.image.grid import laplacian as laplacian
from tavtorch.image.grid import sample as sample
