import math

import pytest
import torch

from tavtorch import Blur, Mask, Operator, Subsample, disk_kernel, gaussian_kernel, motion_kernel
from tavtorch.image.grid import inverse_cosine_transform

SIZE = (12, 18)


def uneven(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.2


def hole():
    return uneven(1, 1, *SIZE) > 0.5


def shift():
    """A pair of functions of a user."""
    return Operator(lambda u: 2 * u.roll(1, -1), lambda v: 2 * v.roll(-1, -1))


BELL = gaussian_kernel(0.8).double()
OPERATORS = {
    "bell": lambda: Blur(BELL),
    "bell in single precision": lambda: Blur(gaussian_kernel(0.8)),
    "disk": lambda: Blur(disk_kernel(2.5)),
    "line": lambda: Blur(motion_kernel(5, 30)),
    "any kernel": lambda: Blur(uneven(3, 5)),
    "a kernel of the size of the picture": lambda: Blur(uneven(11, 17)),
    "larger pixels": lambda: Subsample(2),
    "pixels of nine": lambda: Subsample(3),
    "points": lambda: Subsample(3, torch.ones(1, 1)),
    "any large pixels": lambda: Subsample(2, uneven(4, 2)),
    "mask": lambda: Mask(hole()),
    "camera": lambda: Subsample(2) @ Blur(BELL),
    "masked blur": lambda: Mask(hole()) @ Blur(BELL),
    "blurred mask": lambda: Blur(uneven(3, 5)) @ Mask(hole()),
    "own": shift,
    "own camera": lambda: Subsample(2) @ shift(),
}


def matrix(operator):
    """Of an operator, a column a pixel."""
    units = torch.eye(math.prod(SIZE), dtype=torch.float64).reshape(-1, 1, *SIZE)
    return operator(units).flatten(1).T


@pytest.fixture(params=OPERATORS)
def operator(request):
    return OPERATORS[request.param]()


# truth


def test_a_point_becomes_the_kernel():
    kernel = uneven(3, 5)
    point = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    point[..., 4, 4] = 1.0
    torch.testing.assert_close(Blur(kernel)(point)[0, 0, 3:6, 2:7], kernel)


def test_beyond_the_border_is_the_mirror_image():
    u = torch.tensor([[[[1.0, 5.0, 0.0]]]])
    torch.testing.assert_close(Blur(torch.tensor([[0.0, 0.0, 1.0]]))(u), torch.tensor([[[[1.0, 1.0, 5.0]]]]))


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_large_pixels_are_means_and_lie_in_the_middle(factor):
    u = uneven(2, 3, *SIZE)
    torch.testing.assert_close(Subsample(factor)(u), torch.nn.functional.avg_pool2d(u, factor))
    kernel = BELL if factor % 2 else gaussian_kernel(0.8, 6).double()
    camera = Subsample(factor, kernel)
    torch.testing.assert_close(camera(u.flip(-1, -2)), camera(u).flip(-1, -2))


@pytest.mark.parametrize("kernel", [gaussian_kernel(1.6), disk_kernel(2.0), motion_kernel(9.0, 45.0)])
def test_kernels_keep_brightness_and_equal_their_half_turn(kernel):
    torch.testing.assert_close(kernel.sum(), torch.tensor(1.0))
    torch.testing.assert_close(kernel, kernel.flip(0, 1))
    assert kernel.min() >= 0


# adjoint and bounds


def test_the_adjoint_is_one(operator, device, dtype):
    u = uneven(2, 3, *SIZE).to(device, dtype)
    v = torch.randn_like(operator(u))
    there, here = (operator(u) * v).sum((1, 2, 3)), (u * operator.adjoint(v)).sum((1, 2, 3))
    torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-4)
    if dtype == torch.float64:
        torch.testing.assert_close(there, here, rtol=1e-12, atol=1e-12)
    operator.check(u)


