import pytest
import torch

from tavtorch import Stop, nmf, nmf_split, spectrum
from tavtorch.audio.separation import distinct_frames
from tavtorch.audio.separation.multiplicative import _update_factor
from tavtorch.lab.data.synthetic.tune import tune

BETAS = (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)


def divergence(v, y, beta):
    """As in the docstring of `nmf`, with its floor."""
    floor = 1e-7 * v.double().mean()
    v, y = v.double() + floor, y.double() + floor
    if beta == 1:
        return (v * (v / y).log() - v + y).sum()
    if beta == 0:
        return (v / y - (v / y).log() - 1).sum()
    return ((v**beta + (beta - 1) * y**beta - beta * v * y ** (beta - 1)) / (beta * (beta - 1))).sum()


def factorised(v, components, **options):
    return nmf(v, components, generator=torch.Generator().manual_seed(1), **options)


def after(steps):
    return Stop(tol=0.0, max_iter=steps, every=7)


NOTES = torch.tensor([[2.0, 0, 0], [1, 1, 0], [0, 2, 0], [0, 0, 1], [1, 0, 2]], dtype=torch.float64)
TUNE = torch.tensor([[1.0, 0, 0, 2, 0, 1], [0, 1, 0, 1, 3, 0], [0, 0, 2, 0, 1, 1]], dtype=torch.float64)

# truth


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_notes_that_are_told_apart_are_found(beta, device, dtype):
    notes, tune = NOTES.to(device, dtype), TUNE.to(device, dtype)
    templates, activations, solution = factorised(notes @ tune, 3, beta=beta, stop=Stop(tol=1e-3, max_iter=400))
    order = (templates / templates.norm(dim=0)).mT @ (notes / notes.norm(dim=0))
    best = order.argmax(0)
    assert sorted(best.tolist()) == [0, 1, 2]
    torch.testing.assert_close(templates[:, best], notes / notes.sum(0), atol=0.02, rtol=0)
    torch.testing.assert_close(templates @ activations, notes @ tune, atol=0.05, rtol=0)
    assert solution.value < 0.01


def test_one_component_is_the_product_of_the_margins():
    v = torch.rand(6, 9, dtype=torch.float64)  # for β = 1 the best of rank one
    found = factorised(v, 1, stop=Stop(tol=1e-10))
    torch.testing.assert_close(found.templates @ found.activations, v.sum(1, keepdim=True) * v.sum(0) / v.sum())


def test_notes_that_sound_by_themselves_are_the_distinct_frames(device, dtype):
    notes, tune = NOTES.to(device, dtype), TUNE.to(device, dtype)
    found = distinct_frames(torch.stack((notes @ tune, 3 * notes @ tune.flip(1))), 3)
    assert found.shape == (2, 5, 3)
    for frames, scale in zip(found, (1, 3), strict=True):
        alone = notes * torch.tensor([1.0, 3.0, 2.0]).to(notes) * scale  # as loud as where each is alone and loudest
        assert sorted((frames[:, None] - alone[:, :, None]).abs().sum(0).argmin(0).tolist()) == [0, 1, 2]


# optimality


@pytest.mark.parametrize("beta", BETAS)
def test_the_divergence_never_rises(beta, dtype):
    v = torch.rand(8, 12, dtype=dtype)
    v[3], v[:, 5] = 0, 0
    reached = []
    for steps in range(16):
        found = factorised(v, 8, beta=beta, stop=after(steps))
        reached.append(divergence(v, found.templates @ found.activations, beta))
        torch.testing.assert_close(found.solution.value.double(), reached[-1], rtol=1e-3, atol=1e-4)
    reached = torch.stack(reached)
    assert (reached[1:] <= reached[:-1] * (1 + 100 * torch.finfo(dtype).eps)).all()
    assert reached[-1] < 0.6 * reached[0]


