"""The directive `findings`: what the course's report found and what we find, from the configurations of experiments.

```{findings} 2.1.1
```
"""

from functools import cache
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from hydra import compose, initialize_config_dir
from sphinx.util.docutils import SphinxDirective

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@cache
def sections() -> list[tuple[str, dict[str, object]]]:
    """Name and section of every experiment, in the order of the report."""
    found = []
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for path in sorted((CONFIGS / "experiment").glob("*.yaml")):
            config = compose("evaluate", ["name=x", "out=x", f"experiment={path.stem}"])
            found.append((path.stem, dict(config.section)))
    return sorted(found, key=lambda pair: (str(pair[1].get("chapter") or "~"), list(pair[1].get("figures") or [999])))


class Findings(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        lines = ["| figures | the report found | we find |", "| --- | --- | --- |"]
        told = ""
        for name, section in sections():
            if str(section.get("chapter") or "").startswith(self.arguments[0]) and section.get("course"):
                figures = ", ".join(map(str, section.get("figures") or ())) or "–"
                course, here = str(section["course"]), f"{section.get('here') or ''} `experiment={name}`"
                lines.append(f"| {figures} | {'″' if course == told else course} | {here} |".replace("\n", " "))
                told = course
        if len(lines) == 2:
            raise self.error(f"findings: no experiment has a chapter that begins with {self.arguments[0]}.")
        container = nodes.container()
        self.state.nested_parse(StringList(lines, source=self.get_source_info()[0]), self.content_offset, container)
        return container.children


def setup(app) -> dict[str, bool]:
    app.add_directive("findings", Findings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
