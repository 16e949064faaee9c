"""How an iteration went, and an op in several settings side by side."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from tavtorch.solve import Solution


def went(what: str, solution: Solution) -> dict[str, Tensor]:
    """What a `Solution` says of itself, as columns."""
    return {f"{what}/{field}": getattr(solution, field) for field in ("iterations", "gap", "converged")}


def iteration(output: Solution, batch: dict[str, Any]) -> dict[str, Tensor]:
    """How an iteration went, where the result has no truth: `iterations`, `gap`, `converged`."""
    return went("result", output)


def settings(
    output: Any,
    batch: dict[str, Any],
    *,
    op: Callable[..., Any],
    score: Callable[[Any, dict[str, Any]], dict[str, Tensor]],
    columns: Mapping[str, Mapping[str, Any]],
    rows: Sequence[str],
) -> dict[str, Tensor]:
    """One score of an op in several settings side by side: in a summary, a column for each setting.

    Args:
        output: what the op gives as the task has it; it is shown, and not scored here.
        op: from `batch["inputs"]`.
        score: of what it gives.
        columns: by name, what is changed of the op's arguments.
        rows: which of the scores are told.
    """
    told: dict[str, Tensor] = {}
    for name, changed in columns.items():
        scores = score(op(**batch["inputs"] | changed), batch)
        told |= {f"{name}/{row.replace('/', ' ')}": scores[row] for row in rows}
    return told
