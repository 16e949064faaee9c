"""Every op with inputs of any shape, layout, type and range: a finite result of its shape and type, or a `ValueError`.

`PICTURE_OPS` and `SOUND_OPS` have a line for each op; a new one is one more.
"""

import inspect
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

import tavtorch
from tavtorch import Stop, solve
from tavtorch.audio import separation
from tavtorch.image import contours, patches, restoration, splitting

FEW = Stop(1e-2, 12, 4)
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
TYPES = FLOATS * 3 + [torch.uint8, torch.int16, torch.int64, torch.bool, torch.complex64]
RANGES = [1.0] * 6 + [0.0, 1e-30, 1e-6, 1e3, 1e30, -1.0, float("inf"), float("nan")]
WEIGHTS = [0.1] * 4 + [0.0, 1e-30, 1e30, 1e-4, 1e4, -1.0, float("nan"), float("inf")]


BELL = torch.tensor([[0.1, 0.8, 0.1]])


def plain(op):
    """An op without the checks of shapes that only the tests have."""
    return inspect.unwrap(op)


PICTURE_OPS = {  # of an image, a hole, a weight, points
    "total_variation": lambda x: plain(tavtorch.total_variation)(x.image),
    "tikhonov": lambda x: plain(tavtorch.tikhonov)(x.image, x.weight),
    "rof": lambda x: plain(tavtorch.rof)(x.image, x.weight, coupling=x.coupling, stop=FEW),
    "rof, huber": lambda x: plain(tavtorch.rof)(x.image, x.weight, huber=x.number, stop=FEW),
    "rof, order 2": lambda x: plain(tavtorch.rof)(x.image, x.weight, order=2, coupling=x.coupling, stop=FEW),
    "chan_vese_force": lambda x: plain(contours.chan_vese_force)(x.image, x.points),
    "restore": lambda x: plain(tavtorch.restore)(x.image, tavtorch.Blur(BELL), x.weight, coupling=x.coupling, stop=FEW),
    "inpaint_tv": lambda x: plain(tavtorch.inpaint_tv)(x.image, x.hole, x.weight, coupling=x.coupling, stop=FEW),
    "tikhonov, volumes": lambda x: plain(tavtorch.tikhonov)(x.image[:, None], x.weight, spacing=(x.number, 1, 1)),
    "rof, volumes": lambda x: plain(tavtorch.rof)(x.image[:, None], x.weight, spacing=(1, x.number, 1), stop=FEW),
    "inpaint_tv, volumes": lambda x: plain(tavtorch.inpaint_tv)(
        x.image[:, :, None], x.hole[:, :, None], x.weight, coupling=x.coupling, stop=FEW
    ),
    "inpaint_harmonic": lambda x: plain(tavtorch.inpaint_harmonic)(x.image, x.hole, order=x.order),
    "inpaint_patches": lambda x: plain(tavtorch.inpaint_patches)(x.image, x.hole, size=3),
    "inpaint_patches, in order": lambda x: plain(tavtorch.inpaint_patches)(x.image, x.hole, size=3, method="priority"),
    "apply": lambda x: plain(patches.apply)(patches.sources.own_pixels(x.hole), x.image),
    "hole_from_color": lambda x: plain(tavtorch.hole_from_color)(x.image, [x.number] * 3, 0.1),
    "noise_level": lambda x: plain(restoration.noise_level)(x.image),
    "split_fourier": lambda x: plain(tavtorch.split_fourier)(x.image, x.weight, softness=0.1),
    "split_rof": lambda x: plain(tavtorch.split_rof)(x.image, x.weight, stop=FEW),
    "split_hilbert": lambda x: plain(tavtorch.split_hilbert)(x.image, x.weight, coupling=x.coupling, stop=FEW),
    "split_l1": lambda x: plain(tavtorch.split_l1)(x.image, x.weight, coupling=x.coupling, stop=FEW),
    "split_meyer": lambda x: plain(tavtorch.split_meyer)(x.image, x.weight, coupling=x.coupling, stop=FEW),
    "enhance": lambda x: plain(tavtorch.enhance)(x.image, split=by_frequency),
    "shrink": lambda x: plain(splitting.shrink)(x.image, threshold=x.number, size=4),
    "gradient": lambda x: plain(tavtorch.gradient)(x.image),
    "laplacian": lambda x: plain(tavtorch.laplacian)(x.image),
    "sample": lambda x: plain(tavtorch.sample)(x.image, x.points),
    "edge_map": lambda x: plain(contours.edge_map)(x.image, normalize="local"),
    "kass_force": lambda x: plain(tavtorch.kass_force)(x.image),
    "gaussian_force": lambda x: plain(tavtorch.gaussian_force)(x.image, x.number),
    "gvf_force": lambda x: plain(tavtorch.gvf_force)(x.image, x.number),
    "ggvf_force": lambda x: plain(contours.ggvf_force)(x.image, x.number),
    "vfc_force": lambda x: plain(contours.vfc_force)(x.image, 2),
    "segment": lambda x: plain(tavtorch.segment)(x.image, x.points, elasticity=x.number, stop=FEW),
    "least_correlated": lambda x: plain(splitting.least_correlated)(x.image, split_few, torch.tensor([0.1, 1.0])),
}
SOUND_OPS = {  # of magnitudes `(b, f, t)`, spectra `(b, c, f, t)` and waves `(b, c, t)`
    **{
        f"nmf, {beta}": lambda x, beta=beta: plain(tavtorch.nmf)(x.image[:, 0], x.order, beta=beta, stop=FEW)
        for beta in (-1.0, 0.0, 1.0, 2.0, 3.0)
    },
    "hpss": lambda x: plain(tavtorch.hpss)(x.image, kernel=(3, 3), power=x.number, margin=1 + x.order),
    "spectrum": lambda x: plain(tavtorch.spectrum)(x.image.flatten(2), n_fft=8, hop=2),
    "sonogram": lambda x: plain(tavtorch.sonogram)(x.image.flatten(2), n_fft=8, hop=2),
    "separate_hpss": lambda x: plain(tavtorch.separate_hpss)(x.image.flatten(2), 100 * x.order, window=0.1),
    "fingerprint": lambda x: plain(tavtorch.fingerprint)(x.image.flatten(2), 4000 * x.order),
    "distinct_frames": lambda x: plain(separation.distinct_frames)(x.image[:, 0], x.order),
}
OPS = {**PICTURE_OPS, **SOUND_OPS}
OWN_TYPE = {"segment", "chan_vese_force", "total_variation"}  # the type of the points; float32 at least
CALCULUS = {"gradient", "laplacian", "sample", "spectrum", "sonogram", "apply"}  # linear: what is infinite goes through
SAME_SHAPE = {
    "restore",
    "rof",
    "rof, huber",
    "rof, order 2",
    "tikhonov",
    "inpaint_tv",
    "inpaint_harmonic",
    "inpaint_patches",
    "enhance",
}


