import inspect

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from tavtorch import Stop, divergence, gradient, rof, solve, split_meyer, total_variation


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Many small shapes: to compile for each takes longer than to solve."""
    monkeypatch.setattr(solve, "COMPILE_AFTER", float("inf"))


def noisy_edges(size=10):
    """In which the minimiser is unique, as it is of almost all images."""
    shapes = torch.rand(2, 2, 1, 1) < torch.linspace(0, 1, size)
    return shapes + 0.1 * torch.randn(2, 2, size, size, dtype=torch.float64)


# truth


def test_a_row_of_pixels_by_hand():
    """In one dimension g is the sum of the texture so far: within λ of 0, the ripple may go and the edge may not."""
    edge = torch.tensor([0.0] * 6 + [1.0] * 6)
    image = (edge + torch.tensor([-0.1, 0.1] * 6)).expand(1, 1, 1, 12)
    parts = split_meyer(image, 0.1, stop=Stop(1e-5))
    assert parts.texture.cumsum(-1).abs().max() <= 0.1 + 1e-6
    assert total_variation(image).item() > 2 and 0.9 < total_variation(parts.structure).item() <= 1 + 1e-4


def test_the_gap_counts_what_rounding_does():
    """Two pixels come nearer by λ each; far from 0 a float32 cannot say by how much, and the gap says so."""
    image = torch.tensor([80.89478302001953, 81.1683578491211, 80.90231323242188, 81.18416595458984]).reshape(
        1, 2, 1, 2
    )
    weight = 0.00400892598554492
    found = split_meyer(image, weight, coupling="none", stop=Stop(1e-6)).solution
    before, after = (total_variation(x.double(), coupling="none") for x in (image, found.value))
    truly = (after - (before - 2 * 2 * weight)) / before
    assert truly > 1e-5 and not found.converged
    torch.testing.assert_close(found.gap.double(), truly, rtol=0.02, atol=0)


def test_a_wave_is_texture_from_its_amplitude_over_its_frequency_on():
    """Its G-norm is A / 2 sin(π ω), the discrete 2 π ω, as its amplitude A shrinks by so much λ."""
    x = torch.arange(64.0) + 0.5
    wave = torch.cos(2 * torch.pi * x / 8).expand(1, 1, 8, 64)
    norm = 1 / (2 * np.sin(np.pi / 8))
    assert total_variation(split_meyer(wave, 1.02 * norm).structure) < 0.02 * total_variation(wave)
    assert total_variation(split_meyer(wave, 0.5 * norm).structure) > 0.2 * total_variation(wave)


def test_no_weight_leaves_no_texture_and_a_huge_one_the_mean(dtype, device):
    image = torch.rand(2, 3, 9, 8, dtype=dtype, device=device)
    assert torch.equal(split_meyer(image, 0.0).structure, image)
    found = split_meyer(image, torch.tensor([1e3, 1e30], dtype=dtype, device=device))
    assert found.solution.converged.all()
    torch.testing.assert_close(found.structure, image.mean((-2, -1), keepdim=True).expand_as(image), atol=1e-5, rtol=0)


# optimality


@pytest.mark.parametrize("coupling", ["joint", "separate", "none"])
def test_no_structure_as_near_has_less_variation(coupling):
    """That of `rof` is as near: its texture has the G-norm λ too."""
    image, stop = torch.rand(2, 2, 20, 17, dtype=torch.float64), Stop(1e-3, 3000)
    ours = total_variation(split_meyer(image, 0.2, coupling=coupling, stop=stop).structure, coupling=coupling)
    other = total_variation(rof(image, 0.2, coupling=coupling, stop=stop).value, coupling=coupling)
    assert (ours < 0.9 * other).all()


@pytest.mark.parametrize("coupling", ["joint", "separate", "none"])
def test_the_gap_is_never_below_the_excess(coupling, dtype):
    image = torch.rand(3, 2, 11, 8, dtype=torch.float64)
    least = total_variation(
        split_meyer(image, 0.05, coupling=coupling, stop=Stop(1e-7, 4000, 100)).structure, coupling=coupling
    )
    for steps in (0, 1, 10, 100):
        parts = split_meyer(image.to(dtype), 0.05, coupling=coupling, stop=Stop(0.0, steps, max(steps, 1)))
        excess = total_variation(parts.structure.double(), coupling=coupling) - least
        rounding = 1e-5 if dtype == torch.float32 else 1e-6
        assert (excess / total_variation(image, coupling=coupling) <= parts.solution.gap + rounding).all()


def test_the_gap_is_reached():
    solution = split_meyer(torch.rand(2, 1, 32, 32), 0.05, stop=Stop(1e-4)).solution
    assert solution.converged.all() and (solution.gap <= 1e-4).all()


# symmetry


def test_levels_and_contrasts_go_through():
    image = noisy_edges()
    one, other = split_meyer(image, 0.03, stop=Stop(1e-8)), split_meyer(2 - 3 * image, 0.09, stop=Stop(1e-8))
    torch.testing.assert_close(other.texture, -3 * one.texture, atol=1e-4, rtol=0)


# gradient


@pytest.mark.parametrize("shape", [(), (2,), (2, 1, 10, 10)])
def test_gradients_are_those_of_finite_differences(shape, assert_slopes):
    f, weight = noisy_edges(), 0.02 + 0.02 * torch.rand(shape, dtype=torch.float64)
    stop = Stop(1e-14, 20000, 100)
    assert_slopes(lambda f, weight: split_meyer(f, weight, stop=stop).structure, f, weight)


# reference


def test_anisotropic_splitting_is_a_linear_program():
    f, n = torch.rand(1, 1, 6, 7, dtype=torch.float64), 42
    fields = torch.eye(2 * n, dtype=torch.float64).reshape(2 * n, 2, 6, 7)
    d = gradient(divergence(fields)).reshape(2 * n, -1).T.numpy()  # unknowns: g, and what bounds |∇(f + div g)|
    right, slack = -gradient(f).ravel().numpy(), np.eye(2 * n)
    upper = np.block([[d, -slack], [-d, -slack]])
    bounds = [(-0.1, 0.1)] * 2 * n + [(0, None)] * 2 * n
    best = linprog(np.r_[np.zeros(2 * n), np.ones(2 * n)], upper, np.r_[right, -right], bounds=bounds)
    found = split_meyer(f, 0.1, coupling="none", stop=Stop(1e-7, 20000)).structure
    assert total_variation(found, coupling="none").item() == pytest.approx(best.fun, rel=1e-5)


# errors


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("weight: expected finite numbers >= 0", lambda image: split_meyer(image, -1.0)),
        ("coupling: expected", lambda image: inspect.unwrap(split_meyer)(image, 1.0, coupling="both")),
        ("image: some pixels are NaN", lambda image: split_meyer(image * torch.nan, 1.0)),
        ("image: expected a batch", lambda image: split_meyer(image[:0], 1.0)),
    ],
)
def test_bad_input(message, call):
    with pytest.raises(ValueError, match=message):
        call(torch.rand(2, 1, 8, 8))
