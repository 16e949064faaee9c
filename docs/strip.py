"""The pictures on top of the README, cut from the pages of experiments, before and after:

python evaluate.py -m experiment=denoise_rgb,inpaint_text,inpaint_person_patches,gvf_force,snake_cup,split_hilbert
python docs/strip.py
"""

import base64
import io
from pathlib import Path

from PIL import Image, ImageOps

from tavtorch.lab.page import SECTION, Section
from tavtorch.lab.panels import Panel

TOP = Path(__file__).resolve().parents[1]
SIDE, GAP, ACROSS = 320, 8, 3
TILES = [  # experiment, number of its exhibit, and the caption of what is shown
    ("denoise_rgb", 0, "result"),
    ("inpaint_text", 0, "result"),
    ("inpaint_person_patches", 0, "after"),
    ("split_hilbert", 0, "structure"),
    ("snake_cup", 0, "start (dashed) and end"),
    ("gvf_force", 1, "direction of the force"),
]


def opened(panel: Panel) -> Image.Image:
    """Its picture, cut square."""
    image = Image.open(io.BytesIO(base64.b64decode(panel.picture.partition(",")[2]))).convert("RGB")
    return ImageOps.fit(image, (SIDE, SIDE))


def tile(experiment: str, exhibit: int, caption: str) -> Image.Image:
    """What is shown, and in its left half what was before."""
    section = Section.read(TOP / "runs" / experiment / SECTION)
    panels = {panel.caption: panel for panel in section.exhibits[exhibit][1]}
    shown, before = opened(panels[caption]), panels[caption].before
    if before:
        half = (0, 0, SIDE // 2, SIDE)
        shown.paste(opened(panels[before]).crop(half), half)
        shown.paste("white", (SIDE // 2 - 1, 0, SIDE // 2 + 1, SIDE))
    return shown


down = -(-len(TILES) // ACROSS)
strip = Image.new("RGBA", (ACROSS * (SIDE + GAP) - GAP, down * (SIDE + GAP) - GAP))
for i, words in enumerate(TILES):
    strip.paste(tile(*words), (i % ACROSS * (SIDE + GAP), i // ACROSS * (SIDE + GAP)))
strip.save(TOP / "docs/strip.webp", quality=85)
