"""
Learn what the medians hear
===========================

Part drums from the rest and a tune into its notes, then let a network learn what `hpss` should hear.

::

    uv run examples/separation.py              about two minutes
    uv run examples/separation.py short        seconds: it runs, and has not learned yet
"""

# %%
import sys

import torch
from torch import Tensor, nn

from tavtorch import separate_components, separate_hpss, separate_nmf, spectrum, waveform
from tavtorch.audio.separation import hpss_masks
from tavtorch.lab.data.generated import loud_drums
from tavtorch.lab.data.synthetic.tune import tune
from tavtorch.lab.kinds.notes import components

STEPS, SONGS, SECONDS, RATE = (2, 4, 2.0, 16000) if "short" in sys.argv else (250, 32, 6.0, 16000)
torch.manual_seed(0)
# sphinx_gallery_thumbnail_path = "_static/separation.webp"


def songs(count: int, seed: int) -> Tensor:
    """The rest and the drums of generated songs, as loud as each other: `(b, 2, c, t)`."""
    made = [song.stems for song in loud_drums(count, SECONDS, sample_rate=RATE, seed=seed)]
    return torch.stack([torch.stack((sum(song.values()) - song["drums"], song["drums"])) for song in made])


def sdr(stems: Tensor, truth: Tensor) -> Tensor:
    """In dB, the mean over stems and songs; a stem that is silent counts little."""
    signal, error = (1 + wave.square().sum((2, 3)) for wave in (truth, stems - truth))
    return 10 * (signal / error).log10().mean()


# %%
# What sounds on and what is struck: by medians, and by 16 components of which each is one or the other.
truth = songs(8, seed=99)
mixture = truth.sum(1)
print(f"medians {sdr(separate_hpss(mixture, RATE), truth):.2f} dB", end=", ")
print(f"components {sdr(separate_nmf(mixture, RATE, components=16), truth):.2f} dB")

# %%
# A tune of four notes: with eight components some are redundant, unless they are asked to be few.
notes = tune(4, 4, SECONDS, sample_rate=RATE)
for asked in ({"components": 4}, {"components": 8}, {"components": 8, "sparsity": 0.1}):
    found = components(separate_components(notes.sum(1), RATE, **asked), {"truth": notes})
    print(f"notes, {asked}: {found['notes/sdr'].median():.2f} dB")


# %%
# A network draws the magnitudes anew before their medians are taken, and learns through them and the masks.
def layer(inputs: int, outputs: int, size: int, apart: int = 1) -> nn.Module:
    border = (size // 2, size // 2 * apart)
    return nn.Conv2d(inputs, outputs, size, padding=border, dilation=(1, apart), padding_mode="reflect")


network = nn.Sequential(
    *(layer(2, 16, 5), nn.ReLU(), layer(16, 16, 3, 2), nn.ReLU(), layer(16, 16, 3, 4), nn.ReLU(), layer(16, 1, 3))
)


def drawn(magnitude: Tensor) -> Tensor:
    levels = (magnitude + 1e-4).log()
    levels = (levels - levels.mean((2, 3), keepdim=True)) / 2
    height = torch.linspace(-1, 1, levels.shape[2])[:, None].expand_as(levels)
    return magnitude * network(torch.cat((levels, height), 1)).exp()


def separated(wave: Tensor, learned: bool = True) -> Tensor:
    X = spectrum(wave)
    masks = hpss_masks(drawn(X.abs()) if learned else X.abs())
    return torch.stack([waveform(X * mask, wave.shape[-1]) for mask in masks], 1)


heard, length = songs(SONGS, seed=10), 2 * RATE
optimizer = torch.optim.Adam(network.parameters())
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS)
for _ in range(STEPS):
    start = int(torch.randint(heard.shape[-1] - length + 1, ()))
    some = heard[torch.randint(len(heard), (4,)), ..., start : start + length]
    optimizer.zero_grad()
    (-sdr(separated(some.sum(1)), some)).backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    schedule.step()

# %%
# On songs that it has not heard.
with torch.no_grad():
    plain, learned = (sdr(separated(mixture, how), truth) for how in (False, True))
print(f"plain medians {plain:.2f} dB, learned {learned:.2f} dB")
