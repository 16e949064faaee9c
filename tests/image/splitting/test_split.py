import inspect
from functools import partial

import pytest
import torch

from tavtorch import Stop, rof, split_fourier, split_hilbert, split_l1, split_meyer, split_rof
from tavtorch.image.grid import cosine_frequencies, cosine_transform, gradient
from tavtorch.image.splitting import correlation, gabor, least_correlated, sobolev
from tavtorch.image.splitting.split import filtered

SIZES = [(1, 1), (1, 7), (6, 1), (5, 8), (16, 16)]
SPLITS = {
    "fourier": partial(split_fourier, cutoff=0.2),
    "rof": partial(split_rof, weight=0.1),
    "hilbert": partial(split_hilbert, weight=1.0),
    "l1": partial(split_l1, weight=0.7),
    "meyer": partial(split_meyer, weight=0.03),
}


@pytest.fixture(params=SPLITS)
def split(request):
    return SPLITS[request.param]


def waves(size, frequency):
    """A cosine that is a single frequency of the discrete Fourier transform."""
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in size), indexing="ij")
    return torch.cos(2 * torch.pi * (frequency[0] * x + frequency[1] * y))[None, None]


def energy(u, f, weight, kernel):
    data = (kernel * cosine_transform(u - f).square()).flatten(1).sum(1) / 2
    return data + weight * gradient(u).square().sum((1, 2)).sqrt().flatten(1).sum(1)


# truth


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_parts_are_the_image(split, size, channels, dtype, device):
    image = torch.rand(2, channels, *size, dtype=dtype, device=device)
    parts = split(image)
    assert parts.structure.dtype == dtype
    torch.testing.assert_close(parts.structure + parts.texture, image, atol=4 * torch.finfo(dtype).eps, rtol=0)


def test_slow_waves_are_structure_and_fast_ones_texture():
    slow, fast = waves((32, 32), (2 / 32, 1 / 32)), waves((32, 32), (5 / 32, 12 / 32))
    parts = split_fourier(slow + fast, 0.25)
    torch.testing.assert_close(parts.structure, slow, atol=1e-5, rtol=0)
    torch.testing.assert_close(parts.texture, fast, atol=1e-5, rtol=0)


def test_each_image_has_its_own_cutoff():
    image = waves((32, 32), (6 / 32, 0.0)).expand(2, 1, 32, 32)
    parts = split_fourier(image, torch.tensor([0.1, 0.3]))
    torch.testing.assert_close(
        parts.structure, image * torch.tensor([0.0, 1.0])[:, None, None, None], atol=1e-6, rtol=0
    )


def test_a_soft_cutoff_is_half_at_the_cutoff():
    wave = waves((32, 32), (8 / 32, 0.0))
    torch.testing.assert_close(split_fourier(wave, 0.25, softness=0.1).structure, wave / 2, atol=1e-6, rtol=0)
    torch.testing.assert_close(split_fourier(wave, 0.31, softness=0.1).structure, wave, atol=1e-6, rtol=0)


@pytest.mark.parametrize("direction", [30.0, 210.0, -150.0])
def test_waves_in_a_direction(direction):
    """The three images of the report's figure 18: a grid, and its waves in one direction and in the other."""
    towards, across = waves((64, 64), (12 / 64, 7 / 64)), waves((64, 64), (-7 / 64, 12 / 64))  # at 30.3° and 120.3°
    kept = split_fourier(1 + towards + across, 0.5, direction=direction, width=20.0).structure
    torch.testing.assert_close(kept, 1 + towards, atol=1e-5, rtol=0)


def test_any_mask():
    image = torch.rand(2, 1, 6, 7)
    assert torch.allclose(filtered(image, torch.zeros(6, 4)).texture, image)
    torch.testing.assert_close(filtered(image, torch.ones(6, 4)).structure, image)


def test_one_frequency_is_shrunk_as_the_sum_of_the_sides_says():
    """Two pixels, f = (0, 1): K = κ at ω = ¼, and u moves each pixel by λ / κ until both are at the mean."""
    kappa = sobolev(torch.tensor([0.25, 0.0])).item()
    image = torch.tensor([[[[0.0, 1.0]]]])
    for weight, moved in ((0.1 * kappa, 0.1), (0.4 * kappa, 0.4), (0.8 * kappa, 0.5)):
        found = split_hilbert(image, weight, stop=Stop(tol=1e-6)).structure
        torch.testing.assert_close(found, torch.tensor([[[[moved, 1 - moved]]]]), atol=1e-3, rtol=0)


