import numpy as np
import pytest
import torch
from scipy.sparse import diags, eye, kron
from scipy.sparse.linalg import spsolve
from torch.autograd import gradcheck

from tavtorch import gradient, laplacian
from tavtorch.image.restoration.tikhonov import tikhonov

SIZES = [(1, 1), (1, 6), (5, 1), (7, 8), (16, 9)]


def image(b, c, h, w, dtype=torch.float64, device="cpu"):
    return torch.rand(b, c, h, w, dtype=torch.float64).to(device, dtype)


def energy(u, f, weight):
    return ((u - f).square().sum() + (weight * gradient(u).square().sum(2)).sum()) / 2


# truth


def test_two_pixels_by_hand(device, dtype):
    f = torch.tensor([[[[0.0, 3.0]]]], device=device, dtype=dtype)
    torch.testing.assert_close(tikhonov(f, 1.0), torch.tensor([[[[1.0, 2.0]]]], device=device, dtype=dtype))


def test_a_cosine_is_divided_by_one_plus_weight_times_its_eigenvalue():
    wave = torch.cos(torch.pi * 3 * (torch.arange(16.0, dtype=torch.float64) + 0.5) / 16).expand(1, 1, 4, 16)
    eigenvalue = 2 - 2 * np.cos(np.pi * 3 / 16)
    torch.testing.assert_close(tikhonov(wave, 5.0), wave / (1 + 5 * eigenvalue))


@pytest.mark.parametrize("size", SIZES)
def test_weight_zero_is_the_image_and_a_huge_one_its_mean(size):
    f = image(2, 3, *size)
    torch.testing.assert_close(tikhonov(f, 0.0), f)
    torch.testing.assert_close(tikhonov(f, 1e14), f.mean((-2, -1), keepdim=True).expand_as(f))


# optimality


@pytest.mark.parametrize("size", SIZES)
def test_the_energy_is_stationary(size, device, dtype):
    f = image(2, 3, *size, dtype, device)
    weight = image(2, 1, *size, dtype, device) * 10
    u = tikhonov(f, weight).requires_grad_()
    (slope,) = torch.autograd.grad(energy(u, f, weight), u)
    assert slope.abs().max() < 200 * torch.finfo(dtype).eps
    torch.testing.assert_close(tikhonov(f, 3.0) - 3 * laplacian(tikhonov(f, 3.0)), f)


def test_a_map_of_one_value_is_that_weight_and_one_of_zero_changes_nothing():
    f = image(2, 1, 9, 12)
    torch.testing.assert_close(tikhonov(f, torch.full_like(f, 4.0)), tikhonov(f, 4.0))
    torch.testing.assert_close(tikhonov(f, torch.zeros_like(f)), f)


# symmetry


def test_constants_scales_and_flips_commute():
    f, weight = image(1, 2, 9, 12), image(1, 1, 9, 12)
    u = tikhonov(f, weight)
    torch.testing.assert_close(tikhonov(3 * f + 1, weight), 3 * u + 1)
    torch.testing.assert_close(tikhonov(f.mT, weight.mT), u.mT)
    torch.testing.assert_close(tikhonov(f.flip(-1), 2.0), tikhonov(f, 2.0).flip(-1))
    torch.testing.assert_close(u.mean((-2, -1)), f.mean((-2, -1)))


# batch


@pytest.mark.parametrize("kind", ["per image", "map"])
def test_alone_is_together(kind, device, dtype):
    f = image(3, 2, 9, 12, dtype, device)
    weight = torch.tensor([0.0, 1.0, 50.0], dtype=dtype, device=device)
    if kind == "map":
        weight = weight[:, None, None, None] * image(3, 1, 9, 12, dtype, device)
    together = tikhonov(f, weight)
    assert together.dtype == dtype and together.device == f.device
    for i in range(3):
        torch.testing.assert_close(tikhonov(f[i : i + 1], weight[i : i + 1])[0], together[i])


# gradient


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 3, 4)])
def test_gradients(shape):
    weight = torch.rand(shape, dtype=torch.float64) + 0.5
    assert gradcheck(tikhonov, (image(1, 2, 3, 4).requires_grad_(), weight.requires_grad_()))


# reference


def test_it_is_the_sparse_direct_solution():
    h, w = 24, 31
    f, weight = image(1, 1, h, w), 100 * image(1, 1, h, w)
    forward = [diags([-np.r_[np.ones(n - 1), 0], np.ones(n - 1)], [0, 1], shape=(n, n)) for n in (h, w)]
    dx, dy = kron(eye(h), forward[1]), kron(forward[0], eye(w))
    for lam, found in ((np.full(h * w, 7.0), tikhonov(f, 7.0)), (weight.numpy().ravel(), tikhonov(f, weight))):
        system = eye(h * w) + dx.T @ diags(lam) @ dx + dy.T @ diags(lam) @ dy
        expected = torch.from_numpy(spsolve(system.tocsc(), f.numpy().ravel())).reshape(f.shape)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


# errors


@pytest.mark.parametrize(
    ("f", "weight", "message"),
    [
        (torch.zeros(1, 4, 4), 1.0, r"image: expected a batch \(b, c, h, w\)"),
        (torch.zeros(0, 1, 4, 4), 1.0, "image: expected a batch .* not empty"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), 1.0, "image: expected floating point"),
        (torch.full((1, 1, 4, 4), torch.nan), 1.0, "image: some pixels are NaN"),
        (torch.zeros(1, 1, 4, 4), -1.0, "weight: .*>= 0"),
        (torch.zeros(1, 1, 4, 4), float("nan"), "weight: .*finite"),
        (torch.zeros(2, 1, 4, 4), torch.ones(3), "weight: expected a number, one an image .2,."),
        (torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 5), r"weight: .*a map \(1, 1, 4, 4\)"),
    ],
)
def test_bad_input_is_named(f, weight, message):
    unchecked = getattr(tikhonov, "__wrapped__", tikhonov)  # without the shape checks that only the tests have
    with pytest.raises(ValueError, match=message):
        unchecked(f, weight)
