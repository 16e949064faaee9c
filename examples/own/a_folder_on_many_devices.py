"""
A folder on eight GPUs
======================

``trainer.devices=8 trainer.strategy=ddp`` gives each GPU its share of the files, ``trainer.num_nodes=2`` each machine,
under SLURM or torchrun. Their number changes the speed and not the result: here two processes on the CPU.
"""

# %%
# Five pictures, and a file that is none.
import subprocess
import sys
import tempfile
from pathlib import Path

from tavtorch.lab.data.files import Picture, read_picture, write_picture
from tavtorch.lab.data.images import bundled, square
from tavtorch.lab.notebook import show

folder = Path(tempfile.mkdtemp())
for name in ("astronaut", "cat", "coffee", "rocket", "coins"):
    write_picture(folder / "photos" / f"{name}.png", Picture(square(bundled(name)[None], 160)[0]))
(folder / "photos/broken.png").write_bytes(b"no picture")

# %%
# A weight from the noise of each picture. The five are done; the sixth is told at the end, with exit code 1.
evaluate = next(path for path in (Path.cwd(), *Path.cwd().parents) if (path / "evaluate.py").is_file()) / "evaluate.py"
words = ["task=rof", f"files={folder / 'photos'}", "task.op.weight=sure", f"hydra.run.dir={folder / 'run'}"]
devices = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp"]
ran = subprocess.run([sys.executable, str(evaluate), *words, *devices], capture_output=True, text=True)
print("exit code", ran.returncode)
print((ran.stdout + ran.stderr)[-400:].replace(str(folder), "FOLDER"))

# %%
# Results have the names, the format and the depth of what they came from.
results = sorted((folder / "run/predictions").glob("*.png"))
show({path.name: read_picture(path).image[None] for path in results})