def by_frequency(image):
    return tavtorch.split_fourier(image, 0.2)


def split_few(image, weight):
    return tavtorch.split_rof(image, weight, stop=FEW)


@st.composite
def inputs(draw):
    """An image that is laid out in one way or another, and what belongs to it, mostly as it should be."""
    b, c = draw(st.sampled_from([1, 2, 1, 2, 0])), draw(st.sampled_from([1, 3, 2, 4]))
    h, w = draw(st.sampled_from([1, 2, 5, 9])), draw(st.sampled_from([1, 3, 4, 8]))
    dtype, scale = draw(st.sampled_from(TYPES)), draw(st.sampled_from(RANGES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))

    def noise(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    image = {
        "contiguous": lambda: noise(b, c, h, w),
        "strided": lambda: noise(b, c, 2 * h, 3 * w)[..., ::2, ::3],
        "transposed": lambda: noise(w, h, c, b).permute(3, 2, 1, 0),
        "expanded": lambda: noise(1, 1, 1, w).expand(b, c, h, w),
        "a single image": lambda: noise(c, h, w),
    }[draw(st.sampled_from(["contiguous", "contiguous", "strided", "transposed", "expanded", "a single image"]))]()
    level = draw(st.sampled_from(WEIGHTS))
    weight = {
        "number": level,
        "one an image": torch.full((b,), level),
        "map": level * noise(b, 1, h, w),
        "wrong": torch.full((b + 1, 2), level),
    }[draw(st.sampled_from(["number", "number", "one an image", "map", "wrong"]))]
    hole = noise(b, 1, h, w) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    center = torch.tensor([(w - 1) / 2, (h - 1) / 2]).expand(b, 2)
    return SimpleNamespace(
        image=(image * scale).to(dtype) if scale == scale else image.to(dtype) * scale,
        weight=weight,
        hole=hole if draw(st.booleans()) else hole.float() * 2 if draw(st.booleans()) else hole,
        number=level,
        coupling=draw(st.sampled_from(["joint", "separate", "none"])),
        order=draw(st.sampled_from([1, 2, 3])),
        points=tavtorch.circle(center, 0.4 + min(h, w) / 4, 8),
    )


def tensors(result):
    """All floating-point tensors of a result, but the gaps, which may be infinite."""
    if isinstance(result, torch.Tensor):
        return [result] if result.is_floating_point() else []
    if isinstance(result, tavtorch.Solution | patches.Filling):
        return tensors(result.value)
    return [t for part in result for t in tensors(part)] if isinstance(result, tuple) else []


def check(name, x):
    before = {key: value.clone() for key, value in vars(x).items() if isinstance(value, torch.Tensor)}
    try:
        result = OPS[name](x)
    except (ValueError, TypeCheckError):  # the latter of an op within, which is here by itself, and in tests only
        result = None
    for key, value in before.items():
        assert torch.equal(torch.nan_to_num(getattr(x, key)), torch.nan_to_num(value)), f"{key} was edited"
    if result is None:
        return
    assert name in CALCULUS or all(t.isfinite().all() for t in tensors(result))
    assert name in OWN_TYPE or all(t.dtype.to_real() == x.image.dtype.to_real() for t in tensors(result)[:1])
    if name in SAME_SHAPE:
        assert tensors(result)[0].shape == x.image.shape


@pytest.fixture(autouse=True, scope="module")
def eager():
    """Many small shapes: to compile for each takes longer than to solve."""
    before, solve.COMPILE_AFTER = solve.COMPILE_AFTER, float("inf")
    yield
    solve.COMPILE_AFTER = before


@pytest.mark.parametrize("count", [15, pytest.param(250, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", OPS)
def test_a_finite_result_or_a_reason(name, count):
    @settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(inputs())
    def fuzz(x):
        check(name, x)

    fuzz()
