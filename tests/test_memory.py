import pytest
import torch

from tavtorch.memory import into


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


@pytest.mark.slow
def test_a_compiler_sees_new_memory():
    with torch.no_grad():
        a = torch.ones(3)
        twice = torch.compile(lambda a: into(a, torch.add, a, a))(a)
    assert twice.tolist() == [2, 2, 2] and a.tolist() == [1, 1, 1]
