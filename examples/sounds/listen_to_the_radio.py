"""
Listen to the radio
===================

A stream goes on for days. The listener takes it block by block, tells a song when its windows are sure together and its
end when it is no longer heard, and forgets the rest: ``python evaluate.py task=listen data.root=-`` does it for a pipe.
"""

# %%
# A library of five songs, and half a minute of radio: a song, noise that is none, and a song under a second one.
import torch

from tavtorch import Library, Listener, fingerprint
from tavtorch.lab.data.synthetic import band
from tavtorch.lab.notebook import show

RATE = 16000
songs = band(6, 30.0, sample_rate=RATE, generator=torch.Generator().manual_seed(3)).sum(1)
library = Library("sqlite://")
for i, song in enumerate(songs[:5]):
    library.add(f"song {i}", fingerprint(song[None], RATE))

pause = 0.05 * torch.randn(1, 12 * RATE, generator=torch.Generator().manual_seed(0))
under_another = songs[0, :, 5 * RATE : 29 * RATE] + 0.5 * songs[5, :, : 24 * RATE]
radio = torch.cat((songs[2, :, : 24 * RATE], pause, under_another), 1)
show({"radio": radio[None]}, RATE)

# %%
# Blocks of half a second, as a sound card gives them.
listener = Listener(library, changed=False)
for number, block in enumerate(radio.split(RATE // 2, -1)):
    for heard in listener.feed(block, RATE):
        name = heard.track.name if heard.track else ""
        print(f"after {number / 2:4.1f} s: {heard.kind:5} at {heard.time:4.1f} s  {name}")
