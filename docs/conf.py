"""The documentation, built by Sphinx: `uv run --group docs sphinx-build -W docs docs/_build`."""

import os
import sys
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1"}  # stories are short: compiling would cost more
TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP), str(TOP / "docs/extensions")]

from stories import pictures, printed  # noqa: E402

project = html_title = "tavtorch"
author = copyright = "the tavtorch founders, Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.viewcode", "sphinx_gallery.gen_gallery", "formulas", "reference", "findings"]
exclude_patterns = ["_build", "extensions", "**/GALLERY_HEADER.rst"]
suppress_warnings = ["config.cache"]  # functions in `sphinx_gallery_conf`
highlight_language = "none"
viewcode_line_numbers = True
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "drawn"
html_copy_source = html_show_sphinx = html_show_search_summary = False  # a summary is fetched, which a disk refuses

sphinx_gallery_conf = {
    "examples_dirs": [str(TOP / "examples")],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"(pictures|sounds|own)/\w+\.py",  # the others train for minutes
    "ignore_pattern": r"__init__\.py",
    "default_thumb_file": str(TOP / "docs/_static/learning.png"),
    "image_scrapers": (pictures,),
    "reset_modules": (),
    "remove_config_comments": True,
    "only_warn_on_example_error": False,
    "abort_on_example_error": True,
    "min_reported_time": 1e9,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "plot_gallery": not tags.has("unplotted"),  # sphinx-build -t unplotted: without the stories
    "within_subsection_order": "FileNameSortKey",
    "copyfile_regex": "",
}


def setup(app) -> None:
    app.connect("source-read", printed)
