import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.restoration import denoise_tv_chambolle

from tavtorch import Stop, gradient, solve, tikhonov
from tavtorch.image.restoration.rof import rof, total_variation

COUPLINGS = ["joint", "separate", "none"]
EXACT = Stop(tol=1e-13, max_iter=4000, every=50)


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Many small shapes: to compile for each takes longer than to solve."""
    monkeypatch.setattr(solve, "COMPILE_AFTER", float("inf"))


def noisy(b, c, h, w, dtype=torch.float64, device="cpu"):
    """Edges and noise."""
    shapes = (torch.rand(b, c, 1, 1, dtype=torch.float64) < torch.linspace(0, 1, w)) + 0.1 * torch.randn(b, c, h, w)
    return shapes.to(device, dtype)


def energy(u, f, weight, coupling="joint", huber=0.0):
    """As the docstring has it, written otherwise; `(b,)`."""
    u, f = u.double(), f.double()
    x, y = gradient(u).unbind(2)
    lengths = {
        "joint": lambda: (x.square() + y.square()).sum(1, keepdim=True).sqrt(),
        "separate": lambda: torch.hypot(x, y),
        "none": lambda: torch.stack((x.abs(), y.abs())),
    }[coupling]()
    lengths = torch.where(lengths > huber, lengths - huber / 2, lengths.square() / (2 * huber or 1))
    lengths = lengths.sum(0) if coupling == "none" else lengths
    weight = torch.as_tensor(weight, dtype=torch.float64)
    weight = weight if weight.dim() == 4 else weight.reshape(-1, 1, 1, 1)
    return (weight * lengths).flatten(1).sum(1) + (u - f).square().flatten(1).sum(1) / 2


# truth


def test_total_variation_by_hand(device, dtype):
    u = torch.tensor([[[[0.0, 3.0], [4.0, 0.0]]] * 2], device=device, dtype=dtype)[0][None]
    assert total_variation(u, coupling="separate").tolist() == pytest.approx([2 * (5 + 3 + 4)])
    assert total_variation(u, coupling="joint").tolist() == pytest.approx([2**0.5 * (5 + 3 + 4)])
    assert total_variation(u, coupling="none").tolist() == pytest.approx([2 * (7 + 3 + 4)])


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_the_sides_of_an_edge_move_by_weight_over_width(coupling, device, dtype):
    f = torch.zeros(1, 1, 5, 10, device=device, dtype=dtype)
    f[..., 4:] = 1
    found = rof(f, 0.6, coupling=coupling, stop=Stop(tol=1e-6))
    expected = f.clone()
    expected[..., :4], expected[..., 4:] = 0.6 / 4, 1 - 0.6 / 6
    torch.testing.assert_close(found.value, expected, rtol=0, atol=2e-3)
    assert found.converged.all() and found.value.dtype == dtype


def test_channels_with_the_same_edge_share_its_cost():
    f = torch.zeros(1, 3, 4, 8, dtype=torch.float64)
    f[..., 4:] = 1
    joint = rof(f, 0.5, stop=EXACT).value
    torch.testing.assert_close(joint[..., 0], torch.full_like(joint[..., 0], 0.5 / 4 / 3**0.5), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (17, 40)])
def test_weight_zero_is_the_image_and_a_huge_one_its_mean(size, device, dtype):
    f = torch.rand(2, 3, *size, device=device, dtype=dtype)
    assert torch.equal(rof(f, 0.0).value, f)
    found = rof(f, torch.tensor([1e3, 1e30], device=device, dtype=dtype))
    torch.testing.assert_close(found.value, f.mean((-2, -1), keepdim=True).expand_as(f), rtol=0, atol=1e-5)
    assert found.converged.all()


def test_slopes_up_to_huber_cost_their_squares():
    f = torch.rand(2, 1, 12, 15, dtype=torch.float64)
    found = rof(f, 0.3, huber=1.5, stop=EXACT)
    torch.testing.assert_close(found.value, tikhonov(f, 0.3 / 1.5), rtol=0, atol=1e-6)


def test_huber_keeps_a_ramp_from_becoming_stairs():
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    f = ramp + 0.1 * torch.randn(ramp.shape)
    stairs, smooth = (rof(f, 0.2, huber=huber).value - ramp for huber in (0.0, 0.02))
    assert smooth.norm() < 0.7 * stairs.norm()


def test_a_constant_is_left_alone():
    f = torch.full((1, 1, 20, 20), 0.3)
    found = rof(f, 0.1)
    assert torch.equal(found.value, f) and found.iterations.item() == 0 and found.converged.all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 4)])
@pytest.mark.parametrize("value", [0.0, 0.3, 1e30, 1e-30])
def test_a_constant_has_converged_from_any_start(size, value, dtype):
    f = torch.full((1, 2, *size), value, dtype=dtype)
    for init in (None, torch.zeros_like(f), 2 * f):
        found = rof(f, 0.1 * value + 0.1, init=init)
        torch.testing.assert_close(found.value, f, rtol=1e-5, atol=0)
        assert found.converged.all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scales_at_the_ends_of_the_type(scale):
    f = noisy(1, 1, 8, 8, torch.float32)
    torch.testing.assert_close(rof(scale * f, 0.1 * scale).value / scale, rof(f, 0.1).value)
    torch.testing.assert_close(total_variation(scale * f) / scale, total_variation(f))


# optimality


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(1, 64), st.integers(1, 64)),
    st.integers(1, 2),
    st.sampled_from(COUPLINGS),
    st.sampled_from([torch.float32, torch.float64]),
    st.lists(st.floats(0, 10), min_size=10, max_size=10),
    st.integers(0, 30),
)
def test_the_gap_is_never_below_the_excess(size, channels, coupling, dtype, weights, steps):
    f = noisy(len(weights), channels, *size, dtype)
    weight = torch.tensor(weights, dtype=dtype)
    found = rof(f, weight, coupling=coupling, stop=Stop(tol=0.0, max_iter=steps, every=30))
    best = rof(f.double(), weight.double(), coupling=coupling, stop=Stop(tol=1e-7, max_iter=300, every=50)).value
    reached = energy(found.value, f, weight, coupling)
    rounding = 4 * torch.finfo(dtype).eps * (reached + weight * f.abs().flatten(1).sum(1))
    assert (reached - energy(best, f, weight, coupling) <= found.gap * reached + rounding).all()


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("huber", [0.0, 0.1])
def test_the_gap_says_how_far_the_energy_is(coupling, huber):
    f, weight = noisy(2, 3, 15, 12), 0.1 * torch.rand(2, 1, 15, 12, dtype=torch.float64)
    model = {"coupling": coupling, "huber": huber}
    best = energy(rof(f, weight, **model, stop=EXACT).value, f, weight, **model)
    for tol in (1e-2, 1e-3, 1e-4):
        found = rof(f, weight, **model, stop=Stop(tol, every=1))
        excess = energy(found.value, f, weight, **model) / best - 1
        assert (excess >= -1e-12).all() and (excess <= found.gap).all() and (found.gap <= tol).all()


def test_float32_goes_as_far_as_float64():
    f = noisy(1, 1, 40, 40)
    single, double = (rof(f.to(dtype), 0.1, stop=Stop(1e-5, every=1)) for dtype in (torch.float32, torch.float64))
    assert abs(single.iterations - double.iterations) <= 1
    torch.testing.assert_close(single.value.double(), double.value, rtol=0, atol=1e-4)


def test_few_steps_are_enough():
    f = noisy(1, 1, 128, 128)
    assert rof(f, 0.1, stop=Stop(1e-3, every=1)).iterations <= 40
    assert rof(f, 0.1, stop=Stop(1e-4, every=1)).iterations <= 90


# symmetry


def test_constants_scales_and_transposes_commute():
    f = torch.rand(1, 2, 12, 20, dtype=torch.float64)
    u = rof(f, 0.1, stop=EXACT).value
    torch.testing.assert_close(rof(5 * f - 2, 0.5, stop=EXACT).value, 5 * u - 2, rtol=0, atol=1e-5)
    torch.testing.assert_close(rof(f.mT, 0.1, stop=EXACT).value, u.mT, rtol=0, atol=1e-5)
    torch.testing.assert_close(rof(f.flip(1), 0.1, stop=EXACT).value, u.flip(1), rtol=0, atol=1e-5)
    torch.testing.assert_close(u.mean((-2, -1)), f.mean((-2, -1)))


def test_separate_is_channel_by_channel():
    f = torch.rand(1, 3, 12, 20, dtype=torch.float64)
    together = rof(f, 0.1, coupling="separate", stop=EXACT).value
    alone = rof(f.reshape(3, 1, 12, 20), 0.1, stop=EXACT).value
    torch.testing.assert_close(together[0], alone[:, 0], rtol=0, atol=1e-6)


def test_a_map_of_one_value_is_that_weight():
    f = noisy(1, 1, 12, 20)
    assert torch.equal(rof(f, torch.full_like(f, 0.1)).value, rof(f, 0.1).value)


@pytest.mark.parametrize("weight", [30.0, 1e3, 1e6])
def test_past_the_weight_of_the_mean_the_energy_is_that_of_the_mean(weight):
    f = noisy(2, 1, 40, 50, torch.float32)
    found = rof(f, weight)
    mean = f.mean((-2, -1), keepdim=True).expand_as(f)
    assert found.converged.all()
    torch.testing.assert_close(energy(found.value, f, weight), energy(mean, f, weight), rtol=1e-3, atol=0)


@pytest.mark.parametrize("offset", [300.0, -1000.0])
def test_an_offset_changes_nothing_but_the_offset(offset):
    f = noisy(1, 2, 30, 40, torch.float32)
    found, plain = rof(f + offset, 0.1, stop=Stop(1e-4)), rof(f, 0.1, stop=Stop(1e-4))
    assert found.converged.all() and found.iterations.max() <= 2 * plain.iterations.max()
    torch.testing.assert_close(found.value - offset, plain.value, rtol=0, atol=1e-2)


# batch


@pytest.mark.parametrize("kind", ["number", "per image", "map"])
def test_alone_is_together(kind, device, dtype):
    f = noisy(3, 2, 33, 40, dtype, device)
    weight = torch.tensor([0.0, 0.1, 300.0], device=device, dtype=dtype)
    if kind == "map":
        weight = weight[:, None, None, None] * torch.rand(3, 1, 33, 40, device=device, dtype=dtype)
    together = rof(f, 0.1 if kind == "number" else weight)
    for i in range(3):
        alone = rof(f[i : i + 1], 0.1 if kind == "number" else weight[i : i + 1])
        torch.testing.assert_close(alone.value[0], together.value[i], rtol=0, atol=1e-6)
        assert alone.iterations[0] == together.iterations[i]


def test_a_start_near_the_solution_saves_steps_and_changes_nothing_else():
    f = noisy(1, 1, 20, 20)
    solution = rof(f, 0.1, stop=EXACT).value
    warm = rof(f, 0.1, init=solution, stop=Stop(1e-6, every=1))
    assert warm.iterations < rof(f, 0.1, init=torch.zeros_like(f), stop=Stop(1e-6, every=1)).iterations
    torch.testing.assert_close(warm.value, solution, rtol=0, atol=1e-3)


# gradient


@pytest.mark.parametrize(
    ("coupling", "shape", "huber"),
    [
        *(("joint", (), 0.0), ("joint", (2,), 0.0), ("joint", (2, 1, 9, 11), 0.0), ("separate", (2,), 0.0)),
        *(("none", (2,), 0.0), ("joint", (2, 1, 9, 11), 0.05), ("none", (2,), 0.05)),
    ],
)
def test_gradients_are_those_of_finite_differences(coupling, shape, huber, assert_slopes):
    f, weight = noisy(2, 2, 9, 11), 0.02 + 0.04 * torch.rand(shape, dtype=torch.float64)
    assert_slopes(lambda f, weight: rof(f, weight, coupling=coupling, huber=huber, stop=EXACT).value, f, weight)


def test_the_graph_does_not_grow_with_the_steps():
    def saved(steps):
        sizes = []
        f = noisy(1, 1, 20, 20).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            rof(f, 0.1, stop=Stop(tol=0.0, max_iter=steps)).value.sum().backward()
        return sum(sizes)

    assert saved(10) == saved(200)


def test_the_gradient_is_about_as_exact_as_the_solution():
    f = torch.rand(1, 1, 48, 48, dtype=torch.float64).requires_grad_()
    g = torch.randn_like(f)
    exact, rough = (
        torch.autograd.grad((rof(f, 0.1, stop=stop).value * g).sum(), f)[0] for stop in (EXACT, Stop(tol=1e-4))
    )
    assert (rough - exact).norm() < 0.1 * exact.norm()


def test_without_gradients_nothing_is_attached():
    f = noisy(1, 1, 8, 8)
    assert not rof(f, 0.1).value.requires_grad
    with torch.no_grad():
        assert not rof(f.requires_grad_(), 0.1).value.requires_grad


# reference


@pytest.mark.parametrize("shape", [(1, 1, 15, 22), (1, 3, 12, 12)])
def test_it_is_scikit_images_chambolle(shape):
    f = noisy(*shape)
    expected = [
        torch.from_numpy(denoise_tv_chambolle(channel.numpy(), 0.1, eps=0, max_num_iter=2000)) for channel in f[0]
    ]
    found = rof(f, 0.1, coupling="separate", stop=Stop(1e-8, 2000)).value[0]
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-3)


# errors


@pytest.mark.parametrize(
    ("f", "options", "message"),
    [
        (torch.zeros(1, 4, 4), {}, r"image: expected a batch \(b, c, h, w\)"),
        (torch.zeros(0, 1, 4, 4), {}, "image: expected a batch .* not empty"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), {}, "image: expected floating point"),
        (torch.full((1, 1, 4, 4), torch.inf), {}, "image: some pixels are NaN or infinite"),
        (torch.zeros(1, 1, 4, 4), {"weight": -1.0}, "weight: .*>= 0"),
        (torch.zeros(1, 1, 4, 4), {"weight": float("nan")}, "weight: .*finite"),
        (torch.zeros(2, 1, 4, 4), {"weight": torch.ones(3)}, "weight: expected a number, one an image .2,."),
        (torch.zeros(1, 1, 4, 4), {"weight": torch.ones(1, 1, 4, 5)}, r"weight: .*a map \(1, 1, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4), {"coupling": "both"}, 'coupling: expected "joint"'),
        (torch.zeros(1, 1, 4, 4), {"huber": -0.1}, "huber: expected a finite number >= 0"),
        (torch.zeros(1, 1, 4, 4), {"init": torch.zeros(1, 1, 4, 5)}, "init: expected a finite image"),
    ],
)
def test_bad_input_is_named(f, options, message):
    unchecked = getattr(rof, "__wrapped__", rof)  # without the shape checks that only the tests have
    with pytest.raises(ValueError, match=message):
        unchecked(f, **{"weight": 0.1, **options})
