"""Songs into their parts: by medians (`hpss`), by non-negative factorisation (`nmf`), or by a network (`UNet`).

`separate_hpss`, `separate_voice`, `separate_nmf`, `separate_components` and `separate` take waves of any length; what
they do to a spectrum is in `hpss`, `nmf` and `unet`. `losses` is what training minimises.
"""

from tavtorch.audio.separation.components import Components as Components
from tavtorch.audio.separation.components import separate_components as separate_components
from tavtorch.audio.separation.components import separate_nmf as separate_nmf
from tavtorch.audio.separation.hpss import Pair as Pair
from tavtorch.audio.separation.hpss import hpss as hpss
from tavtorch.audio.separation.hpss import hpss_masks as hpss_masks
from tavtorch.audio.separation.hpss import separate_hpss as separate_hpss
from tavtorch.audio.separation.hpss import separate_voice as separate_voice
from tavtorch.audio.separation.nmf import Factors as Factors
from tavtorch.audio.separation.nmf import distinct_frames as distinct_frames
from tavtorch.audio.separation.nmf import nmf as nmf
from tavtorch.audio.separation.nmf import nmf_split as nmf_split
from tavtorch.audio.separation.separate import separate as separate
from tavtorch.audio.separation.unet import UNet as UNet
