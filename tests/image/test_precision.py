"""Half precision: ops compute in float32 and give the input's type back."""

from functools import partial

import pytest
import torch

import tavtorch
from tavtorch import Solution

HOLE = torch.zeros(2, 1, 12, 14, dtype=torch.bool)
HOLE[..., 4:7, 5:9] = True
OPS = {
    "tikhonov": partial(tavtorch.tikhonov, weight=0.5),
    "tikhonov, map": lambda image: tavtorch.tikhonov(image, HOLE + 0.1),
    "rof": partial(tavtorch.rof, weight=0.1),
    "rof, init": lambda image: tavtorch.rof(image, 0.1, init=image.flip(-1)),
    "inpaint_tv": partial(tavtorch.inpaint_tv, hole=HOLE),
    "inpaint_harmonic": partial(tavtorch.inpaint_harmonic, hole=HOLE),
    "split_fourier": partial(tavtorch.split_fourier, cutoff=0.2),
    "split_rof": partial(tavtorch.split_rof, weight=0.1),
    "split_hilbert": partial(tavtorch.split_hilbert, weight=1.0),
    "split_meyer": partial(tavtorch.split_meyer, weight=0.05),
    "split_l1": partial(tavtorch.split_l1, weight=0.7),
}


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", OPS)
def test_the_result_is_that_of_single_precision_rounded(name, half):
    image = torch.rand(2, 1, 12, 14).to(half)
    found, single = OPS[name](image), OPS[name](image.float())
    parts = {Solution: found[:1], tavtorch.Split: found[:2]}.get(type(found), [found])
    expected = {Solution: single[:1], tavtorch.Split: single[:2]}.get(type(single), [single])
    for part, whole in zip(parts, expected, strict=True):
        assert part.dtype == half and torch.equal(part, whole.to(half))
