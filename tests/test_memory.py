"""Results do not depend on which memory they are written into."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves

import tavtorch
from tavtorch import memory, solve
from tavtorch.image import grid
from tavtorch.memory import into

HOLE = torch.zeros(2, 1, 20, 24, dtype=torch.bool)
HOLE[..., 5:9, 6:15] = True
OPS = {
    "rof": lambda u: tavtorch.rof(u, 0.1),
    "rof, huber": lambda u: tavtorch.rof(u, 0.1, huber=0.05),
    "rof, separate, a map": lambda u: tavtorch.rof(u, 0.1 + 0.1 * u[:, :1].abs(), coupling="separate"),
    "rof, order 2": lambda u: tavtorch.rof(u, 0.1, order=2),
    "rof, volume": lambda u: tavtorch.rof(u[:, :, None].repeat(1, 1, 3, 1, 1), 0.1, spacing=(2, 1, 1)),
    "inpaint_tv": lambda u: tavtorch.inpaint_tv(u, HOLE, 0.1),
    "tikhonov": lambda u: tavtorch.tikhonov(u, 1 + u[:, :1].abs()),
    "ridge": lambda u: tavtorch.ridge(u, 0.1),
    "restore": lambda u: tavtorch.restore(u, tavtorch.Blur(tavtorch.gaussian_kernel(1.0)), 0.01),
    "split_l1": lambda u: tavtorch.split_l1(u, 1.0),
    "split_meyer": lambda u: tavtorch.split_meyer(u, 0.1),
    "split_hilbert": lambda u: tavtorch.split_hilbert(u, 0.1),
    "gvf_force": lambda u: tavtorch.gvf_force(u, 0.2),
}


@pytest.mark.parametrize("name", OPS)
def test_nothing_is_overwritten_that_is_needed(name, monkeypatch):
    """Solvers give the same to the bit where all of their steps take new memory."""
    monkeypatch.setattr(solve, "COMPILE_AFTER", float("inf"))
    u = torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    given = u.clone()
    monkeypatch.setattr(grid, "FEW", 0)
    old = OPS[name](u)
    for module in (grid, memory):
        monkeypatch.setattr(module, "overwritable", lambda: False)
    new = OPS[name](u)
    assert all(map(torch.equal, tree_leaves(old), tree_leaves(new)))
    assert torch.equal(u, given)


def test_nothing_that_is_recorded_is_overwritten():
    a, weight = torch.ones(3), torch.full((3,), 2.0, requires_grad=True)
    product = into(a, torch.mul, a, weight)
    product.square().sum().backward()
    assert a.tolist() == [1, 1, 1] and weight.grad.tolist() == [4, 4, 4]


def test_what_vmap_maps_over_may_be_an_argument():
    with torch.no_grad():
        a = torch.ones(3)
        total = torch.func.vmap(lambda b: into(a, torch.add, a, b))(torch.arange(2.0)[:, None])
    assert total.tolist() == [[1, 1, 1], [2, 2, 2]] and a.tolist() == [1, 1, 1]


def test_a_tracer_sees_new_memory():
    with torch.no_grad():
        traced = make_fx(lambda a: into(a, torch.add, a, a))(torch.ones(3))
        a = torch.ones(3)
    assert traced(a).tolist() == [2, 2, 2] and a.tolist() == [1, 1, 1]


@pytest.mark.slow
def test_a_compiler_sees_new_memory():
    with torch.no_grad():
        a = torch.ones(3)
        twice = torch.compile(lambda a: into(a, torch.add, a, a))(a)
    assert twice.tolist() == [2, 2, 2] and a.tolist() == [1, 1, 1]
