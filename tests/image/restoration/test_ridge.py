import math

import pytest
import torch

from tavtorch import RidgeModel, Stop, ridge, solve
from tavtorch.image.grid import cosine_transform, inverse_cosine_transform, mirrored
from tavtorch.image.restoration.experts import between_grid
from tavtorch.image.restoration.ridge import KNOTS, LEVELS

EXACT = Stop(tol=1e-12, max_iter=2000, every=1)


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Many small shapes: to compile for each takes longer than to solve."""
    monkeypatch.setattr(solve, "COMPILE_AFTER", float("inf"))


@pytest.fixture
def model():
    """A small model with filters and penalties at random."""
    return shaken(axis=2, diagonal=2, size=5, rho=0.8)


def shaken(**settings):
    found = RidgeModel(**settings).double()
    with torch.no_grad():
        for weights in found.parameters():
            weights += 0.1 * torch.randn_like(weights)
    return found


def noisy(b, c, h, w, dtype=torch.float64, device="cpu", sigma=0.1):
    """Edges and noise."""
    shapes = torch.rand(b, c, 1, 1, dtype=torch.float64) < torch.linspace(0, 1, w)
    return (shapes + sigma * torch.randn(b, c, h, w)).to(device, dtype)


def penalty(t, curvatures, a):
    """`φ`, integrated from its curvature piece by piece."""
    total, slope, start = torch.zeros_like(t), torch.zeros_like(t), 0.0
    for s, end in zip(curvatures, [a * knot for knot in KNOTS], strict=True):
        inside = (t.abs() - start).clamp(0, end - start)
        total, slope, start = total + slope * inside + s * inside.square() / 2, slope + s * inside, end
    return total + slope * (t.abs() - start).clamp(min=0)


def energy(u, f, sigma, model):
    """As the docstring has it, for a number σ that is one of the levels, pixel by pixel; grey, `(b,)`."""
    level = min(range(len(LEVELS)), key=lambda i: abs(LEVELS[i] - sigma))
    pad = model.filters().shape[-1] // 2
    rows, columns = (mirrored(n, pad, u.device) for n in u.shape[-2:])
    answers = torch.nn.functional.conv2d(u[..., rows, :][..., columns], model.filters())
    scale = model._of_all(model.scale)[level].tolist()
    costs = [
        penalty(answers[:, c], model.curvatures()[level, c].tolist(), sigma * math.exp(scale[c]))
        for c in range(answers.shape[1])
    ]
    return (u - f).square().sum((1, 2, 3)) / 2 + torch.stack(costs).sum((0, 2, 3))


def slope_of_energy(u, f, sigma, model):
    u = u.detach().requires_grad_()
    return torch.autograd.grad(energy(u, f, sigma, model).sum(), u)[0]


def hessian(f, sigma, model):
    """`E''` at an image of few pixels, and its bounds `M` and `P`, as matrices."""
    level = torch.full((1, 1, 1, 1), sigma, dtype=f.dtype)
    experts = model.experts(level, level).detach()
    units = torch.eye(f.numel(), dtype=f.dtype).reshape(-1, 1, *f.shape[1:])
    bent = torch.cat([unit + experts.bend(f, unit) for unit in units])
    bounds = [inverse_cosine_transform(bound * cosine_transform(units[:, 0])) for bound in experts.bounds(f.shape[-2:])]
    return bent.flatten(1), *(bound.flatten(1) for bound in bounds)


# truth


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 9), (13, 10)])
def test_a_constant_is_left_alone(size, device, dtype):
    f = torch.full((2, 1, *size), 0.3, device=device, dtype=dtype)
    found = ridge(f, 0.1, model=shaken(axis=3, diagonal=2, size=7).to(device))
    torch.testing.assert_close(found.value, f, rtol=0, atol=1e-6)
    assert found.converged.all() and found.value.dtype == dtype and (found.iterations == 0).all()


def test_two_pixels_by_hand():
    """Of two pixels a filter `(-w, 0, w)` sees their difference δ twice: it shrinks to `δ / (1 + 4 s w²)`."""
    model, sigma = RidgeModel(axis=1, diagonal=0, size=3).double(), LEVELS[2]
    f = torch.tensor([[[[0.5, 0.5 + 1e-4]]]], dtype=torch.float64)  # within the first piece of the penalty
    w, s = model.filters()[0, 0, :, 2].sum(), model.curvatures()[2, 0, 0]
    found = ridge(f, sigma, model=model, stop=EXACT).value
    torch.testing.assert_close(found.diff(), f.diff() / (1 + 4 * s * w.square()), rtol=1e-9, atol=0)


def test_noise_is_removed_and_an_edge_stays(device):
    clean = (torch.arange(48, device=device) > 20).float().expand(1, 1, 48, 48)
    f = clean + 0.1 * torch.randn(clean.shape).to(device)
    found = ridge(f, 0.1)
    assert found.converged.all()
    assert (found.value - clean).square().mean() < (f - clean).square().mean() / 8
    assert (found.value.diff()[..., 20] > 0.7).all()


# optimality


@pytest.mark.parametrize("sigma", [LEVELS[1], LEVELS[3]])
def test_the_slope_of_the_energy_vanishes(model, sigma):
    f = noisy(2, 1, 9, 12, sigma=sigma)
    u = ridge(f, sigma, model=model, stop=EXACT).value
    assert slope_of_energy(u, f, sigma, model).abs().max() < 1e-12 * f[0].numel() ** 0.5


def test_the_gap_bounds_the_distance_to_the_minimiser(model, dtype):
    f = noisy(3, 1, 20, 17)
    best = ridge(f, 0.1, model=model, stop=EXACT).value
    for tol in (1e-1, 1e-2, 1e-3, 1e-4):
        found = ridge(f.to(dtype), 0.1, model=model, stop=Stop(tol, every=1))
        distance = (found.value.double() - best).square().mean((1, 2, 3)).sqrt()
        assert (distance <= found.gap * (1 + 1e-6)).all() and (found.gap <= tol).all() and found.converged.all()


def test_the_gap_is_measured_at_the_value(model):
    f, sigma = noisy(2, 1, 4, 5), LEVELS[3]
    found = ridge(f, sigma, model=model, stop=Stop(0.0, max_iter=3))
    slope = slope_of_energy(found.value, f, sigma, model).flatten(1)
    for i in range(2):
        _, least, _ = hessian(found.value[i : i + 1], sigma, model)
        bound = slope[i] @ torch.linalg.solve(least, slope[i]) / torch.linalg.eigvalsh(least)[0]
        torch.testing.assert_close(found.gap[i], (bound / slope[i].numel()).sqrt())


@pytest.mark.parametrize(
    "settings", [{"axis": 3, "diagonal": 0}, {"axis": 0, "diagonal": 3}, {"axis": 4, "diagonal": 2}]
)
@pytest.mark.parametrize("size", [(1, 5), (4, 6), (9, 8)])
def test_the_energy_is_as_convex_and_as_steep_as_is_said(settings, size):
    """The Hessian is between `M` and `P`, at the borders too, and the first of them above 1 - ρ."""
    model = shaken(size=5, rho=0.9, **settings)
    with torch.no_grad():
        model.slopes[..., :2], model.slopes[..., 2:] = 3.0, -9.0
    for scale in (0.01, 0.2, 1.0):
        bent, least, most = hessian(scale * torch.rand(1, 1, *size, dtype=torch.float64), 0.1, model)
        torch.testing.assert_close(bent, bent.T)
        for above, below in ((bent, least), (most, bent), (least, (1 - model.rho) * torch.eye(len(bent)).double())):
            assert torch.linalg.eigvalsh(above - below)[0] >= -1e-12


@pytest.mark.parametrize("size", [3, 5, 7])
def test_filters_have_mean_zero_and_a_spectrum_of_at_most_one(size):
    filters = shaken(axis=3, diagonal=2, size=size).filters()
    assert filters.sum((-2, -1)).abs().max() < 1e-12
    power = torch.fft.rfft2(filters[:, 0], s=(720, 720)).abs().square().sum(0)
    assert 1 / between_grid(size) - 1e-2 < power.max() <= 1


def test_few_steps_are_enough():
    assert (ridge(noisy(2, 1, 64, 64, torch.float32), 0.1).iterations <= 40).all()


# symmetry


def test_turns_mirrors_offsets_and_signs_commute(model):
    f = noisy(1, 2, 9, 14)
    u = ridge(f, 0.1, model=model, stop=EXACT).value
    for move in (lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.mT, lambda x: x + 5, lambda x: -x):
        torch.testing.assert_close(ridge(move(f), 0.1, model=model, stop=EXACT).value, move(u), rtol=0, atol=1e-10)


def test_a_map_of_one_level_is_a_number(model):
    f = noisy(2, 1, 40, 13)
    number = ridge(f, 0.1, model=model, stop=EXACT)
    chart = ridge(f, torch.full((2, 1, 40, 13), 0.1, dtype=f.dtype), model=model, stop=EXACT)
    torch.testing.assert_close(chart.value, number.value, rtol=0, atol=1e-11)


def test_a_map_smooths_where_it_says():
    f = 0.5 + 0.1 * torch.randn(1, 1, 40, 40)
    chart = torch.full_like(f, 0.1)
    chart[..., 20:] = 0.01
    deviation = (ridge(f, chart).value - 0.5).square().mean((0, 1, 2)).sqrt()
    assert deviation[:16].max() < 0.3 * deviation[24:].min()


def test_strips_are_the_whole(model, monkeypatch):
    f = noisy(2, 3, 31, 12)
    whole = ridge(f, 0.1, model=model, stop=EXACT).value
    monkeypatch.setattr("tavtorch.image.restoration.experts.STRIP", {"cpu": 300})
    torch.testing.assert_close(ridge(f, 0.1, model=model, stop=EXACT).value, whole, rtol=0, atol=1e-12)


def test_grey_in_three_channels_stays_grey():
    f = noisy(1, 1, 24, 24, torch.float32).expand(-1, 3, -1, -1)
    u = ridge(f, 0.1).value
    torch.testing.assert_close(u[:, :1].expand_as(u), u, rtol=0, atol=1e-5)


# batch


def test_an_item_is_the_same_alone_and_together(device, dtype):
    f = noisy(3, 1, 24, 20, dtype, device)
    sigma = torch.tensor([0.02, 0.1, 0.2], device=device, dtype=dtype)
    together = ridge(f, sigma)
    assert len(set(together.iterations.tolist())) > 1
    for i in range(3):
        alone = ridge(f[i : i + 1], float(sigma[i]))
        assert alone.iterations == together.iterations[i]
        atol = 1e-5 if dtype == torch.float32 else 1e-9
        torch.testing.assert_close(alone.value[0], together.value[i], rtol=0, atol=atol)


def test_the_input_is_not_edited(model):
    f = noisy(1, 3, 8, 8)
    before = f.clone()
    ridge(f, 0.1, model=model)
    assert torch.equal(f, before)


# gradient


def test_slopes_in_image_and_sigma(model, assert_slopes):
    f, sigma = noisy(2, 1, 8, 9), torch.tensor([0.09, 0.15], dtype=torch.float64)
    assert_slopes(lambda f, s: ridge(f, s, model=model, stop=EXACT).value, f, sigma, step=1e-8, rtol=1e-5)


def test_slopes_in_colours_and_a_map(model, assert_slopes):
    f, sigma = noisy(1, 3, 7, 6), 0.1 + 0.05 * torch.rand(1, 1, 7, 6, dtype=torch.float64)
    assert_slopes(lambda f, s: ridge(f, s, model=model, stop=EXACT).value, f, sigma, step=1e-8, rtol=1e-5)


def test_slopes_in_the_weights(model, assert_slopes):
    f = noisy(2, 1, 8, 9)
    names = [name for name, _ in model.named_parameters()]

    def op(f, *weights):
        return torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (f, 0.1, EXACT)).value

    assert_slopes(op, f, *(weights.detach() for weights in model.parameters()), step=1e-8, rtol=1e-5)


def test_second_derivatives_are_refused(model):
    f = noisy(1, 1, 6, 6).requires_grad_()
    (first,) = torch.autograd.grad(ridge(f, 0.1, model=model).value.square().sum(), f, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        first.sum().backward()


def test_training_lowers_the_error():
    model, clean = RidgeModel(axis=2, diagonal=1, size=5), noisy(2, 1, 16, 16, torch.float32, sigma=0)
    optimizer, errors = torch.optim.Adam(model.parameters(), lr=0.05), []
    for _ in range(12):
        error = (model(clean + 0.1 * torch.randn_like(clean), 0.1).value - clean).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert sum(errors[-3:]) < 0.9 * sum(errors[:3])


# weights


def test_the_model_of_the_package_is_small_and_trained():
    model = RidgeModel.pretrained()
    assert sum(weights.numel() for weights in model.parameters()) <= 15_000
    assert not torch.equal(model.slopes[:, :1].expand_as(model.slopes), model.slopes)


def test_weights_come_back(tmp_path, model):
    model = model.float()
    model.save(tmp_path / "own.safetensors")
    back = RidgeModel.pretrained(tmp_path / "own.safetensors", rho=0.8)
    f = noisy(1, 1, 12, 12, torch.float32)
    assert torch.equal(ridge(f, 0.1, model=back).value, ridge(f, 0.1, model=model).value)


def test_sigma_is_measured_where_it_is_not_given():
    f = 0.5 + 0.1 * torch.randn(1, 1, 60, 60)
    measured, known = ridge(f).value, ridge(f, 0.1).value
    torch.testing.assert_close(measured, known, rtol=0, atol=0.02)


# errors


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        (0.0, "sigma: expected a standard deviation > 0"),
        (-1.0, "sigma: expected"),
        (float("nan"), "sigma: expected"),
        (float("inf"), "sigma: expected"),
        (torch.ones(3), r"sigma: expected a number, one an image \(2,\)"),
        (torch.ones(2, 1, 4, 4), "sigma: expected a number, one an image"),
    ],
)
def test_a_sigma_that_is_none(sigma, message):
    with pytest.raises(ValueError, match=message):
        ridge(torch.rand(2, 1, 8, 8), sigma)


def test_an_image_without_noise():
    with pytest.raises(ValueError, match="image: has no noise that could be measured; give sigma"):
        ridge(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 4}, "size: expected an odd number"),
        ({"axis": 99}, "axis, diagonal: expected up to 36"),
        ({"axis": 0, "diagonal": 0}, "axis, diagonal: "),
        ({"rho": 1.0}, "rho: expected a number in"),
        ({"steepest": 0.0}, "steepest: expected a number > 0"),
    ],
)
def test_settings_that_no_model_has(settings, message):
    with pytest.raises(ValueError, match=message):
        RidgeModel(**settings)


def test_files_that_hold_no_weights(tmp_path, model):
    with pytest.raises(ValueError, match="does not exist"):
        RidgeModel.pretrained(tmp_path / "none")
    path = tmp_path / "own.safetensors"
    model.save(path)
    with pytest.raises(ValueError, match="is of a model with .*, not with {'rho': 0.5}"):
        RidgeModel.pretrained(path, rho=0.5)
    whole = path.read_bytes()
    for damaged in (
        whole[:-4],
        whole[:100],
        b"",
        whole.replace(b'"F32"', b'"F16"'),
        whole.replace(b"[5,4]", b"[4,5]"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="path: "):
            RidgeModel.pretrained(path)
