"""
Separate a song
===============

A network that comes with the package draws a mask over the sonogram for each stem; the stems add up to the song. It has
heard generated songs only. On yours: ``python evaluate.py task=separate files=song.mp3``.
"""

# %%
# A song that the package makes, with the voice known.
import torch

from tavtorch import Separator, separate, separate_hpss
from tavtorch.lab.data.synthetic import STEMS, band
from tavtorch.lab.notebook import show

RATE = 16000
stems = band(1, 12.0, sample_rate=RATE, generator=torch.Generator().manual_seed(5))
song, voice = stems.sum(1), stems[:, STEMS.index("vocals")]
vocals, accompaniment = separate(song, RATE).unbind(1)
show({"song": song, "vocals, estimated": vocals, "vocals, true": voice, "accompaniment": accompaniment}, RATE)


# %%
# How far: the scale-invariant signal-to-distortion ratio, over that of the song itself.
def si_sdr(estimate: torch.Tensor, truth: torch.Tensor) -> float:
    target = (estimate * truth).sum() / truth.square().sum() * truth
    return 10 * (target.square().sum() / (estimate - target).square().sum()).log10().item()


print(f"vocals {si_sdr(vocals, voice):.1f} dB, in the song {si_sdr(song, voice):.1f} dB")

# %%
# While it plays: blocks in, stems out, less than a second behind.
separator = Separator(delay=0.75)
played = [separator(block, RATE) for block in song.split(1600, -1)] + [separator.flush()]
live = torch.cat(played, -1)[:, 0]
print(f"live {si_sdr(live, voice):.1f} dB")

# %%
# Without any network: sustained sounds are lines along time, strokes are lines along frequency, and medians see lines.
rest, drums = separate_hpss(song, RATE).unbind(1)
show({"drums": drums, "the rest": rest}, RATE)
