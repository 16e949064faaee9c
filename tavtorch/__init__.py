"""Variational images, music recognition and source separation as batched, differentiable PyTorch operations."""

from tavtorch.audio.separate import separate as separate
from tavtorch.audio.sonogram import sonogram as sonogram
from tavtorch.audio.sonogram import spectrum as spectrum
from tavtorch.audio.sonogram import waveform as waveform
from tavtorch.audio.unet import UNet as UNet
from tavtorch.grid import divergence as divergence
from tavtorch.grid import gradient as gradient
from tavtorch.grid import laplacian as laplacian
from tavtorch.grid import sample as sample
from tavtorch.solve import Solution as Solution
from tavtorch.solve import Stop as Stop
from tavtorch.solve import conjugate_gradient as conjugate_gradient
from tavtorch.solve import implicit as implicit
from tavtorch.solve import iterate as iterate
