"""Total variation and Tikhonov of volumes and films: what the tests of pictures say, along three axes."""

import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from skimage.restoration import denoise_tv_chambolle
from torch.autograd import gradcheck

from tavtorch import Stop, divergence, gradient, inpaint_tv, laplacian, rof, solve, tikhonov, total_variation
from tavtorch.image.grid import cosine_transform, inverse_cosine_transform

EXACT = Stop(tol=1e-13, max_iter=1500, every=50)
SPACINGS = [None, (2.0, 1.0, 0.5)]


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Many small shapes: to compile for each takes longer than to solve."""
    monkeypatch.setattr(solve, "COMPILE_AFTER", float("inf"))


def noisy(b, c, d, h, w, dtype=torch.float64):
    """Edges and noise."""
    edges = (torch.rand(b, c, 1, 1, 1) < torch.linspace(0, 1, w)) & (torch.arange(d)[:, None, None] > 0)
    return (edges + 0.1 * torch.randn(b, c, d, h, w, dtype=torch.float64)).to(dtype)


# truth


def test_the_gradient_by_hand():
    u = torch.zeros(1, 1, 2, 2, 2)
    u[0, 0, 1, 1, 1] = 6
    assert gradient(u)[0, 0, :, 0].tolist() == [[[0, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 6]]]
    assert gradient(u, spacing=(3, 2, 1))[0, 0, :, 1].tolist() == [[[0, 0], [6, 0]], [[0, 3], [0, 0]], [[0, 0], [0, 0]]]
    assert laplacian(u)[0, 0, 1].tolist() == [[0, 6], [6, -18]]
    assert total_variation(u).item() == pytest.approx(18)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_divergence_is_minus_the_adjoint_of_gradient(spacing):
    u = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    p = torch.randn(2, 3, 3, 4, 5, 6, dtype=torch.float64)
    a, b = (gradient(u, spacing=spacing) * p).sum(), -(u * divergence(p, spacing=spacing)).sum()
    torch.testing.assert_close(a, b)


def test_the_cosine_transform_is_scipys():
    u = torch.randn(2, 1, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(cosine_transform(u), torch.from_numpy(dctn(u.numpy(), axes=(2, 3, 4), norm="ortho")))
    torch.testing.assert_close(inverse_cosine_transform(cosine_transform(u)), u)


def test_the_sides_of_an_edge_in_depth_move_by_weight_over_their_length(dtype):
    f = torch.zeros(1, 1, 10, 3, 4, dtype=dtype)
    f[:, :, 4:] = 1
    for spacing in (None, (2.0, 1.0, 1.0)):
        moved = 0.6 / (spacing or (1.0,))[0]
        expected = torch.where(f > 0, 1 - moved / 6, moved / 4).to(dtype)
        found = rof(f, 0.6, spacing=spacing, stop=Stop(1e-6))
        torch.testing.assert_close(found.value, expected, rtol=0, atol=2e-3)
        assert found.converged.all()


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 3, 4), (5, 1, 1)])
def test_weight_zero_is_the_volume_and_a_huge_one_its_mean(size, dtype):
    f = torch.rand(2, 2, *size, dtype=dtype)
    mean = f.mean((2, 3, 4), keepdim=True).expand_as(f)
    assert torch.equal(rof(f, 0.0).value, f)
    torch.testing.assert_close(rof(f, 1e6).value, mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(tikhonov(f, 1e9), mean, rtol=0, atol=1e-5)


def test_an_infinite_spacing_is_frame_by_frame():
    f = noisy(1, 2, 3, 5, 6)
    frames, apart = f[0].transpose(0, 1), (math.inf, 1.0, 1.0)
    hole = torch.rand(1, 1, 3, 5, 6) < 0.2
    hole[..., 0, 0] = hole[..., -1, -1] = False
    for of_film, of_frames in (
        (rof(f, 0.1, spacing=apart, stop=EXACT).value, rof(frames, 0.1, stop=EXACT).value),
        (tikhonov(f, 2.0, spacing=apart), tikhonov(frames, 2.0)),
        (
            inpaint_tv(f, hole, 0.1, spacing=apart, stop=EXACT).value,
            inpaint_tv(frames, hole[0].transpose(0, 1), 0.1, stop=EXACT).value,
        ),
    ):
        torch.testing.assert_close(of_film[0].transpose(0, 1), of_frames, rtol=0, atol=1e-5)


def test_a_volume_one_voxel_deep_is_a_picture():
    f = noisy(1, 2, 2, 9, 8)[:, :, :1]
    torch.testing.assert_close(rof(f, 0.1, stop=EXACT).value[:, :, 0], rof(f[:, :, 0], 0.1, stop=EXACT).value)
    torch.testing.assert_close(tikhonov(f, 2.0)[:, :, 0], tikhonov(f[:, :, 0], 2.0))


def test_an_edge_goes_on_through_a_hole():
    f = (torch.arange(8) < 3).float()[:, None, None].expand(1, 2, 8, 6, 6).clone()
    hole = torch.zeros(1, 1, 8, 6, 6, dtype=torch.bool)
    hole[..., 1:6, 2:4, 2:4] = True
    found = inpaint_tv(f.masked_fill(hole, 0.5), hole, stop=Stop(1e-6, 5000))
    torch.testing.assert_close(found.value, f, rtol=0, atol=1e-2)
    assert torch.equal(found.value.masked_fill(hole, 0), f.masked_fill(hole, 0)) and found.converged.all()


# optimality


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("coupling", ["joint", "separate", "none"])
def test_the_gap_says_how_far_the_energy_is(coupling, spacing):
    f, hole = noisy(1, 2, 3, 5, 4), torch.rand(1, 1, 3, 5, 4) < 0.3
    model = {"coupling": coupling, "spacing": spacing}

    def energy(u, known):
        return 0.1 * total_variation(u, **model) + (known * (u - f).square()).flatten(1).sum(1) / 2

    for op, known in ((lambda stop: rof(f, 0.1, **model, stop=stop), torch.ones_like(f)),
                      (lambda stop: inpaint_tv(f, hole, 0.1, **model, stop=stop), ~hole)):  # fmt: skip
        best = energy(op(Stop(1e-8, 800, 50)).value, known)
        for tol in (1e-2, 1e-4):
            found = op(Stop(tol, 1000, 5))
            excess = energy(found.value, known) / best - 1
            assert (excess >= -1e-9).all() and (excess <= found.gap + 1e-9).all() and (found.gap <= tol).all()


def test_a_small_film_of_large_frames_starts_from_a_coarse_one():
    f = noisy(1, 1, 3, 64, 66, torch.float32)
    assert rof(f, 0.1, stop=Stop(1e-3, every=1)).iterations <= 60


# symmetry


def test_axes_with_their_spacing_commute():
    f, spacing = noisy(1, 1, 4, 6, 5), (3.0, 2.0, 1.0)
    turned, order = f.permute(0, 1, 4, 2, 3), (1.0, 3.0, 2.0)
    u = rof(f, 0.1, spacing=spacing, stop=EXACT).value.permute(0, 1, 4, 2, 3)
    torch.testing.assert_close(rof(turned, 0.1, spacing=order, stop=EXACT).value, u, rtol=0, atol=1e-5)
    u = tikhonov(f, 2.0, spacing=spacing).permute(0, 1, 4, 2, 3)
    torch.testing.assert_close(tikhonov(turned, 2.0, spacing=order), u)
    halves = rof(f, 0.05, stop=EXACT).value  # a spacing of all axes is a weight
    torch.testing.assert_close(rof(f, 0.1, spacing=(2.0, 2.0, 2.0), stop=EXACT).value, halves, rtol=0, atol=1e-5)


# batch


def test_alone_is_together(dtype):
    f, hole = noisy(2, 2, 5, 9, 8, dtype), torch.rand(2, 1, 5, 9, 8) < 0.3
    for op in (
        lambda f, hole: rof(f, 0.1, spacing=(2, 1, 1)),
        lambda f, hole: rof(f, "sure"),
        lambda f, hole: inpaint_tv(f, hole, 0.1),
        lambda f, hole: inpaint_tv(f, hole),
    ):
        together = op(f, hole)
        for i in range(2):
            alone = op(f[i : i + 1], hole[i : i + 1])
            torch.testing.assert_close(alone.value[0], together.value[i], rtol=0, atol=1e-6)
            assert alone.iterations[0] == together.iterations[i]


# gradient


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("shape", [(1, 1, 3, 4, 5)])
def test_gradients_are_those_of_finite_differences(shape, spacing, assert_slopes):
    f, weight = noisy(1, 1, 3, 4, 5), 0.02 + 0.03 * torch.rand(shape, dtype=torch.float64)
    hole = torch.rand(1, 1, 3, 4, 5) < 0.2
    hole[..., -1, -1, -1] = False
    assert_slopes(lambda f, weight: rof(f, weight, spacing=spacing, stop=EXACT).value, f, weight)
    filled = lambda f, weight: inpaint_tv(f, hole, weight, spacing=spacing, stop=EXACT).value  # noqa: E731
    assert_slopes(filled, f, weight)


@pytest.mark.parametrize("shape", [(), (1, 1, 2, 1, 2)])
def test_gradients_of_tikhonov(shape):
    f, weight = torch.rand(1, 1, 2, 1, 2, dtype=torch.float64), torch.rand(shape, dtype=torch.float64) + 0.5
    assert gradcheck(lambda f, w: tikhonov(f, w, spacing=(2, 1, 1)), (f.requires_grad_(), weight.requires_grad_()))


# reference


def test_it_is_scikit_images_chambolle():
    f = noisy(1, 1, 5, 8, 7)
    expected = denoise_tv_chambolle(f[0, 0].numpy(), 0.1, eps=0, max_num_iter=1000)
    torch.testing.assert_close(
        rof(f, 0.1, stop=Stop(1e-8, 1000)).value[0, 0], torch.from_numpy(expected), rtol=0, atol=2e-3
    )


# errors


@pytest.mark.parametrize(
    "spacing", [(1.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1e-30, 1.0), (-1.0, 1.0, 1.0), (math.nan, 1.0, 1.0)]
)
def test_a_spacing_that_is_none_is_named(spacing):
    f, hole = torch.zeros(1, 1, 2, 3, 4), torch.zeros(1, 1, 2, 3, 4, dtype=torch.bool)
    for op in (rof, lambda f, w, **kw: inpaint_tv(f, hole, w, **kw), tikhonov):
        with pytest.raises(ValueError, match=r"spacing: expected a distance of 1e-6 or more for each axis \(d, h, w\)"):
            op(f, 0.1, spacing=spacing)


def test_bad_volumes_are_named():
    fill, denoise = (getattr(op, "__wrapped__", op) for op in (inpaint_tv, rof))
    f = torch.zeros(2, 1, 2, 3, 4)
    hole = torch.zeros(2, 1, 2, 3, 4, dtype=torch.bool)
    hole[1] = True
    with pytest.raises(ValueError, match="hole: covers a whole volume"):
        fill(f, hole)
    with pytest.raises(ValueError, match=r"hole: expected a bool mask \(2, 1, 2, 3, 4\)"):
        fill(f, hole[:, :, 0])
    with pytest.raises(ValueError, match=r"weight: .*a map \(2, 1, 2, 3, 4\)"):
        denoise(f, torch.ones(2, 1, 3, 4))
    for wrong in (f[None], f[:, :, :0], torch.zeros(3, 4)):
        with pytest.raises(ValueError, match="image: expected a batch .*volumes"):
            denoise(wrong, 0.1)
    with pytest.raises(ValueError, match="image: some pixels are NaN"):
        denoise(torch.full_like(f, np.nan), 0.1)
