"""The directive `names`: every public name of a room with its signature, from docstrings as they stand in the code.

```{names} tavtorch.image.restoration
```
"""

import importlib
import inspect
import re
import typing
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType, UnionType
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.inspect import object_description

import tavtorch

SECTIONS = {"Args": "Arguments", "Returns": "Returns", "Raises": "Raises"}
LITERATURE = re.compile(r"\bdoi:(10\.\d+/[^\s;,]*[^\s;,.:])|\barXiv:(\d+\.\d+)")


def public(room: ModuleType) -> dict[str, Any]:
    """The functions and classes that a room offers."""
    names = {name: it for name, it in vars(room).items() if name[0] != "_" and callable(it)}
    return {name: it for name, it in names.items() if getattr(it, "__module__", "").startswith("tavtorch")}


def type_name(annotation: Any) -> str:
    """A type as a reader says it: `float (b, c, h, w)`, `number or float (b,)`."""
    if hasattr(annotation, "dim_str"):  # of jaxtyping
        axes = annotation.dim_str.split()
        shape = "(…)" if axes == ["..."] else f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"
        return f"{annotation.__name__.partition('[')[0].lower()} {shape}"
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (UnionType, typing.Union):
        return " or ".join(type_name(part) for part in parts)
    if origin is typing.Literal:
        return " or ".join(repr(part) for part in parts)
    if origin is Callable or getattr(annotation, "__name__", "") == "Callable":
        return "function"
    if origin and parts:
        inner = ", ".join(type_name(part) for part in parts if part is not ...)
        return f"{type_name(origin)}[{inner}]"
    known = {type(None): "None", float: "number", int: "whole number", str: "text", bool: "True or False", Any: "any"}
    return known[annotation] if annotation in known else getattr(annotation, "__name__", str(annotation))


class Names(SphinxDirective):
    required_arguments = 1
    optional_arguments = 100

    def run(self) -> list[nodes.Node]:
        room_name, *chosen = self.arguments
        room = importlib.import_module(room_name)
        wanted = {name: getattr(room, name) for name in chosen} if chosen else public(room)
        lines = list[str]()
        for name, it in wanted.items():
            module, other = ("tavtorch", room_name) if vars(tavtorch).get(name) is it else (room_name, "tavtorch")
            lines += ["```{raw} html", f'<span id="{other}.{name}"></span>', "```"]  # pages of sources link to either
            lines += entry(name, it, module)
        place, container = self.get_source_info(), nodes.container()
        self.state.nested_parse(StringList(lines, source=place[0]), self.content_offset, container)
        return container.children


def entry(name: str, it: Any, module: str) -> Iterator[str]:
    """What a user imports from `module`, or a method of it, as a directive of the Python domain in Markdown."""
    is_class = inspect.isclass(it)
    kind = "class" if is_class else "method" if "." in name else "function"
    fence = "``````" if is_class else "`````"
    yield from (f"{fence}{{py:{kind}}} {name}{signature(it)}", f":module: {module}")
    yield from (f":canonical: {it.__module__}.{it.__qualname__}", "")
    yield from text_of(it)
    if is_class:
        yield from fields(it)
        for own, method in vars(it).items():
            if own[0] != "_" and isinstance(method, FunctionType | classmethod | staticmethod) and method.__doc__:
                yield from entry(f"{name}.{own}", getattr(it, own), module)
    yield fence
    yield ""


def signature(it: Any) -> str:
    """Names and defaults; the types stand with the arguments."""
    try:
        takes = inspect.signature(it)
    except ValueError:
        return "()"
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty, default=_Shown.of(parameter.default))
        for parameter in takes.parameters.values()
        if parameter.name != "self"
    ]
    return str(takes.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


class _Shown:
    """A default that is written as in the code."""

    def __init__(self, value: Any) -> None:
        self.text = value.__name__ if inspect.isroutine(value) or inspect.isclass(value) else object_description(value)
        self.text = re.sub(r"PosixPath\('.*/(.*)'\)", r"'\1'", self.text)

    @classmethod
    def of(cls, value: Any) -> Any:
        return value if value is inspect.Parameter.empty else cls(value)

    def __repr__(self) -> str:
        return self.text


def fields(it: type) -> Iterator[str]:
    """The documented attributes of a class."""
    found = ModuleAnalyzer.for_module(it.__module__).find_attr_docs()
    for (owner, name), lines in found.items():
        if owner == it.__qualname__ and name[0] != "_":
            yield f"- `{name}`: {linked(' '.join(lines).strip())}"
    yield ""


def text_of(it: Any) -> Iterator[str]:
    """A docstring as Markdown: arguments as a list with their types, examples as code, literature as links."""
    heading, example = None, False
    types = typing_of(it)
    for line in (inspect.getdoc(it) or "").splitlines():
        if line.startswith(">>>") and not example:
            example = True
            yield from ("", "```pycon")
        elif example and not line.strip():
            example = False
            yield "```"
        if example:
            yield line
            continue
        if line.rstrip(":") in SECTIONS and line.endswith(":"):
            heading = line.rstrip(":")
            yield from (f"**{SECTIONS[heading]}**", "")
            continue
        if heading and line and not line.startswith(" "):
            heading = None
        if heading:
            line = line.removeprefix("    ")
            if found := re.match(r"(\w[\w, ]*): (.*)|(\w+):$", line) if heading != "Returns" else None:
                names = (found[1] or found[3]).split(", ")
                kind = types.get(names[0], "") if len(names) == 1 else ""
                shown = ", ".join(f"`{name}`" for name in names)
                said = re.sub(rf"^`{re.escape(kind.partition(' ')[2])}`[;,.]? ?", "", found[2] or "")  # with its type
                yield f"- {shown}{f' *{kind}*' if kind else ''}: {linked(said)}"
                continue
            elif heading != "Returns" and line.strip():
                line = "  " + line.strip()
        yield linked(line)
    if example:
        yield "```"
    yield ""


def typing_of(it: Any) -> dict[str, str]:
    """Types of the arguments, as text."""
    maker = it.__init__ if inspect.isclass(it) else it
    try:
        takes = inspect.signature(maker)
    except ValueError:
        return {}
    return {
        name: type_name(parameter.annotation).replace("*", r"\*")
        for name, parameter in takes.parameters.items()
        if parameter.annotation is not inspect.Parameter.empty and not isinstance(parameter.annotation, str)
    }


def linked(line: str) -> str:
    """Public names and literature as links; code that stands indented stays as it is."""
    if line.startswith("    "):
        return line
    line = re.sub(
        r"`(\w+)`(?!`)",
        lambda found: f"{{py:obj}}`{found[1]} <tavtorch.{found[1]}>`" if found[1] in vars(tavtorch) else found[0],
        line,
    )
    return LITERATURE.sub(_link, line)


def _link(found: re.Match[str]) -> str:
    if found[2]:
        return f"[arXiv:{found[2]}](https://arxiv.org/abs/{found[2]})"
    name = found[1] if found[1].count("(") == found[1].count(")") else found[1].rstrip(")")
    rest = found[1][len(name) :]
    return f"[doi:{name}](<https://doi.org/{name}>){rest}"


def setup(app) -> dict[str, bool]:
    app.add_directive("names", Names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
