"""The contract of names, and what importing them costs."""

import ast
import inspect
import subprocess
import sys

import pytest

import tavtorch

PUBLIC = {  # how the design promises that each is called: a signature that takes less breaks somebody's code
    "grid": ["gradient(u)", "divergence(p)", "laplacian(u)", "sample(image, points)"],
    "solve": [
        "Stop(tol, max_iter, every)",
        "Solution(value, iterations, gap, converged)",
        "iterate(step, state, gap, stop)",
    ],
    "adjoints": ["implicit(step, value, stop=stop)", "conjugate_gradient(operator, b, stop=stop)"],
    "restoration": [
        "tikhonov(image, weight)",
        "total_variation(image)",
        "rof(image, weight, coupling='joint', stop=stop)",
        "ridge(image, sigma, model=None, stop=stop)",
        "RidgeModel()",
        "restore(image, operator, 0.1, regulariser='tv', stop=stop)",
        "Blur(kernel)",
        "Subsample(2, kernel)",
        "Mask(hole)",
        "inpaint_tv(image, hole, 0.0, stop=stop)",
        "hole_from_color(image, color, tolerance)",
        "inpaint_patches(image, hole, method='multiscale', size=7, search='near', generator=None, stop=stop)",
        "inpaint_patches(image, hole, n=4)",
    ],
    "contours": [
        "kass_force(image)",
        "gaussian_force(image, sigma)",
        "gvf_force(image, smoothness, stop=stop)",
        "circle(center, radius, n)",
        "fill(points, size)",
        "evolve(points, field, elasticity=0.1, rigidity=0.1, balloon=0.0, step=1.0, stop=stop)",
        "segment(image, points, force=force)",
        "segment(image, points, force=None, region=region, repel=0.5, anchors=anchors)",
        "segment_crowd(image, points, model=None, elasticity=0.05, stop=stop)",
        "CrowdModel()",
        "chan_vese_force(image, points)",
        "track(frames, points, force=force)",
    ],
    "split": [
        "split_fourier(image, cutoff)",
        "split_rof(image, weight, stop=stop)",
        "split_hilbert(image, weight)",
        "split_l1(image, weight, stop=stop)",
        "split_meyer(image, weight, stop=stop)",
        "Split(structure, texture, solution)",
        "enhance(image, split=split, texture_filter=filter)",
    ],
    "audio": [
        "spectrum(wave)",
        "waveform(spectrum, length)",
        "sonogram(wave)",
        "hpss(spectrum, kernel=(17, 17), power=2.0, margin=1.0)",
        "Pair(harmonic, percussive)",
        "nmf(sonogram, components, beta=1.0, generator=None, stop=stop)",
        "Factors(templates, activations, solution)",
        "nmf_split(spectrum, factors)",
        "UNet()",
        "separate(wave, sample_rate, model)",
        "separate(wave, sample_rate)",
        "separate_blocks(blocks, sample_rate, model)",
        "Separator(model, delay=0.75)",
        "peaks(sonogram)",
        "pairs(peaks, neighbours=5)",
        "fingerprint(wave, sample_rate)",
        "recognise(wave, rate, library=library, changed=True)",
        "Library(url)",
        "Listener(library)",
    ],
}


@pytest.mark.parametrize("call", [call for calls in PUBLIC.values() for call in calls])
def test_a_public_name_is_there_and_called_as_promised(call):
    name, arguments = call.split("(", 1)
    given = ast.parse(f"call({arguments}", mode="eval").body
    takes = inspect.signature(getattr(tavtorch, name))
    takes.bind(*given.args, **{argument.arg: argument.value for argument in given.keywords})
    assert inspect.getdoc(getattr(tavtorch, name))


def test_sources_are_applied_as_promised():
    from tavtorch.image.patches import Filling, apply

    assert Filling._fields == (*tavtorch.Solution._fields, "sources")
    inspect.signature(apply).bind("sources", "image")


def test_a_library_is_called_as_promised():
    takes = inspect.signature(tavtorch.Library.recognise).parameters
    assert (
        list(takes)[1:4] == ["landmarks", "vote", "top"]
        and takes["vote"].default == "offset"
        and takes["top"].default == 1
    )
    assert list(inspect.signature(tavtorch.Library.add).parameters)[1:3] == ["name", "landmarks"]
    assert list(inspect.signature(tavtorch.Library.remove).parameters)[1:] == ["name"]
    assert hasattr(tavtorch.Library, "__len__")


def modules_after(statement):
    script = f"import sys; {statement}; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


def test_importing_loads_torch_and_nothing_heavy():
    loaded = modules_after("import tavtorch")
    assert "torch" in loaded
    assert not {"lightning", "hydra", "kornia", "torchaudio", "matplotlib", "skimage", "sqlalchemy"} & loaded


def test_importing_costs_few_modules_beside_torch():
    """The time follows the modules; their number is the same on every machine."""
    assert (
        len(modules_after("import tavtorch") - modules_after("import torch, numpy, jaxtyping")) <= 120
    )  # 86 on 27 November 2026


def test_the_types_are_published():
    from pathlib import Path

    assert (Path(tavtorch.__file__).parent / "py.typed").is_file()
