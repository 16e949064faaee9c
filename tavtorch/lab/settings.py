"""The settings that no signature checks: those at the top of a configuration, and the common ones of `trainer`."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf


class _Kind(NamedTuple):
    expected: str
    fits: Callable[[Any], bool]


def _whole(least: int) -> _Kind:
    return _Kind(
        f"a whole number from {least} on", lambda value: isinstance(value, int) and value is not True and value >= least
    )


def _one_of(*choices: str) -> _Kind:
    return _Kind(" or ".join(choices), lambda value: str(value) in choices)


def _or_null(kind: _Kind) -> _Kind:
    return _Kind(f"{kind.expected}, or null", lambda value: value is None or kind.fits(value))


_YES_OR_NO = _Kind("true or false", lambda value: isinstance(value, bool))
_TEXT = _Kind("a text", lambda value: isinstance(value, str) and value != "")
_TIME = _Kind(
    "a time as days:hours:minutes:seconds, such as 00:01:30:00",
    lambda value: isinstance(value, str) and re.fullmatch(r"\d+:\d\d?:\d\d?:\d\d?", value) is not None,
)
_DEVICES = _Kind(
    "a number of devices, a list of their numbers, or auto",
    lambda value: (
        value == "auto"
        or (isinstance(value, int) and value is not True and (value > 0 or value == -1))
        or (isinstance(value, str) and re.fullmatch(r"-1|[1-9]\d*|\d+(,\d+)+", value) is not None)
        or (isinstance(value, list) and bool(value) and all(isinstance(one, int) for one in value))
    ),
)
_PRECISION = _one_of("auto", "32-true", "32", "64-true", "64", "16-true", "16-mixed", "bf16-true", "bf16-mixed")
_SETTINGS = {
    "name": _TEXT,
    "seed": _Kind(
        "a whole number from 0 to 4294967295",
        lambda value: isinstance(value, int) and value is not True and 0 <= value < 2**32,
    ),
    "ckpt": _or_null(_TEXT),
    "run": _one_of("test", "predict"),
    "train_for": _Kind(
        f"{_TIME.expected}, or null or false", lambda value: value is None or value is False or _TIME.fits(value)
    ),
    "overwrite": _YES_OR_NO,
    "strict": _YES_OR_NO,
    "trainer.devices": _DEVICES,
    "trainer.num_nodes": _whole(1),
    "trainer.max_epochs": _or_null(_whole(-1)),
    "trainer.max_time": _or_null(_TIME),
    "trainer.precision": _PRECISION,
}


def check_values(config: DictConfig) -> None:
    """Raise a `ValueError` that names the first setting whose value is none that it can have."""
    for path, kind in _SETTINGS.items():
        parent, _, key = path.rpartition(".")
        where = OmegaConf.select(config, parent) if parent else config
        if where is None or key not in where:  # a setting of the other script
            continue
        value = where[key]
        value = OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
        if not kind.fits(value):
            raise ValueError(f"{path}: expected {kind.expected}, got {value!r}.")
