"""Formulas drawn while the site is built: inline SVG that needs neither scripts, nor fonts, nor a network."""

import re
from html import escape

import ziamath
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.errors import ExtensionError

SIZE = 16.0  # pixels, of the letters as they are drawn
SCALE = 1.12  # beside the letters of the text
_NAMES = iter(range(1_000_000))


def drawn(latex: str) -> str:
    """A formula as an SVG in the colour of the text."""
    if unknown := re.search(r"<m[iot]>(\\\w+)", convert(latex)):
        raise ExtensionError(f"formula {latex!r}: {unknown[1]} is not known.")
    formula = ziamath.Latex(latex, size=SIZE, color="currentColor")
    width, height = (SCALE * length / SIZE for length in formula.getsize())
    style = f"width:{width:.3f}em;height:{height:.3f}em;vertical-align:{SCALE * formula.getyofst() / SIZE:.3f}em"
    name = f"f{next(_NAMES)}-"  # glyphs of several formulas of a page may not share their ids
    svg = re.sub(r'(id="|href="#)', rf"\g<1>{name}", formula.svg())
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(latex)}" style="{style}" ', 1)


def visit_math(writer, node: nodes.math) -> None:
    writer.body.append(f'<span class="formula">{drawn(node.astext())}</span>')
    raise nodes.SkipNode


def visit_displaymath(writer, node: nodes.math_block) -> None:
    lines = [drawn(rf"\displaystyle {line}") for line in re.split(r"\\\\\s", node.astext().strip())]
    writer.body.append(f'<div class="formula" tabindex="0">{"<br>".join(lines)}</div>')
    raise nodes.SkipNode


def setup(app) -> dict[str, bool]:
    app.add_html_math_renderer("drawn", (visit_math, None), (visit_displaymath, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
