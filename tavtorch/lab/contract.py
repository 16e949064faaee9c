"""Whether an op takes what the data give and what the user sets, checked before the op is called."""

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

_WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "a text", type(None): "null"}


class InputsError(ValueError):
    """The data give other inputs than the op takes.

    Args:
        op: name of the op.
        given: names of the inputs that the data give.
        required, optional: names of the inputs that the op takes.
    """

    def __init__(self, op: str, given: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> None:
        self.given, self.required, self.optional = set(given), set(required), set(optional)
        missing = [name for name in required if name not in given]
        unknown = [name for name in given if name not in (*required, *optional)]
        faults = [f"also takes {_listed(missing)}"] if missing else []
        faults += [f"does not take {_listed(unknown)}"] if unknown else []
        super().__init__(f"data: the data give {_listed(given)}, and the op {op} {' and '.join(faults)}")

    def fits(self, names: set[str]) -> bool:
        """Whether the op would take inputs of these names."""
        return self.required <= names <= self.required | self.optional


def check_inputs(op: Callable[..., Any], inputs: Mapping[str, Any]) -> None:
    """Raise an `InputsError` unless `op(**inputs)` binds to the signature of the op."""
    parameters = _parameters(op)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    optional = [name for name in parameters if name not in required]
    if not set(required) <= inputs.keys() <= parameters.keys():
        raise InputsError(name_of(op), list(inputs), required, optional)


def check_settings(op: Callable[..., Any] | None, path: str) -> None:
    """Raise a `ValueError` that names the setting, if a keyword of a `partial` is unknown or of another type.

    Args:
        op: an op, a score, …; if it is a `partial` its keywords are the settings, and `partial`s among them are checked
            too.
        path: of it in the configuration, for messages.
    """
    if not isinstance(op, partial):
        return
    parameters, types_of = inspect.signature(op.func).parameters, _type_hints(op.func)
    for name, value in op.keywords.items():
        if name not in parameters and not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
            raise ValueError(
                f"{path}.{name}: {name_of(op)} has no such argument; {nearest(name, list(parameters))}it takes "
                f"{_listed(list(parameters))}."
            )
        if name in types_of and not _fits(value, types_of[name]):
            raise ValueError(f"{path}.{name}: expected {_described(types_of[name])}, got {value!r}.")
        if isinstance(value, partial):
            check_settings(value, f"{path}.{name}")


def as_tuples(op: Any) -> Any:
    """A `partial` whose lists are tuples, as in its signature: configurations have lists only."""
    if isinstance(op, partial):
        return partial(op.func, *op.args, **{name: as_tuples(value) for name, value in op.keywords.items()})
    return tuple(as_tuples(value) for value in op) if isinstance(op, list) else op


def takes(op: Callable[..., Any], name: str) -> bool:
    """Whether an argument is open: the op has it, and no setting of a `partial` fills it."""
    filled = op.keywords if isinstance(op, partial) else {}
    return name in _parameters(op) and filled.get(name) is None


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint for a misspelt name; empty if none is like it.

    >>> nearest("wieght", ["image", "weight"])
    'did you mean `weight`? '
    """
    like = difflib.get_close_matches(name, known, 1)
    return f"did you mean `{like[0]}`? " if like else ""


def name_of(op: Callable[..., Any]) -> str:
    """As its user knows it."""
    op = op.func if isinstance(op, partial) else op
    return getattr(op, "__name__", type(op).__name__)


def _parameters(op: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(op.forward if isinstance(op, nn.Module) else op).parameters


def _type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Of the parameters of a function or of a class; none where a type is imported for type checkers only."""
    sources = (function, function.__init__) if isinstance(function, type) else (function,)  # type: ignore[misc]
    try:
        return {name: hint for source in sources for name, hint in typing.get_type_hints(source).items()}
    except NameError:
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type; of a tuple the length counts too."""
    kind, options = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in options)
    if kind is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is tuple and Ellipsis not in options:
        return isinstance(value, tuple) and len(value) == len(options) and all(map(_fits, value, options))
    if kind is typing.Literal:
        return value in options
    if not isinstance(kind, type) or kind is Path:  # Any
        return True
    if isinstance(value, dict) and "_target_" in value:  # a part of a configuration that is not built
        return True
    if isinstance(value, str):
        return kind is str
    return isinstance(value, (kind, tuple) if kind is list else kind)


def _described(hint: Any) -> str:
    """A type in the words of its user: `float | Tensor` is "a number"."""
    kind, options = typing.get_origin(hint), typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        words = [_described(option) for option in options]
        return " or ".join(dict.fromkeys(word for word in words if word))
    if kind is tuple and Ellipsis not in options:
        return f"[{', '.join(map(_described, options))}]"
    if kind is typing.Literal:
        return " or ".join(map(str, options))
    if kind is not None and issubclass(kind, Sequence):
        return "a list"
    if "Tensor" in str(hint):  # which no configuration can give
        return ""
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _listed(names: Sequence[str]) -> str:
    words = [f"`{name}`" for name in names]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words) or "nothing"
