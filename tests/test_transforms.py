"""Every public op under PyTorch's transforms: a derivative is right, or an error says what to do, never zero.

`CASES` has a line for each function of the rooms; a new op without one fails `test_every_public_function_is_listed`.
"""

import copy
import functools
import inspect
import pickle
from functools import partial

import pytest
import torch
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

import tavtorch
from tavtorch import Stop, solve, weights
from tavtorch.audio import recognition, separation
from tavtorch.image import contours, grid, patches, restoration, splitting

EXACT = Stop(tol=1e-14, max_iter=40000, every=20)
CLOSE = Stop(tol=1e-11, max_iter=2000, every=10)
BEHIND = Stop(tol=1e-13, max_iter=600, every=20)
LINEAR = Stop(tol=1e-13, max_iter=500, every=1)


def picture(b=2, c=1, h=6, w=7):
    """No two differences are equal: no minimiser sits on a kink."""
    y, x = torch.meshgrid(torch.linspace(0, 1, h), torch.linspace(0, 1, w), indexing="ij")
    smooth = torch.sin(5 * x + 3 * y.square()) + (x > 0.5)
    return (smooth + 0.2 * torch.randn(b, c, h, w)).double()


def wave(b=2, c=1, t=4096):
    return torch.randn(b, c, t).double()


def hole(b=2, h=6, w=7):
    mask = torch.zeros(b, 1, h, w, dtype=torch.bool)
    mask[..., 2:4, 2:5] = True
    return mask


def contour(b=2, n=24):
    return tavtorch.circle(torch.full((b, 2), 15.2, dtype=torch.float64), 11.3, n)


def uneven(b=2, n=24):
    return contour(b, n) + 0.2 * torch.randn(b, n, 2).double()


def disk(b=2):
    return tavtorch.fill(contour(b) * 0.6 + 6, (32, 32)).double() + 0.05 * torch.randn(b, 1, 32, 32).double()


def filtered_disk():
    return contours.gaussian_force(disk(), 2.0)


@functools.cache
def network():
    return tavtorch.UNet(width=8, n_fft=512, hop=128).double().eval()


def power(n=8, t=9):
    return (torch.rand(2, n, 2) @ torch.rand(2, 2, t) + 0.1).double()


def first(output):
    """The tensor that an op is about."""
    while not isinstance(output, torch.Tensor):
        output = output.value if isinstance(output, tavtorch.Solution | patches.Filling) else output[0]
    return output


def tight(op, stop=EXACT, **options):
    return partial(op, stop=stop, **options)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small problems: threads would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def some_sources(b, h=6, w=7):
    """Copies, and some pixels that are none."""
    sources = torch.arange(h * w).roll(5).repeat(b, 1).reshape(b, 1, h, w)
    return sources.masked_fill(sources % w == 3, -1)


def seeded():
    return torch.Generator().manual_seed(0)


