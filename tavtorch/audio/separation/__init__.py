"""Separation of songs: by medians (`hpss`), by non-negative matrix factorisation (`nmf`), or by a network (`UNet`).

On waves: `separate_hpss`, `separate_voice`, `separate_nmf`, `separate_components`, and with a network `separate`,
`separate_blocks` for files of any length, and `Separator` for streams. On spectra: `hpss`, `hpss_masks`, `nmf`,
`nmf_split` and `distinct_frames`. `assign` matches components to known notes, and `losses` has what the training of a
network minimises.
"""

from tavtorch.audio.separation.components import Components as Components
from tavtorch.audio.separation.components import assign as assign
from tavtorch.audio.separation.components import separate_components as separate_components
from tavtorch.audio.separation.components import separate_nmf as separate_nmf
from tavtorch.audio.separation.hpss import Pair as Pair
from tavtorch.audio.separation.hpss import hpss as hpss
from tavtorch.audio.separation.hpss import hpss_masks as hpss_masks
from tavtorch.audio.separation.hpss import separate_hpss as separate_hpss
from tavtorch.audio.separation.nmf import Factors as Factors
from tavtorch.audio.separation.nmf import distinct_frames as distinct_frames
from tavtorch.audio.separation.nmf import nmf as nmf
from tavtorch.audio.separation.nmf_split import nmf_split as nmf_split
from tavtorch.audio.separation.separate import separate as separate
from tavtorch.audio.separation.separate import separate_blocks as separate_blocks
from tavtorch.audio.separation.separator import Separator as Separator
from tavtorch.audio.separation.unet import UNet as UNet
from tavtorch.audio.separation.voice import separate_voice as separate_voice
