"""All quick rows: `OMP_NUM_THREADS=1 uv run python -m benchmarks [scores | speeds | page]`, in minutes.

Every system on generated truth beside its peer, and a few speeds. Figures are added to results/quick.jsonl; what moved
beyond noise is told. Most peers need `--group bench`. All tables of README.md are made anew of what is recorded; with
`page` nothing is measured.
"""

import sys
import tempfile
from pathlib import Path

import torch
from skimage.restoration import denoise_tv_chambolle

sys.path.insert(0, str(Path(__file__).parent))
from measure import moved, newest, record, render, seconds

import tavtorch
import tavtorch.lab
import tavtorch.solve
from tavtorch.lab.data.images import bundled, grey
from tavtorch.lab.page import label
from tavtorch.lab.scored_systems import SYSTEMS


def nothing(system):
    """A function that does nothing: only the others are asked."""
    if system == "segment":
        return lambda image, points: points
    if system in ("separate", "hpss"):
        return lambda wave, rate: torch.stack((wave / 2, wave / 2), 1)
    if system == "recognise":
        return lambda wave, rate, songs: [None] * len(wave)
    return lambda image, *hole: image


def scores():
    """Of ours and the peers', by system and measure."""
    for system in SYSTEMS:
        with tempfile.TemporaryDirectory() as folder:
            found = tavtorch.lab.benchmark(nothing(system), system, folder=folder)
        print(found.table, flush=True)
        for measure, values in found.table.items():
            if measure != "seconds an item":
                words, _, unit = label(measure).partition(", ")
                for name in values.keys() - {"yours"}:
                    yield (f"{system}: {words}: {name}", unit), round(values[name], 4)


def speeds():
    """Processor time on one thread, compiled as in long runs."""
    tavtorch.solve.COMPILE_AFTER = 0
    clean = grey(bundled("camera")[None])
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    stop = tavtorch.Stop(1e-3)
    pixels = noisy[0, 0].numpy()
    ours = seconds(lambda: tavtorch.rof(noisy, 0.1, stop=stop))
    peer = seconds(lambda: denoise_tv_chambolle(pixels, 0.1, eps=0, max_num_iter=305), 1)  # to the same energy
    yield ("rof 512² to a gap of 1e-3: processor time: tavtorch", "ms"), round(1e3 * ours)
    yield ("rof 512² to a gap of 1e-3: processor time: scikit-image", "ms"), round(1e3 * peer)
    X = torch.randn(1, 1, 1025, 2584, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    yield (
        ("hpss of a minute: processor time: tavtorch", "ms"),
        round(1e3 * seconds(lambda: tavtorch.hpss(X))),
    )
    field = seconds(lambda: tavtorch.gvf_force(noisy[..., :256, :256], 0.2))
    yield ("gvf_force 256²: processor time: tavtorch", "ms"), round(1e3 * field)


PARTS = {"scores": scores, "speeds": speeds, "page": tuple}
before = newest("quick")
parts = [PARTS[word]() for word in sys.argv[1:] or ("scores", "speeds")]
made = record("quick", dict(figure for part in parts for figure in part))
render()
print("\n".join(moved(before, made)) or "nothing moved beyond noise")
