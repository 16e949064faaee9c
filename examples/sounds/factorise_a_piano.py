"""
Factorise a piano
=================

A sonogram of a tune is nearly a product of two thin matrices: what each note looks like, and when it sounds.
Non-negative matrix factorisation finds both; every step makes the divergence smaller.
"""

# %%
import torch
from matplotlib.figure import Figure

from tavtorch import Stop, nmf, nmf_split, spectrum, waveform
from tavtorch.audio.separation import distinct_frames
from tavtorch.lab.data.synthetic.tune import tune
from tavtorch.lab.notebook import show

RATE = 16000
notes = tune(1, 4, 6.0, sample_rate=RATE, generator=torch.Generator().manual_seed(0))
song = notes.sum(1)
show({"tune": song}, RATE)

# %%
# Templates and activations, from the four frames that are least alike.
X = spectrum(song)[:, 0]
factors = nmf(X.abs(), 4, templates=distinct_frames(X.abs(), 4), stop=Stop(1e-4, 300))
print(f"{factors.solution.iterations.item()} steps, converged {bool(factors.solution.converged.all())}")
figure = Figure(figsize=(8, 3), layout="constrained")
left, right = figure.subplots(1, 2)
left.set(title="what each note looks like", xlabel="frequency in kHz", xlim=(0, 3))
right.set(title="when it sounds", xlabel="time in s")
hertz, seconds = torch.linspace(0, RATE / 2000, X.shape[-2]), torch.linspace(0, 6, X.shape[-1])
for k in range(4):
    template, activation = factors.templates[0, :, k], factors.activations[0, k]
    left.plot(hertz, template / template.max() + k)
    right.plot(seconds, activation / activation.max() + k)
show({"dictionary and activations": figure})

# %%
# Each component as a sound, by its share of every bin.
parts = waveform(nmf_split(X, factors), song.shape[-1])
show({f"component {k + 1}": part for k, part in enumerate(parts.split(1, 1))}, RATE)
