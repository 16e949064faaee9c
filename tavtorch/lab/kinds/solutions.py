"""What an iteration says of its result, and the scores of an op under several settings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tavtorch.image.patches import Filling
from tavtorch.lab.data.batches import Batch
from tavtorch.solve import Solution


def value_of(output: Any) -> Any:
    """The result itself, if it comes in a `Solution` or a `Filling`."""
    return output.value if isinstance(output, Solution | Filling) else output


def solutions_in(output: Any) -> Iterator[Solution | Filling]:
    """Every `Solution` in the output of an op, such as that of a `Split`; a `Filling` is one too."""
    if isinstance(output, Solution | Filling):
        yield output
    elif isinstance(output, tuple):
        for part in output:
            yield from solutions_in(part)


def convergence_scores(output: Any, part: str) -> dict[str, Tensor]:
    """`iterations`, `gap` and `converged` of each `Solution` in an output; none if the op does not iterate.

    Of several results of an item, as contours or fillings, the most iterations, the largest gap, and whether all did.
    """
    worst = {"iterations": torch.amax, "gap": torch.amax, "converged": torch.amin}
    return {
        f"{part}/{field}": of_all(getattr(solution, field).reshape(len(solution.gap), -1), 1)
        for solution in solutions_in(output)
        for field, of_all in worst.items()
    }


def iteration(output: Any, batch: Batch) -> dict[str, Tensor]:
    """Iterations, gap and convergence, for results without a truth."""
    return convergence_scores(output, "result")


def settings(
    output: Any,
    batch: Batch,
    *,
    op: Callable[..., Any],
    score: Callable[[Any, Batch], dict[str, Tensor]],
    columns: Mapping[str, Mapping[str, Any]],
    rows: Sequence[str],
) -> dict[str, Tensor]:
    """The scores of an op under several settings, side by side: a column of the summary for each setting.

    Args:
        output: of the op as the task has it; it is shown on the page, and not scored here.
        op: called with `batch["inputs"]` and the arguments of a column.
        score: of the output of `op`.
        columns: by name, the arguments that are changed.
        rows: the scores that are reported.
    """
    reported: dict[str, Tensor] = {}
    for name, changed in columns.items():
        scores = score(op(**{**batch["inputs"], **changed}), batch)
        reported |= {f"{name}/{row.replace('/', ' ')}": scores[row] for row in rows}
    return reported
