"""What sphinx-gallery is told: a thumbnail from what a story shows, and what a long one printed."""

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image

from tavtorch.lab.notebook import Panels

TOP = Path(__file__).resolve().parents[2]


def pictures(block: Any, variables: dict[str, Any], settings: Any) -> str:
    """Saves the last picture that a cell shows, for the thumbnail of its story; the page has it already."""
    shown = variables["example_globals"].get("___")
    if isinstance(shown, Panels):
        image = Image.open(io.BytesIO(base64.b64decode(shown[-1].picture.partition(",")[2]))).convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        Image.alpha_composite(ground, image).convert("RGB").save(next(variables["image_path_iterator"]))
    return ""


def printed(app: Any, docname: str, source: list[str]) -> None:
    """Puts what a training of minutes printed at the end of its page: it is kept, and not run again."""
    output = TOP / "examples/output" / f"{Path(docname).name}.txt"
    if docname.startswith("gallery/") and output.is_file():
        lines = "".join(f"    {line}\n" for line in output.read_text().splitlines())
        source[0] += (
            f"\n\n.. rubric:: What it prints\n\nThis story trains for minutes: its output is kept.\n\n::\n\n{lines}"
        )
