import inspect

import numpy as np
import pytest
import torch

from tavtorch import (
    Blur,
    Mask,
    RidgeModel,
    Stop,
    Subsample,
    disk_kernel,
    gaussian_kernel,
    gradient,
    inpaint_tv,
    motion_kernel,
    restore,
    ridge,
    rof,
    solve,
    total_variation,
)
from tavtorch.image.restoration import restore_tv

CLOSE = Stop(tol=1e-8, max_iter=1500, every=25)
EXACT = Stop(tol=1e-13, max_iter=400, every=20)
MILD = torch.tensor([[0.02, 0.08, 0.02], [0.08, 0.6, 0.08], [0.02, 0.08, 0.02]], dtype=torch.float64)
SKEWED = torch.tensor([[0.0, 0.05, 0.1], [0.0, 0.7, 0.1], [0.05, 0.0, 0.0]], dtype=torch.float64)


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Many small shapes: to compile for each takes longer than to solve. Stiffer steps are better for many digits."""
    monkeypatch.setattr(solve, "COMPILE_AFTER", float("inf"))
    monkeypatch.setattr(restore_tv, "STIFFNESS", 1.0)


@pytest.fixture(scope="module")
def model():
    return RidgeModel.pretrained().double().requires_grad_(False)


def edges(b, c, h, w, dtype=torch.float64, device="cpu", noise=0.05):
    shapes = torch.rand(b, c, 1, 1) < torch.linspace(0, 1, w)
    return (shapes + noise * torch.randn(b, c, h, w)).to(device, dtype)


def hole(h, w):
    return torch.rand(1, 1, h, w) < 0.3


CAMERAS = {
    "blur": lambda: Blur(gaussian_kernel(0.8)),
    "disk": lambda: Blur(disk_kernel(1.5)),
    "motion": lambda: Blur(motion_kernel(5, 30)),
    "large pixels": lambda: Subsample(2) @ Blur(gaussian_kernel(0.6)),
    "masked blur": lambda: Mask(hole(12, 12)) @ Blur(gaussian_kernel(0.6)),
    "own": lambda: (lambda u: u + u.flip(-1) / 2, lambda v: v + v.flip(-1) / 2),
}


def apply(camera, u):
    return camera[0](u) if isinstance(camera, tuple) else camera(u)


# truth


def test_without_blur_it_is_rof():
    f = edges(2, 3, 12, 10)
    weight = torch.tensor([0.2, 0.4], dtype=torch.float64)
    expected = rof(f, weight, stop=CLOSE).value
    torch.testing.assert_close(
        restore(f, Blur(torch.ones(1, 1)), weight, stop=CLOSE).value, expected, rtol=0, atol=1e-4
    )


def test_behind_a_mask_it_fills_like_inpaint_tv():
    f, missing = edges(1, 1, 12, 10), hole(12, 10)
    expected = inpaint_tv(f, missing, 0.3, stop=CLOSE).value
    found = restore(f.masked_fill(missing, 0), Mask(missing), 0.3, stop=CLOSE).value
    torch.testing.assert_close(total_variation(found), total_variation(expected), rtol=1e-4, atol=0)
    torch.testing.assert_close(found.masked_fill(missing, 0), expected.masked_fill(missing, 0), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", CAMERAS)
def test_a_blurred_edge_comes_back(name, device):
    clean = (torch.arange(12, device=device) > 5).float().expand(1, 1, 12, 12).contiguous()
    camera = CAMERAS[name]()
    found = restore(apply(camera, clean), camera, 0.01, stop=Stop(1e-3, 1500))
    assert found.converged.all() and (found.value - clean).abs().mean() < 0.02


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("value", [0.0, 0.3, -1e5])
def test_a_constant_comes_back_at_once(name, value, dtype):
    u = torch.full((2, 2, 12, 12), value, dtype=dtype)
    camera = CAMERAS[name]()
    found = restore(apply(camera, u), camera, 0.01)
    torch.testing.assert_close(found.value, u, rtol=1e-5, atol=0)
    assert found.converged.all() and found.value.dtype == dtype


def test_a_huge_weight_leaves_the_nearest_constant():
    camera = Mask(hole(12, 12)) @ Blur(gaussian_kernel(0.6).double())
    f, flat = edges(2, 1, 12, 12), camera(torch.ones(2, 1, 12, 12, dtype=torch.float64))
    found = restore(f, camera, 1e6)
    expected = (flat * f).sum((2, 3), keepdim=True) / flat.square().sum((2, 3), keepdim=True)
    torch.testing.assert_close(found.value, expected.expand_as(f))
    assert found.converged.all()


# optimality


def energy(u, f, camera, weight):
    return (apply(camera, u) - f).square().sum((1, 2, 3)) / 2 + weight * total_variation(u)


@pytest.mark.parametrize("name", CAMERAS)
def test_the_gap_says_how_far_the_energy_is(name):
    camera = CAMERAS[name]()
    f = apply(camera, edges(1, 2, 12, 12))
    best = energy(restore(f, camera, 0.2, stop=Stop(1e-5, 1000, 20)).value, f, camera, 0.2)
    for tol in (1e-2, 1e-3):
        found = restore(f.float(), camera, 0.2, stop=Stop(tol, 1000, 5))
        excess = energy(found.value.double(), f, camera, 0.2) / best - 1
        assert found.converged.all() and (excess >= -1.1e-5).all() and (excess <= found.gap).all()


def test_the_learned_gap_bounds_the_distance_where_the_energy_is_convex(model):
    camera, f = Blur(MILD), edges(2, 1, 16, 16)
    best = restore(f, camera, 0.05, regulariser=model, sigma=0.05, stop=Stop(1e-9, 2000, 20)).value
    for tol in (1e-2, 1e-3):
        found = restore(f, camera, 0.05, regulariser=model, sigma=0.05, stop=Stop(tol, 500, 1))
        away = (found.value - best).square().mean((1, 2, 3)).sqrt()
        assert found.converged.all() and (away <= found.gap).all() and (found.gap <= tol).all()
    assert (away > found.gap / 100).all()


def test_the_learned_gap_is_the_next_step_where_it_is_not(model):
    camera, f = Blur(gaussian_kernel(1.5).double()), edges(1, 1, 16, 16)
    first = restore(f, camera, 0.1, regulariser=model, sigma=0.05, stop=Stop(0.0, 30, 1))
    one = restore(f, camera, 0.1, regulariser=model, sigma=0.05, stop=Stop(0.0, 300, 1))
    assert 0 < one.gap < first.gap / 3 and not one.converged


def test_learned_without_blur_is_ridge(model):
    f = edges(1, 3, 16, 16)
    expected = ridge(f, 0.08, model=model, stop=Stop(1e-8, 2000, 5)).value
    found = restore(f, Blur(torch.ones(1, 1)), 1.0, regulariser=model, sigma=0.08, stop=Stop(1e-8, 2000, 5))
    torch.testing.assert_close(found.value, expected, rtol=0, atol=1e-6)


def test_the_learned_energy_sharpens():
    clean = torch.nn.functional.interpolate(torch.rand(2, 1, 6, 6), scale_factor=8)
    camera = Blur(gaussian_kernel(1.2))
    f = camera(clean) + 0.01 * torch.randn_like(clean)
    with torch.no_grad():
        found = restore(f, camera, 0.1, regulariser=RidgeModel.pretrained(), sigma=0.03)
    assert found.converged.all() and (found.value - clean).square().mean() < (f - clean).square().mean() / 2


# symmetry


@pytest.mark.parametrize("learned", [False, True])
def test_units_and_flips_commute(learned, model):
    camera, f = Subsample(2) @ Blur(gaussian_kernel(0.6).double()), edges(1, 1, 8, 9)
    stop = Stop(1e-7, 3000, 20) if learned else CLOSE

    def found(f, unit=1.0):
        options = {"regulariser": model, "sigma": 0.05} if learned else {}
        return restore(f, camera, 0.05 if learned else 0.1 * unit, stop=stop, **options).value

    u = found(f)
    same = [found(f.flip(-1)).flip(-1), found(f.mT).mT, found(f + 40) - 40]
    for other in same if learned else [*same, found(255 * f, 255.0) / 255]:  # a model knows where white is
        torch.testing.assert_close(other, u, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_that_of_single(dtype):
    f = edges(1, 1, 12, 12).to(dtype)
    camera = Blur(gaussian_kernel(0.6))
    found = restore(f, camera, 0.05)
    assert found.value.dtype == dtype and found.converged.all()
    assert torch.equal(found.value, restore(f.float(), camera, 0.05).value.to(dtype))


# batch


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("name", ["blur", "motion", "large pixels"])
def test_alone_is_together(name, learned, dtype, device):
    camera, model = CAMERAS[name](), RidgeModel.pretrained().to(device)
    f = apply(camera, edges(3, 1, 12, 12, dtype, device))
    f[1] *= 1 if learned else 50
    weight = torch.tensor([0.1, 0.05 if learned else 5.0, 0.3], dtype=dtype, device=device)
    options = {"regulariser": model, "sigma": 0.05} if learned else {}
    with torch.no_grad():
        together = restore(f, camera, weight, **options)
        for i in range(3):
            alone = restore(f[i : i + 1], camera, weight[i : i + 1], **options)
            unit = f[i].abs().max()  # rounding is relative to the brightest pixel
            torch.testing.assert_close(alone.value[0] / unit, together.value[i] / unit, rtol=1e-5, atol=1e-5)
            assert alone.iterations[0] == together.iterations[i]


def test_the_input_is_not_edited():
    f, kernel = edges(1, 1, 8, 8), MILD.clone()
    before = f.clone()
    restore(f, Blur(kernel), 0.05)
    assert torch.equal(f, before) and torch.equal(kernel, MILD)


# gradient


@pytest.mark.parametrize("kernel", [MILD, pytest.param(SKEWED, marks=pytest.mark.slow)], ids=["diagonal", "skewed"])
def test_slopes_in_image_weight_and_kernel(kernel, assert_slopes):
    f, weight = edges(2, 1, 4, 5), torch.tensor([0.15, 0.25], dtype=torch.float64)

    def op(f, weight, kernel):
        return restore(f, Blur(kernel), weight, stop=EXACT).value

    assert_slopes(op, f, weight, kernel, rtol=1e-4, step=1e-5)


@pytest.mark.slow
def test_slopes_in_a_map_and_what_an_own_operator_is_made_of(assert_slopes):
    f, weight = edges(1, 2, 4, 5), 0.2 + 0.1 * torch.rand(1, 1, 4, 5, dtype=torch.float64)

    def op(f, weight, light):
        return restore(f, (lambda u: light * u, lambda v: light * v), weight, stop=EXACT).value

    assert_slopes(op, f, weight, 1 + 0.2 * torch.rand(4, 5, dtype=torch.float64), rtol=1e-4, step=1e-5)


@pytest.mark.slow
def test_learned_slopes_in_everything(model, assert_slopes):
    f, weight = edges(2, 1, 5, 6), torch.tensor([0.05, 0.08], dtype=torch.float64)
    sigma, own = torch.tensor([0.05, 0.07], dtype=torch.float64), RidgeModel(axis=2, diagonal=1, size=3).double()
    names = [name for name, _ in own.named_parameters()]

    def op(f, weight, sigma, kernel, *weights):
        with torch.nn.utils.stateless._reparametrize_module(own, dict(zip(names, weights, strict=True))):
            stop = Stop(1e-12, 3000, 20)
            return restore(f, Blur(kernel), weight, regulariser=own, sigma=sigma, stop=stop).value

    trained = [weights.detach().clone() for weights in own.parameters()]
    assert_slopes(op, f, weight, sigma, MILD, *trained, rtol=1e-4, step=1e-7)


def test_a_learned_gradient_that_does_not_converge_is_nan(model, caplog):
    f = edges(1, 1, 16, 16).requires_grad_()
    camera = Blur(gaussian_kernel(1.5).double())
    restore(f, camera, 0.1, regulariser=model, sigma=0.05, stop=Stop(1e-3, 2, 1)).value.square().sum().backward()
    assert f.grad.isnan().all() and "does not converge" in caplog.text


# reference


def test_anisotropic_deblurring_is_a_quadratic_program():
    from scipy.optimize import minimize

    f, n = edges(1, 1, 4, 5), 20
    units = torch.eye(n, dtype=torch.float64).reshape(n, 1, 4, 5)
    a, d = Blur(SKEWED)(units).reshape(n, -1).T.numpy(), gradient(units).reshape(n, -1).T.numpy()
    target, d = f.flatten().numpy(), d[np.abs(d).any(1)]

    def dual(p):  # least over u of ½ |A u - f|² + p · D u, for A that has an inverse
        u = np.linalg.solve(a.T @ a, a.T @ target - d.T @ p)
        return -(np.square(a @ u - target).sum() / 2 + p @ d @ u), -d @ u

    least = minimize(dual, np.zeros(len(d)), jac=True, bounds=[(-0.05, 0.05)] * len(d), tol=1e-14)
    u = restore(f, Blur(SKEWED), 0.05, coupling="none", stop=CLOSE).value
    found = (Blur(SKEWED)(u) - f).square().sum() / 2 + 0.05 * total_variation(u, coupling="none")
    assert found.item() == pytest.approx(-least.fun, rel=1e-5)


# errors


@pytest.mark.parametrize(
    ("operator", "options", "message"),
    [
        (Blur(torch.ones(9, 9)), {}, "smaller than the kernel of 9 × 9"),
        (Mask(torch.zeros(1, 1, 5, 5, dtype=torch.bool)), {}, "does not fit"),
        (Blur(torch.tensor([[1.0, 0.0, -1.0]])), {}, "gives nothing for a constant picture"),
        ((lambda u: 2 * u, lambda v: v), {}, "its adjoint is none"),
        ((lambda u: u, lambda v: v[0]), {}, "expected an adjoint to pictures"),
        ((lambda u: u, lambda v: v @ torch.ones(3, 3)), {}, "its adjoint fails on an image"),
        (Blur(torch.ones(1, 1)), {"weight": 0.0}, "weight: expected numbers > 0"),
        (Blur(torch.ones(1, 1)), {"weight": -1.0}, "weight: expected finite numbers >= 0"),
        (Blur(torch.ones(1, 1)), {"regulariser": "tgv"}, 'regulariser: expected "tv" or a RidgeModel'),
        (Blur(torch.ones(1, 1)), {"coupling": "both"}, "coupling: expected"),
    ],
)
def test_bad_input_is_named(operator, options, message):
    unchecked = inspect.unwrap(restore)  # without the shape checks that only the tests have
    with pytest.raises(ValueError, match=message):
        unchecked(torch.rand(1, 1, 8, 8), operator, **{"weight": 0.1, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "sigma: a model needs the level"),
        ({"sigma": 0.0}, "sigma: expected a number > 0"),
        ({"sigma": torch.ones(1, 1, 8, 8)}, "weight, sigma: expected a number or one an image"),
        ({"sigma": 0.1, "weight": torch.ones(1, 1, 8, 8)}, "weight, sigma: expected a number or one an image"),
    ],
)
def test_what_a_model_needs(options, message, model):
    with pytest.raises(ValueError, match=message):
        restore(torch.rand(1, 1, 8, 8), Blur(MILD), **{"weight": 0.1, "regulariser": model, **options})
