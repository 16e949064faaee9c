import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from tavtorch import Stop, gradient, solve
from tavtorch.image.restoration.inpaint_tv import fill, hole_from_color, inpaint_tv
from tavtorch.image.restoration.rof import rof, total_variation


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Many small shapes: to compile for each takes longer than to solve."""
    monkeypatch.setattr(solve, "COMPILE_AFTER", float("inf"))


def damaged(b, c, h, w, dtype=torch.float64, device="cpu", missing=0.3):
    f = torch.rand(b, c, h, w, dtype=torch.float64).to(device, dtype)
    return f, torch.rand(b, 1, h, w).to(device) < missing


def square(h, w, side):
    hole = torch.zeros(1, 1, h, w, dtype=torch.bool)
    hole[..., (h - side) // 2 : (h + side) // 2, (w - side) // 2 : (w + side) // 2] = True
    return hole


# truth


def test_a_straight_edge_goes_on_through_the_hole(device, dtype):
    f = (torch.arange(16, device=device) < 7).to(dtype).expand(2, 3, 12, 16).clone()
    hole = square(12, 16, 6).expand(2, 1, 12, 16).to(device)
    damaged = f.masked_fill(hole, 0.5)
    found = inpaint_tv(damaged, hole, stop=Stop(1e-6, 5000))
    torch.testing.assert_close(found.value, f, rtol=0, atol=1e-2)
    assert found.converged.all() and found.value.dtype == dtype


def test_known_pixels_stay_to_the_bit_and_what_stands_in_the_hole_does_not_count(device, dtype):
    f, hole = damaged(2, 3, 15, 20, dtype, device)
    found = inpaint_tv(f, hole).value
    assert torch.equal(found.masked_fill(hole, 0), f.masked_fill(hole, 0))
    assert torch.equal(inpaint_tv(f.masked_fill(hole, -7), hole).value, found)


def test_without_a_hole_it_is_rof_and_at_weight_zero_the_image():
    f, _ = damaged(1, 2, 15, 20)
    hole = torch.zeros(1, 1, 15, 20, dtype=torch.bool)
    assert torch.equal(inpaint_tv(f, hole).value, f)
    u = rof(f, 0.2, stop=Stop(1e-8)).value
    torch.testing.assert_close(inpaint_tv(f, hole, 0.2, stop=Stop(1e-8)).value, u, rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [(1, 2), (1, 9), (9, 1), (2, 2)])
def test_small_images(size):
    f = torch.rand(1, 2, *size)
    hole = torch.ones(1, 1, *size, dtype=torch.bool)
    hole[..., 0, 0] = False
    found = inpaint_tv(f, hole)  # one known pixel: it is everywhere
    torch.testing.assert_close(found.value, f[..., :1, :1].expand_as(f))
    assert found.converged.all()


@pytest.mark.parametrize("weight", [0.0, 1e-3, 1e9])
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_constant_has_converged(value, weight, dtype):
    f = torch.full((1, 2, 5, 6), value, dtype=dtype)
    found = inpaint_tv(f.masked_fill(square(5, 6, 3), 0.9), square(5, 6, 3), weight)
    assert torch.equal(found.value, f) and found.converged.all()


def test_past_the_weight_of_the_mean_it_is_the_mean_of_the_known_pixels(dtype):
    f, hole = damaged(2, 1, 7, 8, dtype)
    found = inpaint_tv(f, hole, 1e6)
    mean = f.masked_fill(hole, 0).sum((-2, -1), keepdim=True) / (~hole).sum((-2, -1), keepdim=True)
    torch.testing.assert_close(found.value, mean.expand_as(f))
    assert found.converged.all() and found.value.flatten(1).std(1).eq(0).all()


def test_fill_leaves_no_hole():
    f, hole = damaged(2, 3, 13, 22, missing=0.9)
    filled = fill(f.masked_fill(hole, torch.tensor(9.0)), ~hole)
    assert torch.equal(filled.masked_fill(hole, 0), f.masked_fill(hole, 0))
    assert filled.min() >= 0 and filled.max() <= 1
    assert fill(torch.full((1, 1, 5, 5), 2.0), square(5, 5, 3)).eq(2).all()


# optimality


@pytest.mark.parametrize("weight", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("coupling", ["joint", "separate", "none"])
def test_the_gap_says_how_far_the_energy_is(weight, coupling):
    f, hole = damaged(3, 2, 12, 9)

    def energy(u):
        data = (u - f).masked_fill(hole, 0).square().flatten(1).sum(1) / 2
        return (weight or 1) * total_variation(u, coupling=coupling) + data

    best = energy(inpaint_tv(f, hole, weight, coupling=coupling, stop=Stop(1e-9, 2000, 50)).value)
    for tol in (1e-2, 1e-4):
        found = inpaint_tv(f, hole, weight, coupling=coupling, stop=Stop(tol, 5000, 5))
        excess = energy(found.value) / best - 1
        assert (excess >= -1e-9).all() and (excess <= found.gap + 1e-9).all() and (found.gap <= tol).all()


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_the_fill_stays_in_the_range_of_the_known_pixels(weight):
    f, hole = damaged(2, 2, 20, 17)
    u = inpaint_tv(f, hole, weight).value.masked_fill(~hole, 0.5)
    known = f.masked_fill(hole, 0.5)
    assert (u.amin((-2, -1)) >= known.amin((-2, -1))).all() and (u.amax((-2, -1)) <= known.amax((-2, -1))).all()


# symmetry


def test_scales_and_transposes_commute():
    f, hole = damaged(1, 1, 9, 12)
    tv = total_variation(inpaint_tv(f, hole, stop=Stop(1e-8, 5000)).value)
    for same in (inpaint_tv(3 * f - 7, hole, stop=Stop(1e-8, 5000)).value / 3, inpaint_tv(f.mT, hole.mT).value):
        torch.testing.assert_close(total_variation(same), tv, rtol=2e-3, atol=0)


# batch


def test_alone_is_together(device, dtype):
    f, hole = damaged(3, 2, 15, 20, dtype, device)
    weight = torch.tensor([0.0, 0.1, 1.0], device=device, dtype=dtype)
    together = inpaint_tv(f, hole, weight)
    for i in range(3):
        alone = inpaint_tv(f[i : i + 1], hole[i : i + 1], weight[i : i + 1])
        torch.testing.assert_close(alone.value[0], together.value[i], rtol=0, atol=1e-6)
        assert alone.iterations[0] == together.iterations[i]


# gradient


def edges(missing):
    """Edges and noise, with a hole in which the minimiser is unique: the last pixel of all is known."""
    f = (torch.rand(2, 2, 1, 1) < torch.linspace(0, 1, 10)) + 0.1 * torch.randn(2, 2, 10, 10, dtype=torch.float64)
    hole = torch.rand(2, 1, 10, 10) < missing
    hole[..., -1, -1] = False
    return f, hole


@pytest.mark.parametrize("shape", [(), (2,), (2, 1, 10, 10)])
def test_gradients_are_those_of_finite_differences(shape, assert_slopes):
    f, hole = edges(0.2)
    weight = 0.02 + 0.03 * torch.rand(shape, dtype=torch.float64)
    stop = Stop(1e-14, 4000, 50)
    assert_slopes(lambda f, weight: inpaint_tv(f, hole, weight, stop=stop).value, f, weight)


def test_at_weight_zero_gradients_are_those_of_finite_differences(assert_slopes):
    f, hole = edges(0.3)
    assert_slopes(lambda f: inpaint_tv(f, hole, stop=Stop(1e-14, 4000, 50)).value, f)
    inpaint_tv(f.requires_grad_(), hole).value.square().sum().backward()
    assert f.grad.masked_select(hole).eq(0).all() and f.grad.ne(0).any()


def test_the_last_pixel_may_lie_anywhere_between_its_neighbours():
    """Why gradients need a unique minimiser: `|u - a| + |u - b|` does not choose."""
    f, hole = torch.tensor([[[[0.0, 0.0], [1.0, 9.0]]]]), torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    f[..., 0, 1], hole[..., 1, 1] = 0.5, True
    u = inpaint_tv(f, hole).value
    assert 0.5 <= u[..., 1, 1] <= 1
    for value in (0.5, 0.7, 1.0):
        u[..., 1, 1] = value
        torch.testing.assert_close(total_variation(u), total_variation(inpaint_tv(f, hole).value))


# reference


def test_anisotropic_filling_is_a_linear_program():
    f, hole = damaged(1, 1, 6, 7)
    found = inpaint_tv(f, hole, coupling="none", stop=Stop(1e-7, 20000))
    n = f.numel()
    basis = torch.eye(n, dtype=torch.float64).reshape(n, 6, 7)
    d = gradient(basis).reshape(n, -1).T.numpy()  # unknowns: the image and the absolute values of its differences
    upper = np.block([[d, -np.eye(2 * n)], [-d, -np.eye(2 * n)]])
    bounds = [(None, None) if h else (v, v) for v, h in zip(f.ravel().tolist(), hole.ravel().tolist(), strict=True)]
    best = linprog(np.r_[np.zeros(n), np.ones(2 * n)], upper, np.zeros(4 * n), bounds=bounds + [(0, None)] * 2 * n)
    assert total_variation(found.value, coupling="none").item() == pytest.approx(best.fun, rel=1e-6)


# colours


def test_a_hole_is_found_by_its_colour():
    f = torch.full((2, 3, 4, 5), 0.5)
    f[0, :, 1, 2] = torch.tensor([0.95, 0.9, 0.1])
    found = hole_from_color(f, (1.0, 1.0, 0.0), 0.2)
    assert found.shape == (2, 1, 4, 5) and found.sum() == 1 and found[0, 0, 1, 2]


# errors


@pytest.mark.parametrize(
    ("hole", "options", "message"),
    [
        (torch.ones(1, 1, 4, 4, dtype=torch.bool), {}, "hole: covers a whole image"),
        (torch.zeros(1, 1, 4, 4), {}, "hole: expected a bool mask"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.bool), {}, r"hole: expected a bool mask \(1, 1, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.bool), {"weight": -1.0}, "weight: .*>= 0"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.bool), {"coupling": "both"}, "coupling"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.bool), {"init": torch.full((1, 1, 4, 4), torch.nan)}, "init"),
    ],
)
def test_bad_input_is_named(hole, options, message):
    unchecked = getattr(inpaint_tv, "__wrapped__", inpaint_tv)  # without the shape checks that only the tests have
    with pytest.raises(ValueError, match=message):
        unchecked(torch.zeros(1, 1, 4, 4), hole, **options)
    with pytest.raises(ValueError, match="image: expected floating point"):
        unchecked(torch.zeros(1, 1, 4, 4, dtype=torch.int64), hole)


@pytest.mark.parametrize(
    ("color", "tolerance", "message"), [((1.0,), 0.1, "color"), ((1.0, 1.0, 0.0), -1, "tolerance")]
)
def test_bad_colours_are_named(color, tolerance, message):
    with pytest.raises(ValueError, match=message):
        hole_from_color(torch.zeros(1, 3, 4, 4), color, tolerance)