@pytest.mark.parametrize("beta", [*BETAS, -0.3, 0.3, 2.5])
def test_an_update_goes_beyond_the_least_of_its_surrogate_and_not_too_far(beta):
    least = torch.logspace(-3, 3, 601, dtype=torch.float64)
    a, b = (1, beta - 1) if beta < 1 else (beta, beta - 1) if beta <= 2 else (beta, 1)
    s = _update_factor(least ** (a - b), beta)

    def surrogate(s):
        return s**a / a - least ** (a - b) * (s.log() if b == 0 else s**b / b)

    assert (surrogate(s) <= surrogate(torch.ones_like(s)) + 1e-12).all()
    assert ((s - least) * (least - 1) >= 0).all() and (s[301] - 1) / (least[301] - 1) > 1.8


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_the_gap_tells_a_stationary_point(beta):
    v = torch.rand(7, 9, dtype=torch.float64) + 0.1
    found = factorised(v, 2, beta=beta, stop=Stop(tol=1e-9, max_iter=3000))
    assert found.solution.converged and found.solution.gap <= 1e-9
    w, h = (found.templates.requires_grad_(), found.activations.requires_grad_())
    for u, slope in zip((w, h), torch.autograd.grad(divergence(v, w @ h, beta), (w, h)), strict=True):
        scaled = u.detach() * slope / divergence(v, torch.full_like(v, 1.0), beta)
        assert scaled.abs().max() < 1e-7 and slope.min() > -1e-5
    assert factorised(v, 2, beta=beta, stop=after(1)).solution.gap > 0.01


def test_what_has_nearly_vanished_comes_back():
    wave = tune(3, 4, 2.0, sample_rate=8000, generator=torch.Generator().manual_seed(0)).sum(1)
    found = factorised(spectrum(wave, n_fft=512, hop=128).abs(), 4, stop=after(2000))
    assert (found.solution.gap < 5e-3).all()  # 0.02 where it could fall to zero on the way


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_sparsity_silences_what_is_redundant(beta):
    v = (NOTES @ TUNE).repeat(1, 4) + 0.01 * torch.rand(5, 24, dtype=torch.float64)
    loud = [factorised(v, 5, beta=beta, sparsity=s, stop=after(300)).activations.sum(1) for s in (0.0, 0.3)]
    silent = [(mass < 1e-3 * mass.mean()).sum() for mass in loud]
    assert silent[0] == 0 and silent[1] >= 1


@pytest.mark.parametrize("beta", [-1.0, 0.0, 1.0, 2.0, 3.0])
def test_what_is_asked_with_sparsity_never_rises_and_is_what_the_docstring_says(beta, dtype):
    v, reached = torch.rand(8, 12, dtype=dtype), []
    for steps in range(12):
        found = factorised(v, 6, beta=beta, sparsity=0.2, stop=after(steps))
        w, h = found.templates.double(), found.activations.double()
        price = 0.2 * v.mean() ** (beta - 1) * (v.sum() * w.sum(0) * h.sum(1)).sqrt().sum()
        reached.append(found.solution.value.double())
        torch.testing.assert_close(reached[-1], divergence(v, w @ h, beta) + price, rtol=2e-3, atol=1e-3)
    reached = torch.stack(reached)
    assert (reached[1:] <= reached[:-1] * (1 + 100 * torch.finfo(dtype).eps)).all() and reached[-1] < reached[0]


def test_a_warm_start_goes_on_and_fixed_templates_stay():
    v = NOTES @ TUNE
    first = factorised(v, 3, stop=after(40))
    again = nmf(v, 3, templates=first.templates, activations=first.activations, stop=after(5))
    assert again.solution.value <= first.solution.value * (1 + 1e-9)
    for beta in (1.0, 2.0):
        known = factorised(v, 3, beta=beta, templates=NOTES[:, :2], fixed=2, stop=after(200))
        assert torch.equal(known.templates[:, :2], NOTES[:, :2])
        torch.testing.assert_close(known.activations[:2], TUNE[:2], atol=0.05, rtol=0)


# symmetry


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_a_louder_sonogram_has_louder_activations(beta):
    v = torch.rand(8, 12, dtype=torch.float64)
    one, other = (factorised(s * v, 3, beta=beta, stop=after(30)) for s in (1.0, 1e4))
    torch.testing.assert_close(one.templates, other.templates)
    torch.testing.assert_close(1e4 * one.activations, other.activations)


