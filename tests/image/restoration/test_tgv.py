"""Total generalised variation: `rof` of order 2."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from tavtorch import Stop, gradient, rof, solve, total_variation
from tavtorch.image.grid import differences
from tavtorch.image.restoration.tgv import bend, bend_adjoint

EXACT = Stop(tol=1e-9, max_iter=8000, every=100)
SIZES = [(1, 1), (1, 4), (2, 2), (3, 1), (2, 5), (6, 7)]


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Many small shapes: to compile for each takes longer than to solve."""
    monkeypatch.setattr(solve, "COMPILE_AFTER", float("inf"))


def ramps(b, c, h, w, dtype=torch.float64):
    """Ramps, an edge between them, and noise."""
    y, x = torch.meshgrid(torch.linspace(0, 1, h), torch.linspace(0, 1, w), indexing="ij")
    clean = torch.where(x > 0.6, x, 1 - y)
    return (clean + 0.05 * torch.randn(b, c, h, w)).to(dtype)


# truth


@pytest.mark.parametrize("size", SIZES)
def test_the_adjoint(size):
    w = torch.randn(2, 3, 2, *size, dtype=torch.float64)
    q = torch.randn(2, 3, 3, *size, dtype=torch.float64)
    bent, back = torch.stack(bend(w.unbind(2)), 2), torch.stack(bend_adjoint(q.unbind(2)), 2)
    torch.testing.assert_close((bent * q).sum(), (w * back).sum())


def test_how_much_a_slope_changes_by_hand():
    """`w = (x², x y)`: `w_xx = 2x - 1` between columns, `w_yy = x`, `w_xy = (0 + y) / 2`."""
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(5.0), indexing="ij")
    xx, yy, xy = (part[0, 0] for part in bend((x.square()[None, None], (x * y)[None, None])))
    assert xx[1].tolist() == [0, 1, 3, 5, 0]
    assert yy[:, 2].tolist() == [0, 2, 2, 0]
    torch.testing.assert_close(xy[2, 1:4], torch.full((3,), 2.0 / 2**0.5))


def test_what_is_affine_costs_nothing(dtype):
    y, x = torch.meshgrid(torch.arange(7.0), torch.arange(9.0), indexing="ij")
    f = torch.stack((2 * x - 3 * y + 1, 0 * x + 4, y))[None].to(dtype)
    found = rof(f, 5.0, order=2)
    assert found.converged.all()
    torch.testing.assert_close(found.value, f, rtol=0, atol=1e-4)


def test_a_noisy_ramp_is_nearer_to_the_truth_than_by_total_variation():
    f = ramps(1, 1, 48, 48)
    y, x = torch.meshgrid(torch.linspace(0, 1, 48), torch.linspace(0, 1, 48), indexing="ij")
    clean = torch.where(x > 0.6, x, 1 - y)
    errors = {order: min((rof(f, t, order=order).value - clean).norm() for t in (0.02, 0.04, 0.08)) for order in (1, 2)}
    assert errors[2] < 0.75 * errors[1]


def test_a_huge_ratio_leaves_one_slope():
    """Where `w` may not change at all it is one affine slope, which an edge-free picture follows."""
    f = ramps(1, 1, 8, 8)
    found = rof(f, 1e3, order=2, ratio=1e3, stop=Stop(1e-6, 20000, 100)).value[0, 0]
    assert torch.stack(bend(differences(found[None, None]))).abs().max() < 1e-3


# optimality


@pytest.mark.parametrize("coupling", ["joint", "separate", "none"])
@pytest.mark.parametrize("tol", [1e-2, 1e-4])
def test_the_gap_bounds_the_error(coupling, tol):
    f = ramps(3, 2, 7, 6)
    weight = torch.tensor([0.05, 0.1, 0.5], dtype=torch.float64)
    exact = rof(f, weight, order=2, coupling=coupling, stop=Stop(1e-6, 15000, 100))
    found = rof(f, weight, order=2, coupling=coupling, stop=Stop(tol, 5000, 10))
    assert exact.converged.all() and found.converged.all() and (found.gap <= tol).all()
    error = (found.value - exact.value).square().flatten(1).sum(1) / 2
    energy = f.square().flatten(1).sum(1) / 2 + weight * total_variation(f)  # of 0 and of f: above the least
    assert (error <= found.gap * energy + 1e-6 * energy).all()