def test_no_weight_leaves_no_texture_and_a_huge_one_no_structure():
    image = torch.rand(2, 1, 9, 8)
    assert split_hilbert(image, 0.0).texture.abs().max() < 1e-6
    mean = image.mean((-2, -1), keepdim=True).expand_as(image)
    torch.testing.assert_close(split_hilbert(image, 100.0).structure, mean, atol=1e-4, rtol=0)


def test_a_constant_image_is_all_structure(split):
    image = torch.full((1, 1, 8, 8), 0.3)
    torch.testing.assert_close(split(image).structure, image)


# optimality


@pytest.mark.parametrize("coupling", ["joint", "separate", "none"])
def test_with_kernel_one_it_is_rof(coupling):
    image, stop = torch.rand(2, 3, 12, 11, dtype=torch.float64), Stop(tol=1e-8, max_iter=5000)
    found = split_hilbert(image, 0.2, kernel=torch.ones(12, 11), coupling=coupling, stop=stop)
    torch.testing.assert_close(found.structure, rof(image, 0.2, coupling=coupling, stop=stop).value, atol=1e-3, rtol=0)


@pytest.mark.parametrize("weight", [0.05, 1.0, 5.0])
def test_the_gap_is_never_below_the_excess(weight, dtype):
    image = torch.rand(4, 1, 11, 8, dtype=torch.float64)
    kernel = sobolev(cosine_frequencies(image))
    least = energy(split_hilbert(image, weight, stop=Stop(1e-9, 4000, 100)).structure, image, weight, kernel)
    for steps in (0, 1, 3, 10, 30, 100):
        parts = split_hilbert(image.to(dtype), weight, stop=Stop(0.0, steps, max(steps, 1)))
        reached = energy(parts.structure.double(), image, weight, kernel)
        rounding = 2e-6 if dtype == torch.float32 else 2e-9
        assert ((reached - least) / reached <= parts.solution.gap + rounding).all()


@pytest.mark.parametrize(
    "kernel", [sobolev, partial(gabor, center=(0.2, 0.1), floor=0.1), lambda w: torch.ones_like(w[0])]
)
def test_the_gap_is_reached(kernel):
    image = torch.rand(2, 1, 32, 32)
    solution = split_hilbert(image, 0.3, kernel=kernel, stop=Stop(tol=1e-4)).solution
    assert solution.converged.all() and (solution.gap <= 1e-4).all() and (solution.gap > 0).all()


@pytest.mark.parametrize("name", ["rof", "hilbert", "l1", "meyer"])
def test_an_offset_of_a_thousand_times_the_contrast_goes_to_the_structure(name):
    image = torch.rand(1, 1, 24, 32)
    plain, lifted = SPLITS[name](image), SPLITS[name](image + 1000)
    assert lifted.solution.converged.all()
    torch.testing.assert_close(lifted.texture, plain.texture, rtol=0, atol=2e-2)


# symmetry


def test_levels_and_contrasts_go_through():
    image = torch.rand(1, 1, 16, 15)
    stop = Stop(tol=1e-6, max_iter=5000)
    one, other = split_hilbert(image, 1.0, stop=stop), split_hilbert(3 * image + 2, 3.0, stop=stop)
    torch.testing.assert_close(other.texture, 3 * one.texture, atol=5e-3, rtol=0)


@pytest.mark.parametrize("axis", [-1, -2])
def test_mirrors_commute(split, axis):
    """Up to the discretisation, whose differences look forward."""
    image = torch.rand(1, 1, 16, 16)
    apart = split(image.flip(axis)).structure.flip(axis) - split(image).structure
    assert apart.abs().mean() < 0.05


def test_transposing_commutes(split):
    image = torch.rand(1, 1, 16, 11)
    torch.testing.assert_close(split(image.mT).structure.mT, split(image).structure, atol=1e-5, rtol=1e-5)


# batch


def test_alone_is_together(split):
    image = torch.rand(3, 2, 16, 13) * torch.tensor([0.1, 1.0, 5.0])[:, None, None, None]
    together = split(image)
    for i in range(3):
        torch.testing.assert_close(split(image[i : i + 1]).structure[0], together.structure[i])


@pytest.mark.parametrize("split", [split_rof, split_l1, split_meyer])
def test_each_image_has_its_own_weight(split):
    image = torch.rand(2, 1, 12, 12)
    together = split(image, torch.tensor([0.03, 0.3])).structure
    for i, weight in enumerate((0.03, 0.3)):
        torch.testing.assert_close(split(image[i : i + 1], weight).structure[0], together[i])
    assert not torch.allclose(together[0], split(image[:1], 0.3).structure[0])