def test_silence():
    found = factorised(torch.zeros(2, 6, 9), 3)
    assert found.templates.isfinite().all() and found.activations.abs().max() < 1e-5


@pytest.mark.parametrize("beta", [-1.0, 0.0, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("sparsity", [0.0, 0.1])
def test_silence_is_solved_at_once(beta, sparsity):
    """Also beside a sonogram that sounds, whose result stays the same."""
    v = torch.rand(2, 6, 9, dtype=torch.float64)
    v[0] = 0
    v.requires_grad_()
    found = factorised(v, 3, beta=beta, sparsity=sparsity)
    assert found.solution.converged[0] and found.solution.iterations[0] == 0 and found.solution.gap[0] == 0
    assert not found.activations[0].any() and found.templates.isfinite().all()
    torch.testing.assert_close(found.activations[1], factorised(v[1], 3, beta=beta, sparsity=sparsity).activations)
    (found.templates @ found.activations).sum().backward()
    assert not v.grad[0].any()  # nor NaN


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("scale", [1e37, 1e-30])
def test_the_largest_and_the_smallest_numbers(beta, scale):
    v = torch.rand(6, 9)
    one, other = factorised(v, 3, beta=beta), factorised(scale * v, 3, beta=beta)
    torch.testing.assert_close(one.templates, other.templates, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(one.activations, other.activations / scale, atol=1e-2, rtol=1e-2)
    assert torch.equal(distinct_frames(1e37 * v, 3), 1e37 * distinct_frames(v, 3))


# batch


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_alone_is_together_and_nothing_is_edited(beta):
    v = torch.rand(2, 3, 9, 14, dtype=torch.float64)
    v[1, 2] *= 1000
    before = v.clone()
    together = factorised(v, 3, beta=beta)
    assert together.templates.shape == (2, 3, 9, 3) and together.activations.shape == (2, 3, 3, 14)
    assert together.solution.gap.shape == (2, 3) and torch.equal(v, before)
    alone = factorised(v[1, 2], 3, beta=beta)
    assert alone.solution.iterations == together.solution.iterations[1, 2]
    torch.testing.assert_close(alone.templates, together.templates[1, 2])
    torch.testing.assert_close(alone.activations, together.activations[1, 2])


def test_the_result_does_not_depend_on_the_pieces(monkeypatch):
    v = torch.rand(3, 9, 50, dtype=torch.float64)
    whole = factorised(v, 3, beta=0.5, stop=after(20))
    monkeypatch.setattr("tavtorch.audio.separation.multiplicative.PIECE", {"cpu": 200})
    torch.testing.assert_close(factorised(v, 3, beta=0.5, stop=after(20)).activations, whole.activations)


# gradient


def directional(loss, v, direction, step=1e-5):
    """Slopes of the loss along a direction: by the gradient, and by differences."""
    v.requires_grad_()
    (slopes,) = torch.autograd.grad(loss(v), v)
    with torch.no_grad():
        return (slopes * direction).sum(), (loss(v + step * direction) - loss(v - step * direction)) / (2 * step)


@pytest.mark.parametrize(("beta", "sparsity"), [(0.5, 0.0), (1.0, 0.0), (2.0, 0.0), (1.0, 0.1)])
def test_the_gradient_of_the_fit_is_that_of_finite_differences(beta, sparsity):
    weight = torch.randn(5, 6, dtype=torch.float64)

    def loss(v):
        found = factorised(v, 2, beta=beta, sparsity=sparsity, stop=Stop(tol=1e-9, max_iter=1000, every=20))
        return ((found.templates @ found.activations) * weight).sum()

    v = torch.rand(5, 6, dtype=torch.float64) + 0.2
    torch.testing.assert_close(*directional(loss, v, torch.randn_like(v)), rtol=1e-2, atol=1e-3)


def test_the_gradient_of_templates_that_are_told_apart():
    def loss(v):
        found = factorised(v, 3, stop=Stop(tol=1e-9, max_iter=1000, every=20))
        return found.templates.square().sum() + found.activations[0].square().sum()

    v = NOTES @ TUNE + 0.1 * ((NOTES @ TUNE) > 0) * torch.rand(5, 6, dtype=torch.float64)
    torch.testing.assert_close(*directional(loss, v, torch.randn_like(v) * (v > 0)), rtol=1e-3, atol=1e-4)


# reference


@pytest.mark.parametrize(("beta", "name"), [(1.0, "kullback-leibler"), (2.0, "frobenius"), (0.0, "itakura-saito")])
def test_as_low_as_scikit_learn(beta, name):
    decomposition = pytest.importorskip("sklearn.decomposition")
    v = torch.rand(30, 4).square() @ torch.rand(4, 60).square() + 0.01
    peer = decomposition.NMF(4, init="random", solver="mu", beta_loss=name, max_iter=200, tol=0, random_state=0)
    w = torch.from_numpy(peer.fit_transform(v.numpy()))
    found = factorised(v, 4, beta=beta, stop=after(200))
    reached = divergence(v, found.templates @ found.activations, beta)
    assert reached <= 1.02 * divergence(v, w @ torch.from_numpy(peer.components_), beta) + 1e-6 * v.numel()


# sources


def test_sources_add_up_and_groups_join_them():
    x = torch.randn(2, 1, 9, 14, dtype=torch.complex64)
    factors = factorised(x.abs(), 3)
    each = nmf_split(x, factors)
    assert each.shape == (2, 1, 3, 9, 14)
    torch.testing.assert_close(each.sum(-3), x)
    joined = nmf_split(x, factors, groups=torch.tensor([[1.0, 0, 1], [0, 1, 0]]))
    torch.testing.assert_close(joined[..., 0, :, :], each[..., 0, :, :] + each[..., 2, :, :])


# errors


@pytest.mark.parametrize(
    ("sonogram", "options", "message"),
    [
        (torch.ones(0, 5, 6), {}, "sonogram: expected .* leave out empty batches"),
        (torch.ones(5, 6, dtype=torch.complex64), {}, "sonogram: expected real numbers"),
        (torch.full((5, 6), torch.nan), {}, "sonogram: some values are NaN"),
        (-torch.ones(5, 6), {}, "sonogram: expected magnitudes or powers >= 0"),
        (torch.ones(5, 6), {"components": 6}, "components: expected 1 to the number of bins, 5, got 6"),
        (torch.ones(5, 6), {"beta": float("inf")}, "beta: expected a finite number"),
        (torch.ones(5, 6), {"sparsity": -1.0}, "sparsity: expected a number >= 0"),
        (torch.ones(5, 6), {"templates": torch.ones(5, 4)}, "templates: expected .* with k <= 3"),
        (torch.ones(5, 6), {"templates": torch.ones(4, 2)}, "templates: expected a shape that broadcasts"),
        (torch.ones(5, 6), {"activations": -torch.ones(3, 6)}, "activations: expected finite numbers >= 0"),
        (torch.ones(5, 6), {"fixed": 1}, "fixed: expected 0 to the number of given templates, 0, got 1"),
    ],
)
def test_bad_input(sonogram, options, message):
    with pytest.raises(ValueError, match=message):
        nmf(sonogram, **{"components": 3, **options})


def test_bad_frames():
    with pytest.raises(ValueError, match="components: expected 1 to the number of bins"):
        distinct_frames(torch.ones(5, 6), 6)
    with pytest.raises(ValueError, match="sonogram: expected real numbers"):
        distinct_frames(torch.ones(5), 2)


def test_bad_groups():
    factors = nmf(torch.ones(5, 6), 3, stop=after(1))
    with pytest.raises(ValueError, match="groups: expected \\(s, 3\\)"):
        nmf_split(torch.ones(5, 6), factors, groups=torch.ones(2, 4))
    with pytest.raises(ValueError, match="spectrum: expected \\(5, 6\\)"):
        nmf_split(torch.ones(5, 7), factors)
