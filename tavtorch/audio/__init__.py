"""Sounds: waves `(b, c, t)` at an explicit sample rate, and their spectra `(b, c, f, t)`.

`sonogram` has the transform and its inverse, `resampling` the conversion of sample rates, and `check` the checks of
arguments. The two systems are `separation` and `recognition`.
"""

from tavtorch.audio.sonogram import sonogram as sonogram
from tavtorch.audio.sonogram import spectrum as spectrum
from tavtorch.audio.sonogram import waveform as waveform