def test_the_power_bounds_the_operator(operator):
    a = matrix(operator)
    units = torch.eye(math.prod(SIZE), dtype=torch.float64).reshape(-1, 1, *SIZE)
    waves = inverse_cosine_transform(units).flatten(1)
    square = waves @ a.T @ a @ waves.T
    power = operator.power(units[:1]).expand(1, 1, *SIZE).flatten().diag()
    assert torch.linalg.eigvalsh(power - square).min() > -1e-6 * power.max()
    if operator.diagonal:
        torch.testing.assert_close(square, power, rtol=0, atol=1e-6)


def test_what_is_diagonal():
    diagonal = {name for name, make in OPERATORS.items() if make().diagonal}
    assert diagonal == {"bell", "bell in single precision", "disk"}


def test_kernels_of_items_are_their_own():
    kernels, u = uneven(2, 1, 3, 3), uneven(2, 1, *SIZE)
    both = Blur(kernels)
    for i in range(2):
        alone = Blur(kernels[i, 0])
        torch.testing.assert_close(both(u)[i : i + 1], alone(u[i : i + 1]))
        torch.testing.assert_close(both.adjoint(u)[i : i + 1], alone.adjoint(u[i : i + 1]))
        torch.testing.assert_close(both.power(u)[i], alone.power(u[i : i + 1])[0])


def test_gradients_reach_the_kernel():
    u = uneven(1, 1, 6, 6)
    kernel = uneven(3, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda kernel: Blur(kernel).adjoint(Blur(kernel)(u)), kernel)


# errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Blur(torch.ones(2, 3)), "kernel: expected odd sides"),
        (lambda: Subsample(2, torch.ones(3, 3)), "kernel: expected even sides"),
        (lambda: Subsample(0), "factor: expected a whole number >= 1"),
        (lambda: Blur(torch.ones(3)), r"kernel: expected floats \(k, l\)"),
        (lambda: Blur(torch.ones(3, 3, dtype=torch.int64)), "kernel: expected floats"),
        (lambda: Blur(torch.full((3, 3), torch.nan)), "kernel: some values are NaN or infinite"),
        (lambda: Blur(torch.zeros(3, 3)), "kernel: is zero everywhere"),
        (lambda: Mask(torch.ones(1, 1, 4, 4, dtype=torch.bool)), "hole: covers a whole image"),
        (lambda: Mask(torch.zeros(4, 4, dtype=torch.bool)), "hole: expected a bool mask"),
        (lambda: Blur(torch.ones(9, 1))(torch.ones(1, 1, 8, 8)), "smaller than the kernel of 9 × 1"),
        (lambda: Subsample(3)(torch.ones(1, 1, 9, 8)), "no multiples of the factor 3"),
        (lambda: Mask(torch.zeros(1, 1, 4, 4, dtype=torch.bool))(torch.ones(1, 1, 4, 5)), "a mask of .* does not fit"),
    ],
)
def test_bad_input_is_named(make, message, monkeypatch):
    for kind in (Blur, Subsample, Mask):  # without the shape checks that only the tests have
        for name in ("__init__", "__call__"):
            method = vars(kind).get(name)
            if method is not None:
                monkeypatch.setattr(kind, name, getattr(method, "__wrapped__", method))
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("apply", "adjoint", "message"),
    [
        (lambda u: 2 * u, lambda v: v, "its adjoint is none: <A u, v> = "),
        (lambda u: u + 1, lambda v: v, "its adjoint is none"),
        (lambda u: u[..., ::2], lambda v: v, "its adjoint takes"),
        (lambda u: u @ torch.ones(18, 18), lambda v: v, "fails on a float64 picture"),
        (lambda u: u.float(), lambda v: v, "its adjoint takes torch.float64"),
        (lambda u: u.mean(1, keepdim=True) + 0 * u, lambda v: v.mean(1, keepdim=True) + 0 * v, "seen by itself"),
        (lambda u: u * torch.inf, lambda v: v * torch.inf, "operator: "),
    ],
)
def test_a_pair_that_is_none(apply, adjoint, message):
    with pytest.raises(ValueError, match=message):
        Operator(apply, adjoint).check(uneven(2, 3, *SIZE))
