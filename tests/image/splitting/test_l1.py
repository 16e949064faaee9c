import inspect

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from tavtorch import Stop, gradient, solve, split_l1, total_variation


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Many small shapes: to compile for each takes longer than to solve."""
    monkeypatch.setattr(solve, "COMPILE_AFTER", float("inf"))


def disc(radius, size=40, height=1.0):
    y, x = torch.meshgrid(*2 * [torch.arange(float(size)) - size / 2 + 0.5], indexing="ij")
    return height * ((x.square() + y.square()).sqrt() < radius).float()[None, None]


def energy(u, f, weight, coupling="joint"):
    return (u - f).abs().flatten(1).sum(1) + weight * total_variation(u, coupling=coupling)


def noisy_edges():
    """In which the minimiser is unique, as it is of almost all images."""
    return (torch.rand(2, 2, 1, 1) < torch.linspace(0, 1, 10)) + 0.1 * torch.randn(2, 2, 10, 10, dtype=torch.float64)


# truth


@pytest.mark.parametrize("height", [0.01, 1.0, 255.0])
def test_a_disc_is_texture_up_to_a_radius_of_twice_the_weight_whatever_its_contrast(height):
    for radius, texture in ((4.0, 1.0), (12.0, 0.0)):
        image = disc(radius, height=height)
        parts = split_l1(image, 4.0, stop=Stop(1e-3, 3000))
        torch.testing.assert_close(parts.texture.sum(), texture * image.sum(), rtol=0, atol=0.1 * image.sum().item())


def test_most_pixels_of_the_structure_are_those_of_the_image():
    image = disc(12.0)
    assert split_l1(image, 1.0).texture.eq(0).float().mean() > 0.95


def test_no_weight_leaves_no_texture_and_a_huge_one_the_median(dtype, device):
    image = torch.rand(2, 3, 9, 8, dtype=dtype, device=device)
    assert torch.equal(split_l1(image, 0.0).structure, image)
    image[0] = image[0].round()  # ties
    middle = image.flatten(2).median(2).values[..., None, None].expand_as(image)
    found = split_l1(image, torch.tensor([1e3, 1e30], dtype=dtype, device=device))
    assert found.solution.converged.all()
    torch.testing.assert_close(energy(found.structure, image, 1e3), energy(middle, image, 1e3), rtol=1e-4, atol=0)


# optimality


@pytest.mark.parametrize("coupling", ["joint", "separate", "none"])
@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_the_gap_is_never_below_the_excess(coupling, weight, dtype):
    image = torch.rand(3, 2, 11, 8, dtype=torch.float64)
    least = energy(
        split_l1(image, weight, coupling=coupling, stop=Stop(1e-8, 8000, 100)).structure, image, weight, coupling
    )
    for steps in (0, 1, 10, 100):
        parts = split_l1(image.to(dtype), weight, coupling=coupling, stop=Stop(0.0, steps, max(steps, 1)))
        reached = energy(parts.structure.double(), image, weight, coupling)
        rounding = 2e-6 if dtype == torch.float32 else 2e-8
        assert ((reached - least) / reached <= parts.solution.gap + rounding).all()


def test_the_gap_is_reached():
    solution = split_l1(torch.rand(2, 1, 32, 32), 0.7, stop=Stop(1e-4)).solution
    assert solution.converged.all() and (solution.gap <= 1e-4).all()


# symmetry


def test_monotone_scales_go_through():
    """Level sets are filtered one by one."""
    image = torch.rand(1, 1, 12, 10, dtype=torch.float64)
    one, other = (split_l1(f, 0.5, stop=Stop(1e-9, 5000)).structure for f in (image, 2 - 3 * image))
    torch.testing.assert_close(other, 2 - 3 * one, atol=1e-5, rtol=0)


# gradient


@pytest.mark.parametrize("shape", [(), (2,), (2, 1, 10, 10)])
def test_gradients_are_those_of_finite_differences(shape, assert_slopes):
    f, weight = noisy_edges(), 0.4 + 0.3 * torch.rand(shape, dtype=torch.float64)
    stop = Stop(1e-14, 20000, 100)
    assert_slopes(lambda f, weight: split_l1(f, weight, stop=stop).structure, f, weight)


def test_pixels_of_the_texture_have_no_say_in_the_structure():
    f = noisy_edges().requires_grad_()
    parts = split_l1(f, 0.6, stop=Stop(1e-10, 10000))
    (slope,) = torch.autograd.grad(parts.structure.square().sum(), f)
    assert slope[parts.texture != 0].eq(0).all() and slope[parts.texture == 0].ne(0).any()


# reference


def test_anisotropic_splitting_is_a_linear_program():
    f, n = torch.rand(1, 1, 6, 7, dtype=torch.float64), 42
    d = gradient(torch.eye(n, dtype=torch.float64).reshape(n, 6, 7)).reshape(n, -1).T.numpy()
    operator = np.block([[np.eye(n)], [d]])  # unknowns: the image, then what bounds |u - f| and |∇u|
    right, slack = np.r_[f.ravel().numpy(), np.zeros(2 * n)], np.eye(3 * n)
    upper = np.block([[operator, -slack], [-operator, -slack]])
    cost = np.r_[np.zeros(n), np.ones(n), 0.6 * np.ones(2 * n)]
    best = linprog(cost, upper, np.r_[right, -right], bounds=[(None, None)] * n + [(0, None)] * 3 * n)
    found = split_l1(f, 0.6, coupling="none", stop=Stop(1e-7, 20000)).structure
    assert energy(found, f, 0.6, "none").item() == pytest.approx(best.fun, rel=1e-6)


# errors


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("weight: expected finite numbers >= 0", lambda image: split_l1(image, -1.0)),
        ("coupling: expected", lambda image: inspect.unwrap(split_l1)(image, 1.0, coupling="both")),
        ("image: some pixels are NaN", lambda image: split_l1(image * torch.nan, 1.0)),
        ("image: expected a batch", lambda image: split_l1(image[:0], 1.0)),
    ],
)
def test_bad_input(message, call):
    with pytest.raises(ValueError, match=message):
        call(torch.rand(2, 1, 8, 8))