@functools.cache
def same(make):
    """What `make` gives from the same random numbers each time."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return make()


def evolved(field):
    stop, adjoint = Stop(1e-12, 20000), Stop(1e-10, 20000)
    return tavtorch.evolve(contour(len(field)), field, elasticity=0.02, resample=0, stop=stop, adjoint=adjoint)


def segmented(image):
    force = partial(tavtorch.gaussian_force, sigma=2.0)
    return tavtorch.segment(image, contour(len(image)), force=force, stop=Stop(1e-9, 5000))


@functools.cache
def crowd_network():
    return tavtorch.CrowdModel.pretrained().double().requires_grad_(False)


def crowded(image):
    return tavtorch.segment_crowd(image, contour(len(image)), model=crowd_network(), stop=Stop(1e-9, 5000))


def factors(sonogram):
    found = tavtorch.nmf(sonogram, 2, stop=Stop(1e-10, 20000), generator=torch.Generator().manual_seed(0))
    return found.templates @ found.activations


CASES = {  # of one tensor each, beside the weights that the tests of each op look at
    "gradient": (tavtorch.gradient, picture),
    "divergence": (tavtorch.divergence, lambda: tavtorch.gradient(picture())),
    "laplacian": (tavtorch.laplacian, picture),
    "sample": (lambda image: tavtorch.sample(image, contour() / 6), picture),
    "tikhonov": (partial(tavtorch.tikhonov, weight=0.5), picture),
    "tikhonov, map": (lambda image: tavtorch.tikhonov(image, 0.1 + hole(len(image)).double()), picture),
    "total_variation": (tavtorch.total_variation, picture),
    "rof": (tight(tavtorch.rof, weight=0.15), picture),
    "rof, weight": (
        lambda weight: tavtorch.rof(same(picture), weight, stop=EXACT).value,
        lambda: torch.tensor([0.1, 0.2]).double(),
    ),
    "rof, huber": (tight(tavtorch.rof, weight=0.15, huber=0.05), picture),
    "ridge": (tight(tavtorch.ridge, stop=CLOSE, sigma=0.2), picture),
    "ridge, sigma": (
        lambda sigma: tavtorch.ridge(same(picture), sigma, stop=CLOSE).value,
        lambda: torch.tensor([0.1, 0.2]).double(),
    ),
    "restore": (
        lambda image: tavtorch.restore(image, tavtorch.Blur(torch.tensor([[0.1, 0.8, 0.1]])), 0.2, stop=BEHIND),
        partial(picture, h=4, w=5),
    ),
    "inpaint_tv": (lambda image: tavtorch.inpaint_tv(image, hole(len(image)), 0.1, stop=EXACT), picture),
    "inpaint_tv, exact": (lambda image: tavtorch.inpaint_tv(image, hole(len(image)), stop=EXACT), picture),
    "inpaint_harmonic": (lambda image: tavtorch.inpaint_harmonic(image, hole(len(image)), stop=LINEAR), picture),
    "inpaint_patches": (
        lambda image: tavtorch.inpaint_patches(image, hole(len(image), 16, 16), size=3, generator=seeded()),
        lambda: picture(h=16, w=16),
    ),
    "apply": (lambda image: patches.apply(some_sources(len(image)), image), picture),
    "split_fourier": (partial(tavtorch.split_fourier, cutoff=0.2), picture),
    "split_rof": (tight(tavtorch.split_rof, weight=0.15), picture),
    "split_hilbert": (tight(tavtorch.split_hilbert, weight=0.5), picture),
    "split_l1": (tight(tavtorch.split_l1, weight=0.9), picture),
    "split_meyer": (tight(tavtorch.split_meyer, stop=Stop(1e-13, 60000), weight=0.05), picture),
    "enhance": (
        partial(tavtorch.enhance, split=partial(tavtorch.split_fourier, cutoff=0.2), texture_filter=torch.sin),
        picture,
    ),
    "shrink": (partial(splitting.shrink, threshold=0.3, size=4), picture),
    "correlation": (lambda image: splitting.correlation(image, image.square()), picture),
    "circle": (lambda center: tavtorch.circle(center, 2.0, 8), lambda: torch.rand(2, 2).double()),
    "area": (contours.area, contour),
    "distance": (lambda points: contours.distance(same(uneven) * 0.83 + 1.7, points), uneven),
    "equidistant": (contours.equidistant, uneven),
    "soft_fill": (lambda points: contours.soft_fill(points, (32, 32)), uneven),
    "edge_map": (contours.edge_map, picture),
    "kass_force": (tavtorch.kass_force, picture),
    "gaussian_force": (partial(tavtorch.gaussian_force, sigma=1.0), picture),
    "gvf_force": (tight(tavtorch.gvf_force, stop=LINEAR, smoothness=0.2), picture),
    "ggvf_force": (tight(contours.ggvf_force, stop=LINEAR), picture),
    "vfc_force": (partial(contours.vfc_force, radius=3), picture),
    "evolve": (lambda field: contours.area(evolved(field).value), filtered_disk),
    "segment": (lambda image: contours.area(segmented(image).value), disk),
    "segment_crowd": (lambda image: contours.area(crowded(image).value), disk),
    "chan_vese_force": (lambda image: contours.chan_vese_force(image, same(uneven) / 5), lambda: picture(h=12, w=12)),
    "spectrum": (lambda wave: torch.view_as_real(tavtorch.spectrum(wave)), wave),
    "waveform": (lambda wave: tavtorch.waveform(tavtorch.spectrum(wave).square(), wave.shape[-1]), wave),
    "sonogram": (tavtorch.sonogram, wave),
    "hpss": (lambda sonogram: torch.stack(tavtorch.hpss(sonogram, kernel=3)), power),
    "hpss_masks": (lambda sonogram: torch.stack(separation.hpss_masks(sonogram, kernel=3)), power),
    "separate_hpss": (partial(tavtorch.separate_hpss, sample_rate=8000), wave),
    "separate_voice": (partial(separation.separate_voice, sample_rate=8000), wave),
    "nmf": (factors, power),
    "UNet": (lambda wave: same(network)(wave), wave),
}
NO_DERIVATIVE = {  # what gives no tensor that depends smoothly on one, or is made of what stands above
    "hole_from_color", "fill", "noise_level", "sure_weight", "discrepancy_weight", "least_correlated", "sobolev",
    "gabor", "median", "peaks", "pairs", "unpack", "evidence", "fingerprint", "fingerprint_stream", "recognise",
    "recognise_stream", "setlist", "distinct_frames", "nmf_split", "separate", "separate_blocks",
    "separate_components", "separate_nmf", "gaussian_kernel", "disk_kernel", "motion_kernel", "assign", "iterate",
    "implicit", "conjugate_gradient", "seeds", "track", "crosses_itself",
}  # fmt: skip
ROOMS = [tavtorch, restoration, patches, splitting, contours, separation, recognition]

TOLERANCE = {
    "segment": 0.3,  # the gradient of the last 20 rounds, see `evolve`
    "segment_crowd": 0.3,
    "separate_voice": 1e-3,  # medians change within the step of the differences
    "nmf": 2e-3,
}
RANDOM = {"inpaint_patches", "nmf"}  # draws numbers: vmap refuses it
FIRST_ONLY = {
    "rof", "rof, weight", "rof, huber", "inpaint_tv", "inpaint_tv, exact", "split_rof", "split_hilbert", "split_l1",
    "split_meyer", "ridge", "ridge, sigma", "restore", "gvf_force", "ggvf_force", "evolve", "segment",
    "segment_crowd", "nmf",
}  # fmt: skip
ONLY_ALONE = {"UNet", *RANDOM}  # vmap is an error of PyTorch's own

SLOW = {"split_l1", "split_meyer"}
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CASES]


def values(name):
    """An op as a function of one tensor, a point, a direction, and weights of its result."""
    op, make = CASES[name]
    x = make()
    direction, weights = torch.randn_like(x), torch.randn_like(first(op(x)))
    return lambda z: first(op(z)), x, direction, weights


def difference(function, x, direction, step=1e-6):
    with torch.no_grad():
        return (function(x + step * direction) - function(x - step * direction)) / (2 * step)


def distance(a, b):
    return float((a - b).detach().norm() / b.detach().norm().clamp(min=1e-30))


def test_every_public_function_is_listed():
    public = {
        name for room in ROOMS for name, value in vars(room).items() if inspect.isfunction(value) and name[0] != "_"
    }
    assert public <= {name.split(",")[0] for name in CASES} | NO_DERIVATIVE


@pytest.mark.parametrize("name", NAMES)
def test_reverse_and_forward_mode_equal_finite_differences(name):
    function, x, direction, weights = values(name)
    expected = difference(function, x, direction)
    tolerance = TOLERANCE.get(name, 1e-4)
    assert distance(jvp(function, (x,), (direction,))[1], expected) < tolerance
    gradient = grad(lambda z: (function(z) * weights).sum())(x)
    assert distance((gradient * direction).sum(), (expected * weights).sum()) < tolerance

    leaf = x.clone().requires_grad_()
    (plain,) = torch.autograd.grad((function(leaf) * weights).sum(), leaf)
    torch.testing.assert_close(plain, gradient)


@pytest.mark.parametrize("name", NAMES)
def test_a_second_derivative_is_right_or_an_error(name):
    function, x, direction, weights = values(name)
    probe = torch.randn_like(x)

    def slope(z, create_graph=False):
        loss = (function(z) * weights).square().sum()
        return (torch.autograd.grad(loss, z, create_graph=create_graph)[0] * probe).sum()

    leaf = x.clone().requires_grad_()
    expected = (slope((x + 1e-7 * direction).requires_grad_()) - slope((x - 1e-7 * direction).requires_grad_())) / 2e-7
    if name in FIRST_ONLY:
        with pytest.raises(RuntimeError, match=r"first derivatives only|not implemented"):
            torch.autograd.grad(slope(leaf, create_graph=True), leaf)
        return
    (second,) = torch.autograd.grad(slope(leaf, create_graph=True), leaf)
    assert distance((second * direction).sum(), expected) < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_vmap_equals_a_loop_or_is_an_error(name):
    function, x, direction, weights = values(name)
    mapped = torch.stack((x, x + 0.01 * direction))
    slope = grad(lambda z: (function(z) * weights).sum())
    if name in ONLY_ALONE:
        with pytest.raises(RuntimeError, match="vmap|broadcast"):
            vmap(function)(mapped)
        return
    assert distance(vmap(function)(mapped), torch.stack([function(one) for one in mapped])) < 1e-9
    assert distance(vmap(slope)(mapped), torch.stack([slope(one) for one in mapped])) < 1e-6


def test_a_jacobian_by_rows():
    rows = jacrev(lambda z: tavtorch.rof(z, 0.15, stop=EXACT).value[0, 0, 2])(picture(b=1))
    assert rows.shape == (7, 1, 1, 6, 7)
    direction = torch.randn(1, 1, 6, 7).double()
    torch.manual_seed(0)
    expected = difference(lambda z: tavtorch.rof(z, 0.15, stop=EXACT).value[0, 0, 2], picture(b=1), direction)
    assert distance((rows * direction).sum((1, 2, 3, 4)), expected) < 1e-4


@pytest.mark.parametrize("transform", [hessian, lambda f: jacfwd(jacfwd(f)), lambda f: jacrev(jacrev(f))])
def test_a_hessian_is_right_or_an_error(transform):
    image = picture(1, 1, 2, 3)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        transform(lambda z: tavtorch.rof(z, 0.15).value.square().sum())(image)
    transform(lambda z: tavtorch.tikhonov(z, 0.5).square().sum())(image)


@pytest.mark.parametrize("transform", [grad, hessian, lambda f: jacfwd(jacfwd(f)), lambda f: jacrev(jacrev(f))])
def test_what_is_kept_for_all_does_not_depend_on_who_asks_first(transform):
    def first():
        for kept in (grid._turns, grid._kept_waves, weights._read_once):
            kept.cache_clear()

    image = picture(1, 1, 2, 3)
    first()
    expected = jacrev(jacrev(lambda z: tavtorch.tikhonov(z, 0.5).square().sum()))(image)
    first()
    transform(lambda z: tavtorch.tikhonov(z, 0.5).square().sum())(image)
    assert distance(jacrev(jacrev(lambda z: tavtorch.tikhonov(z, 0.5).square().sum()))(image), expected) < 1e-12
    first()
    slope = grad(lambda z: tavtorch.ridge(z, 0.1).value.square().sum())(picture(1, 1, 12, 13))
    assert slope.isfinite().all()


def test_the_derivative_of_a_vmap_says_what_to_do():
    mapped = torch.stack((picture(), picture()))
    with pytest.raises(RuntimeError, match="vmap: this op has no derivative from outside of a vmap"):
        grad(lambda z: vmap(lambda one: tavtorch.rof(one, 0.1).value)(z).sum())(mapped)


class Denoiser(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.1, 0.2]))

    def forward(self, image):
        return tavtorch.rof(2 * image, self.weight).value.sum()


@torch._dynamo.config.patch(recompile_limit=solve.VARIANTS)  # pytest's own patch would delete the setting afterwards
@pytest.mark.slow
def test_a_compiled_model_breaks_the_graph_and_not_the_result():
    """Also where others have raised PyTorch's limit of variants, so that all of them are looked up."""
    model, image = Denoiser(), picture().float()
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(image), model(image))
    compiled(image).backward()
    gradient, model.weight.grad = model.weight.grad, None
    model(image).backward()
    torch.testing.assert_close(gradient, model.weight.grad)


def test_the_network_is_exported():
    model = tavtorch.UNet(width=8, n_fft=512, hop=128).eval()
    sound = torch.randn(1, 1, 4096)
    exported = torch.export.export(model, (sound,)).module()
    torch.testing.assert_close(exported(sound), model(sound))


def test_models_are_copied_and_partials_travel():
    image = picture().float()
    torch.testing.assert_close(copy.deepcopy(Denoiser())(image), Denoiser()(image))
    op = pickle.loads(pickle.dumps(partial(tavtorch.rof, weight=0.1, stop=Stop(1e-4))))
    assert torch.equal(op(image).value, tavtorch.rof(image, 0.1, stop=Stop(1e-4)).value)
