"""What runs experiments: data, scores, panels and pages around the ops, with Lightning and Hydra.

`task` runs an op on batches, after `contract` has compared the op with them; `data` makes the batches; `kinds` has the
score, the panels and the writer of each kind of system; `report` and `write` are the callbacks for scores and
predictions, and `page` the HTML; `run` builds all of it from a configuration, and `script` says how a script ends.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tavtorch.lab.compare import Comparison


def benchmark(
    op: Callable[..., Any], system: str, *, folder: str | Path = "runs/benchmark", seed: int = 1, peer: bool = True
) -> "Comparison":
    """Score a function of yours on generated truth, beside ours and the classic peer where that is installed.

    | system | your function takes | and gives |
    |---|---|---|
    | `"rof"` | `image` `(1, c, h, w)` with noise of 0.1 | the picture |
    | `"inpaint"`, `"patches"` | `image`, `hole` `(1, 1, h, w)`, True where it is missing | the picture |
    | `"segment"` | `image`, `points` `(1, n, 2)` around an object | its contour, as many points |
    | `"split"` | `image` | structure, or structure and texture |
    | `"separate"` | `wave` `(1, 1, t)`, `sample_rate` | `(1, 2, 1, t)`: vocals and accompaniment |
    | `"hpss"` | the same | `(1, 2, 1, t)`: the rest and the drums |
    | `"recognise"` | `wave`, `sample_rate`, `songs` `{name: (t,)}` | for each clip a name, or None |

    Arguments come by position, one item at a time; a `Solution` is as good as a tensor. It takes seconds, and up to two
    minutes where a peer compiles first, as librosa does.

    Args:
        op: the function.
        system: see above.
        folder: where the page is written: `<folder>/<system>/report.html`.
        seed: of the truth; the same for all functions.
        peer: False leaves out the peer, which may be slow.

    Returns:
        A `Comparison`: `print` shows it, `.table["psnr"]["yours"]` is a number.
    """
    from tavtorch.lab.compare import compare  # here, so that the scripts begin at once

    return compare(op, system, folder=folder, seed=seed, peer=peer)
