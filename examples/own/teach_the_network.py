"""
Teach the network your own songs
================================

A folder of songs, one folder each with its stems, is all that training needs: ``python train.py files=PATH``. Songs are
parted into train, validation and test by name; any subset of the stems will do.
"""

# %%
# Here the songs are generated, so that the story can be run; yours would lie on disk already.
import subprocess
import sys
import tempfile
from pathlib import Path

import soundfile

from tavtorch.lab.data.generated import generated_songs

folder = Path(tempfile.mkdtemp())
for song in generated_songs(6, 8.0, sample_rate=16000, seed=7):
    (folder / "songs" / song.name).mkdir(parents=True)
    for stem, wave in song.stems.items():
        soundfile.write(folder / "songs" / song.name / f"{stem}.flac", wave.T, song.sample_rate)
print(*sorted(path.relative_to(folder).as_posix() for path in (folder / "songs").rglob("*.flac"))[:4], sep="\n")

# %%
# Three short epochs of a narrow network, to see how it goes. Without the words after ``files=`` it is a real training:
# ten minutes on two cores, more on more songs. It may be stopped at any time; ``ckpt=last`` goes on.
short = ["trainer.max_epochs=3", "data.per_epoch=24", "data.generated=0", "task.op.width=8", "data.workers=0"]
here = [f"hydra.run.dir={folder / 'run'}"]
train = Path(next(path for path in (Path.cwd(), *Path.cwd().parents) if (path / "train.py").is_file()), "train.py")
ran = subprocess.run(
    [sys.executable, str(train), f"files={folder / 'songs'}", *short, *here], capture_output=True, text=True, check=True
)
print(ran.stdout[-1500:].replace(str(folder), "FOLDER"))

# %%
# The page ``report.html`` beside the checkpoints has the learning curves, the scores of each song, and players.
print(*sorted(path.name for path in (folder / "run").iterdir() if path.name[0] != "."), sep="\n")
