"""Variational image processing, music recognition and source separation as batched, differentiable PyTorch operations.

This is the front door: the functions that a person calls. What they are made of, and their rarer relatives, are reached
through their rooms: `tavtorch.image.{restoration, patches, splitting, contours}`,
`tavtorch.audio.{separation, recognition}`; what runs experiments is `tavtorch.lab`.
"""

# ruff: noqa: I001  (in groups, not in the order of the alphabet)

# Iterations: when they stop, how they went, and their gradients.
from tavtorch.solve import (
    Solution as Solution,
    Stop as Stop,
    conjugate_gradient as conjugate_gradient,
    implicit as implicit,
    iterate as iterate,
)

# The pixel grid: differences, their adjoint, and values between pixels.
from tavtorch.image.grid import (
    divergence as divergence,
    gradient as gradient,
    laplacian as laplacian,
    sample as sample,
)

# Restoration: noise away, holes filled smoothly or with edges.
from tavtorch.image.restoration import (
    Blur as Blur,
    Mask as Mask,
    Operator as Operator,
    RidgeModel as RidgeModel,
    Subsample as Subsample,
    disk_kernel as disk_kernel,
    gaussian_kernel as gaussian_kernel,
    hole_from_color as hole_from_color,
    inpaint_harmonic as inpaint_harmonic,
    inpaint_tv as inpaint_tv,
    motion_kernel as motion_kernel,
    restore as restore,
    ridge as ridge,
    rof as rof,
    sure_weight as sure_weight,
    tikhonov as tikhonov,
    total_variation as total_variation,
)

# Patches: holes filled with copies of what is known.
from tavtorch.image.patches import inpaint_patches as inpaint_patches

# Splitting: structure + texture, and enhancement by way of the texture.
from tavtorch.image.splitting import (
    Split as Split,
    enhance as enhance,
    split_fourier as split_fourier,
    split_hilbert as split_hilbert,
    split_l1 as split_l1,
    split_meyer as split_meyer,
    split_rof as split_rof,
)

# Contours: forces from the edges and from regions, and polygons that follow them.
from tavtorch.image.contours import (
    CrowdModel as CrowdModel,
    chan_vese_force as chan_vese_force,
    circle as circle,
    evolve as evolve,
    fill as fill,
    gaussian_force as gaussian_force,
    gvf_force as gvf_force,
    kass_force as kass_force,
    segment as segment,
    segment_crowd as segment_crowd,
    track as track,
)

# The time-frequency plane: there, back, and in decibels.
from tavtorch.audio.sonogram import (
    sonogram as sonogram,
    spectrum as spectrum,
    waveform as waveform,
)

# Separation: songs into stems.
from tavtorch.audio.separation import (
    Factors as Factors,
    Pair as Pair,
    Separator as Separator,
    UNet as UNet,
    hpss as hpss,
    nmf as nmf,
    nmf_split as nmf_split,
    separate as separate,
    separate_blocks as separate_blocks,
    separate_components as separate_components,
    separate_hpss as separate_hpss,
    separate_nmf as separate_nmf,
)

# Recognition: the song of a few noisy seconds.
from tavtorch.audio.recognition import (
    Landmarks as Landmarks,
    Library as Library,
    Listener as Listener,
    fingerprint as fingerprint,
    pairs as pairs,
    peaks as peaks,
    recognise as recognise,
)
