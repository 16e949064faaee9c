"""Pictures without noise, holes and blur, by a small energy: Tikhonov, total variation (ROF), harmonic filling.

`rof` and `inpaint_tv` pose a problem, `primal_dual` solves it with a certificate; `weight` chooses the weight from the
noise. `restore` looks behind `operators`, by `restore_tv` or by `restore_learned`.
"""

from tavtorch.image.restoration.harmonic import inpaint_harmonic as inpaint_harmonic
from tavtorch.image.restoration.inpaint_tv import hole_from_color as hole_from_color
from tavtorch.image.restoration.inpaint_tv import inpaint_tv as inpaint_tv
from tavtorch.image.restoration.operators import Blur as Blur
from tavtorch.image.restoration.operators import Mask as Mask
from tavtorch.image.restoration.operators import Operator as Operator
from tavtorch.image.restoration.operators import Subsample as Subsample
from tavtorch.image.restoration.operators import disk_kernel as disk_kernel
from tavtorch.image.restoration.operators import gaussian_kernel as gaussian_kernel
from tavtorch.image.restoration.operators import motion_kernel as motion_kernel
from tavtorch.image.restoration.restore import restore as restore
from tavtorch.image.restoration.ridge import RidgeModel as RidgeModel
from tavtorch.image.restoration.ridge import ridge as ridge
from tavtorch.image.restoration.rof import rof as rof
from tavtorch.image.restoration.rof import total_variation as total_variation
from tavtorch.image.restoration.tikhonov import tikhonov as tikhonov
from tavtorch.image.restoration.weight import discrepancy_weight as discrepancy_weight
from tavtorch.image.restoration.weight import noise_level as noise_level
from tavtorch.image.restoration.weight import sure_weight as sure_weight
