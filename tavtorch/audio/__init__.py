"""Sounds: waves `(b, c, t)` at an explicit sample rate, and their spectra `(b, c, f, t)`.

`sonogram` has the transform and its inverse, and `check` what is asked of arguments. Two systems have a room each:
`separation` and `recognition`.
"""

from tavtorch.audio.sonogram import sonogram as sonogram
from tavtorch.audio.sonogram import spectrum as spectrum
from tavtorch.audio.sonogram import waveform as waveform
