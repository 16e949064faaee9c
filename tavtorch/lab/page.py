"""One HTML page of a run or of many, in the report's order. It opens from disk, without network."""

import base64
import dataclasses
import io
import itertools
import json
import math
import platform
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import jinja2
import torch
from markupsafe import Markup, escape
from PIL import Image

from tavtorch.lab.data.files import whole
from tavtorch.lab.panels import Panel, webp
from tavtorch.lab.secrets import masked
from tavtorch.lab.task import Row
from tavtorch.processes import cores

SECTION = "section.json"  # beside a run's own page


@dataclasses.dataclass
class Section:
    """What a page says of a run."""

    name: str
    title: str = ""
    """The name, if it is empty."""
    chapter: str = ""
    """Number and title of the chapter in the course's report."""
    figures: Sequence[int] = ()
    """Of the course's report, that the run reproduces."""
    about: str = ""
    """The method in two sentences."""
    energy: str = ""
    course: str = ""
    """What the course's report found."""
    here: str = ""
    """What is found here."""
    command: str | None = None
    """The command line that repeats the run."""
    in_studio: bool = True
    """Whether the studio takes what an experiment works on."""
    seconds: float | None = None
    average: str = ""
    table: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    rows: Sequence[Row] = ()
    errors: dict[str, str] = dataclasses.field(default_factory=dict)
    curves: str | None = None
    exhibits: Sequence[tuple[str, Sequence[Panel]]] = ()
    notes: list[str] = dataclasses.field(default_factory=list)
    """What could not be shown, and why."""

    def __post_init__(self) -> None:
        self.title = self.title or self.name

    @property
    def columns(self) -> list[str]:
        """The scores of the items, in order of first appearance."""
        return list(dict.fromkeys(column for row in self.rows for column in row if column != "name"))

    @property
    def summary_columns(self) -> list[str]:
        """Columns of the summary."""
        return summary_columns(self.table)

    @property
    def thumbnail(self) -> str | None:
        """A small picture for the contents: the first result that is compared with its input, or the first panel."""
        panels = [panel for _, panels in self.exhibits for panel in panels]
        best = sorted(panels, key=lambda panel: panel.before is None)[:1]
        return _small(best[0].picture) if best else None

    @property
    def studio(self) -> str | None:
        """Where a studio that runs on this machine has the settings of an experiment, if no others were typed."""
        found = re.search(r"evaluate\.py .*\bexperiment=(\w+)", self.command or "")
        others = re.search(r"\s\W*(task|media)\.", self.command or "")
        return f"http://127.0.0.1:7860/?experiment={found[1]}" if found and self.in_studio and not others else None

    def write(self, folder: Path) -> None:
        """Its page, and its data for a page of many runs."""
        with whole(folder / SECTION) as part:
            part.write_text(masked(json.dumps(dataclasses.asdict(self))), encoding="utf-8")
        with whole(folder / "report.html") as part:
            part.write_text(masked(render(self.title, [self])), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Section":
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields["exhibits"] = [(name, [_panel(*panel) for panel in panels]) for name, panels in fields["exhibits"]]
        return cls(**fields)


def write_overview(folder: Path, path: Path, runs: Iterable[Path]) -> None:
    """One page of runs below a folder, in the order of the course's report; one that left no section is passed over."""
    sections = []
    for run in dict.fromkeys(runs):
        if (run / SECTION).is_file():
            name = run.relative_to(folder.resolve()).as_posix()  # two runs may have been given one name
            sections.append(dataclasses.replace(Section.read(run / SECTION), name=name))
    sections.sort(key=lambda section: (section.chapter or "~", list(section.figures) or [999], section.name))
    with whole(path) as part:
        part.write_text(masked(render("The course, figure by figure", sections)), encoding="utf-8")


def render(title: str, sections: Sequence[Section]) -> str:
    """The page as one self-contained HTML text."""
    loader = jinja2.PackageLoader("tavtorch.lab", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"label": label, "number": number, "duration": duration, "indices": indices}
    chapters = [(chapter, list(of)) for chapter, of in itertools.groupby(sections, lambda section: section.chapter)]
    return environment.get_template("page.html").render(title=title, chapters=chapters, machine=machine())


def summary_columns(table: dict[str, dict[str, float]]) -> list[str]:
    """Columns of a summary (vocals, drums, …), in order of first appearance."""
    return list(dict.fromkeys(part for values in table.values() for part in values))


def label(measure: str) -> str:
    """The text for a measure, with its unit: `si_sdr_gain` is the SI-SDR gain in dB."""
    name = measure.replace("si_", "SI-").replace("_", " ")
    words = re.sub("sdr|isr|sir|sar|psnr|ssim|iou|hpss|nmf", lambda name: name[0].upper(), name)
    return words + ", dB" if re.search("SDR|ISR|SIR|SAR|PSNR", words) else words


def number(value: float, measure: str = "") -> str:
    """Three significant digits or two decimals; decibels always with two decimals."""
    if label(measure).endswith("dB"):
        return f"{round(value, 2) + 0.0:.2f}"  # no -0.00
    if math.isfinite(value) and value == int(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds, or minutes from 100 s on."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def indices(formula: str) -> Markup:
    """A formula with subscripts: `min_u`, `W_{jk}`."""
    escaped = str(escape(formula))
    return Markup(re.sub(r"_(?:\{(.*?)\}|(\w))", lambda found: f"<sub>{found[1] or found[2]}</sub>", escaped))


def machine() -> str:
    """The machine and the versions that a page was made with."""
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{cores()} CPU cores"
    return f"{where}, torch {torch.__version__}, Python {platform.python_version()}"


def _panel(caption: str, picture: str, sound: str | None, before: str | None, span: Sequence[float] | None) -> Panel:
    """A panel from JSON, which has lists in place of tuples."""
    return Panel(caption, picture, sound, before, (span[0], span[1]) if span else None)


def _small(picture: str, side: int = 240) -> str:
    """A picture as a data URL, at most `side` pixels wide and high."""
    image = Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))).convert("RGB")
    image.thumbnail((side, side))
    return webp(image, quality=75)
