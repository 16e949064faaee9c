"""
A library of your records
=========================

Fill a library with songs, name noisy clips of them, refuse a song that it does not have, and read a whole mix.

::

    uv run examples/sounds/a_library_of_your_records.py              about half a minute
    uv run examples/sounds/a_library_of_your_records.py short        the same with fewer songs
"""

# %%
import sys

import torch

from tavtorch import Library, fingerprint, recognise
from tavtorch.audio.recognition import setlist
from tavtorch.lab.data.synthetic import band
from tavtorch.lab.notebook import show

SONGS, SECONDS, RATE = (4 if "short" in sys.argv else 16), 30.0, 16000
generator = torch.Generator().manual_seed(0)

# %%
# Songs are mixtures of generated stems; the last one stays unknown. The database is SQLite, here in memory.
songs = band(SONGS + 1, SECONDS, sample_rate=RATE, generator=generator).sum(1)  # (b, c, t)
known, unknown = songs[:-1], songs[-1:]
library = Library("sqlite://")
for i, song in enumerate(known):
    library.add(f"song {i}", fingerprint(song[None], RATE))
print(len(library), "songs")

# %%
# Five seconds of each, from anywhere, under noise as loud as the music: all at once.
starts = torch.randint(int((SECONDS - 5) * RATE), (SONGS,), generator=generator).tolist()
clips = torch.stack([song[:, start : start + 5 * RATE] for song, start in zip(known, starts, strict=True)])
noise = torch.randn(clips.shape, generator=generator) * clips.std((1, 2), keepdim=True)
heard = clips + noise
answers = recognise(heard, RATE, library=library)
right = sum(found[0].name == f"song {i}" and found[0].accepted for i, found in enumerate(answers))
first, truth = answers[0][0], starts[0] / RATE
print(f"{right} of {SONGS} named; the first is {first.name} from {first.offset:.1f} s on; cut at {truth:.1f} s")
show({"a clip": clips, "as it is heard": heard}, RATE)

# %%
# A song that the library does not have: its best answer is not accepted.
(found,) = recognise(unknown[..., : 5 * RATE], RATE, library=library)
print("unknown:", "accepted" if found and found[0].accepted else "refused")

# %%
# A mix of three songs, read piece by piece as if it were hours long.
mix = torch.cat([known[i, :, : 20 * RATE] for i in (2, 0, 1)], 1)
for track in setlist(library, lambda start, frames: mix[:, start : start + frames], mix.shape[1], RATE):
    print(f"{track.start:.0f} to {track.stop:.0f} s: {track.name}")
