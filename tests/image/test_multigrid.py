import pytest
import torch

from tavtorch import Stop, conjugate_gradient, laplacian
from tavtorch.image.multigrid import v_cycle

SIZES = [(1, 1), (1, 33), (50, 1), (2, 3), (17, 31), (64, 64), (129, 97)]


def edges(h, w, b=1, **kind):
    """Weights as those of gradient vector flow: nothing nearly everywhere, up to 1/4 on an outline."""
    weight = torch.zeros(b, 1, h, w, **kind)
    weight[..., h // 4, w // 4 :] = weight[..., h // 4 :, w // 4] = 0.25
    return weight


def solved(weight, smoothness, r, tol=1e-6, **options):
    c = torch.as_tensor(smoothness, dtype=r.dtype, device=r.device).reshape(-1, 1, 1, 1)
    stop = Stop(tol=tol, max_iter=100, every=1)
    return conjugate_gradient(lambda u: weight * u - c * laplacian(u), r, stop=stop, **options)


# truth


def test_one_pixel_is_divided():
    assert v_cycle(torch.full((1, 1, 1, 1), 4.0), 1.0)(torch.ones(1, 1, 1, 1)).item() == 0.25


def test_without_smoothness_every_pixel_is_divided(dtype, device):
    weight, r = torch.rand(2, 1, 7, 9, dtype=dtype, device=device) + 0.1, torch.randn(2, 3, 7, 9).to(device, dtype)
    preconditioned = solved(weight, 0.0, r, precondition=v_cycle(weight, 0.0)).value
    torch.testing.assert_close(preconditioned, r / weight, rtol=1e-4, atol=1e-4)


# optimality: the steps of preconditioned conjugate gradients


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("smoothness", [0.02, 0.2, 10.0])
def test_a_dozen_steps_at_any_size_and_smoothness(size, smoothness, device):
    weight = edges(*size, device=device, dtype=torch.float64)  # float32 rounds A u to more than 1e-6 of b
    r = weight * torch.randn(size, device=device)
    found = solved(weight, smoothness, r, precondition=v_cycle(weight, smoothness))
    assert found.converged.all() and found.iterations.max() <= 12


def test_the_dense_solution(dtype):
    weight, r = edges(6, 7, dtype=dtype), torch.randn(1, 1, 6, 7, dtype=dtype)
    columns = torch.eye(42, dtype=dtype).reshape(42, 1, 6, 7)
    matrix = (weight * columns - 0.3 * laplacian(columns)).reshape(42, 42)
    found = solved(weight, 0.3, r, precondition=v_cycle(weight, 0.3)).value
    torch.testing.assert_close(found.flatten(), torch.linalg.solve(matrix, r.flatten()), rtol=1e-4, atol=1e-4)


def test_a_grid_that_is_the_coarsest_is_solved(dtype, device):
    weight, u = torch.rand(2, 1, 8, 8, dtype=dtype, device=device), torch.randn(2, 3, 8, 8).to(device, dtype)
    c = torch.tensor([0.3, 9.0], dtype=dtype, device=device)
    r = weight * u - c.reshape(2, 1, 1, 1) * laplacian(u)
    torch.testing.assert_close(v_cycle(weight, c)(r), u, rtol=1e-4, atol=1e-4)


def test_no_weight_at_all_gives_nothing_infinite():
    assert v_cycle(torch.zeros(1, 1, 9, 9), 1.0)(torch.zeros(1, 1, 9, 9)).eq(0).all()


# symmetry


@pytest.mark.parametrize("size", SIZES)
def test_the_cycle_is_linear_symmetric_and_positive(size):
    cycle = v_cycle(edges(*size, dtype=torch.float64), 0.2)
    u, v = torch.randn(2, 1, 1, *size, dtype=torch.float64)
    torch.testing.assert_close(cycle(2 * u - v), 2 * cycle(u) - cycle(v))
    a, b = (u * cycle(v)).sum(), (v * cycle(u)).sum()
    assert (a - b).abs() < 1e-12 * ((u * cycle(u)).sum() * (v * cycle(v)).sum()).sqrt()
    assert (u * cycle(u)).sum() > 0


# batch


def test_alone_is_together_with_a_smoothness_each():
    weight, r, c = torch.rand(3, 1, 9, 14), torch.randn(3, 2, 9, 14), torch.tensor([0.1, 1.0, 9.0])
    together = v_cycle(weight, c)(r)
    for i in range(3):
        torch.testing.assert_close(v_cycle(weight[i : i + 1], c[i].item())(r[i : i + 1])[0], together[i])