def test_each_image_has_its_own_weight_and_kernel():
    image = torch.rand(2, 1, 12, 12)
    kernels = torch.rand(2, 1, 12, 12) + 0.5
    together = split_hilbert(image, torch.tensor([0.1, 0.5]), kernel=kernels).structure
    for i, weight in enumerate((0.1, 0.5)):
        alone = split_hilbert(image[i : i + 1], weight, kernel=kernels[i : i + 1]).structure[0]
        torch.testing.assert_close(alone, together[i])


def test_the_image_is_not_edited(split):
    image = torch.rand(1, 1, 8, 8)
    kept = image.clone()
    split(image)
    assert torch.equal(image, kept)


# gradient


@pytest.mark.parametrize("coupling", ["joint", "none"])
@pytest.mark.parametrize("map_", [False, True])
def test_gradients_in_image_weight_and_kernel(coupling, map_, assert_slopes):
    image = torch.rand(2, 2, 7, 9, dtype=torch.float64)
    weight = torch.tensor([0.5, 1.0], dtype=torch.float64)
    weight = weight[:, None, None, None] * (1 + torch.rand(2, 1, 7, 9, dtype=torch.float64)) if map_ else weight
    kernel, stop = sobolev(cosine_frequencies(image)), Stop(tol=1e-14, max_iter=20000)
    assert_slopes(
        lambda image, weight, kernel: (
            split_hilbert(image, weight, kernel=kernel, coupling=coupling, stop=stop).structure
        ),
        *(image, weight, kernel),
    )


def test_memory_does_not_grow_with_the_iterations():
    image = torch.rand(1, 1, 8, 8, requires_grad=True)

    def nodes(steps):
        seen, front = set(), [split_hilbert(image, 1.0, stop=Stop(0.0, steps, steps)).structure.grad_fn]
        while front:
            node = front.pop()
            if node is not None and node not in seen:
                seen.add(node)
                front += [parent for parent, _ in node.next_functions]
        return len(seen)

    assert nodes(5) == nodes(50)


def test_fourier_is_linear_in_the_image():
    image = torch.rand(1, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda image: split_fourier(image, 0.2).texture, image)


# choice of the weight


def test_correlation_is_pearsons():
    a, b = torch.rand(2, 1, 5, 6, dtype=torch.float64), torch.rand(2, 1, 5, 6, dtype=torch.float64)
    expected = [torch.corrcoef(torch.stack((a[i].flatten(), b[i].flatten())))[0, 1] for i in range(2)]
    torch.testing.assert_close(correlation(a, b), torch.stack(expected))
    assert correlation(a, 0 * b + 1).tolist() == [0, 0]


def test_the_weight_of_least_correlation_finds_a_known_texture():
    """A disc and a ripple of amplitude 0.1: the weight takes nearly all of the ripple away and leaves the disc."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    disc = ((x - 30).square() + (y - 33).square() < 400).float()[None, None]
    ripple = 0.1 * waves((64, 64), (12 / 64, 4 / 64))
    weights = torch.logspace(-2, 0.5, 11)
    weight = least_correlated(disc + ripple, split_rof, weights)
    apart = split_rof(disc + ripple, weight).texture - ripple
    assert weights[1] < weight.item() < weights[-2]
    assert apart.norm() < 0.6 * ripple.norm()


# errors


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("cutoff: expected numbers >= 0", lambda image: split_fourier(image, -0.1)),
        ("cutoff: expected numbers >= 0", lambda image: split_fourier(image, torch.ones(3))),
        ("softness: expected a number >= 0", lambda image: split_fourier(image, 0.1, softness=-1.0)),
        ("kernel: expected finite numbers > 0", lambda image: split_hilbert(image, 1.0, kernel=torch.zeros(8, 8))),
        ("kernel: expected values .8, 8.", lambda image: split_hilbert(image, 1.0, kernel=torch.ones(8, 7))),
        ("weight: expected finite numbers >= 0", lambda image: split_hilbert(image, -1.0)),
        ("image: some pixels are NaN", lambda image: split_hilbert(image * torch.nan, 1.0)),
        ("image: some pixels are NaN", lambda image: split_fourier(image * torch.nan, 0.1)),
        ("image: expected floating point", lambda image: inspect.unwrap(split_fourier)(image.int(), 0.1)),
        ("image: expected a batch", lambda image: split_hilbert(image[:0], 1.0)),
    ],
)
def test_bad_input(message, call):
    with pytest.raises(ValueError, match=message):
        call(torch.rand(2, 1, 8, 8))