def test_a_general_minimiser_finds_the_same():
    """scipy's L-BFGS on the energy with lengths √(t² + 1e-10), in `u` and `w` together."""
    f, weight = ramps(1, 1, 5, 6), 0.1

    def cost(flat):
        x = torch.tensor(flat, requires_grad=True)
        u, w = x[:30].reshape(1, 1, 5, 6), x[30:].reshape(1, 1, 2, 5, 6)
        slope, bent = gradient(u) - w, torch.stack(bend(w.unbind(2)), 2)
        lengths = ((part.square().sum(2) + 1e-10).sqrt().sum() for part in (slope, bent))
        first, second = lengths
        value = weight * (first + 2 * second) + (u - f).square().sum() / 2
        value.backward()
        return value.item(), x.grad.numpy()

    start = np.concatenate((f.numpy().ravel(), np.zeros(60)))
    best = minimize(
        cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 20000, "maxfun": 40000, "ftol": 1e-15}
    )
    found = rof(f, weight, order=2, stop=EXACT)
    torch.testing.assert_close(found.value.flatten(), torch.from_numpy(best.x[:30]), rtol=0, atol=2e-3)


# symmetry


def test_offsets_scales_and_mirrors_commute():
    f, rule = ramps(1, 1, 6, 7), Stop(1e-6, 8000, 100)
    weight = torch.tensor([0.1, 100.0, 0.1], dtype=torch.float64)
    u, louder, moved = rof(torch.cat((f, 1e3 * f, f + 7)), weight, order=2, stop=rule).value
    torch.testing.assert_close(louder, 1e3 * u, rtol=0, atol=1)
    torch.testing.assert_close(moved, u + 7, rtol=0, atol=1e-3)
    torch.testing.assert_close(rof(f.mT, 0.1, order=2, stop=rule).value[0], u.mT, rtol=0, atol=1e-3)


# batch


def test_alone_as_together(dtype):
    f, weight = ramps(3, 1, 8, 9, dtype), torch.tensor([0.02, 0.0, 0.5], dtype=dtype)
    together = rof(f, weight, order=2)
    for i in range(3):
        alone = rof(f[i : i + 1], weight[i : i + 1], order=2)
        assert torch.equal(alone.value[0], together.value[i]) and alone.iterations[0] == together.iterations[i]
    assert torch.equal(together.value[1], f[1])


# gradient


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1,), (1, 1, 4, 5)])
def test_derivatives_are_finite_differences(shape):
    f, weight = ramps(1, 1, 4, 5), 0.1 + 0.05 * torch.rand(shape, dtype=torch.float64)
    along = torch.randn_like(f), 0.1 * torch.randn_like(weight)

    def op(f, weight):
        return rof(f, weight, order=2, stop=Stop(1e-11, 8000, 50)).value

    def moved(t):
        return op(f + t * along[0], weight + t * along[1])

    expected = (moved(1e-5) - moved(-1e-5)) / 2e-5
    _, pushed = torch.func.jvp(op, (f, weight), along)
    torch.testing.assert_close(pushed, expected, rtol=1e-3, atol=1e-4)
    g = torch.randn_like(f)
    pulled = torch.func.vjp(op, f, weight)[1](g)
    total = sum((a * b).sum() for a, b in zip(pulled, along, strict=True))
    torch.testing.assert_close(total, (g * expected).sum(), rtol=1e-3, atol=1e-4)


# errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 2, "image": torch.rand(1, 1, 3, 6, 6)}, "order: 2 is for pictures"),
        ({"order": 2, "huber": 0.1}, "order: 2 is for pictures"),
        ({"order": 2, "spacing": (1, 2)}, "order: 2 is for pictures"),
        ({"order": 2, "ratio": 0.0}, r"ratio: expected a finite number of pixels > 0, got 0.0"),
        ({"order": 2, "ratio": math.nan}, "ratio: expected a finite number"),
        ({"order": 2, "weight": "sure"}, "order: 2 is for pictures"),
        ({"order": 2, "weight": torch.eye(6)[None, None]}, "weight: with order=2 a map is above 0 in every pixel"),
    ],
)
def test_what_order_2_does_not_take(options, message):
    with pytest.raises(ValueError, match=message):
        rof(**{"image": torch.rand(1, 1, 6, 6), "weight": 0.1} | options)
