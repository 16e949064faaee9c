import pytest
import torch
from scipy.fft import dctn
from torch.autograd import gradcheck

from tavtorch import divergence, gradient, laplacian, sample
from tavtorch.image import grid
from tavtorch.image.grid import cosine_transform, inverse_cosine_transform

SIZES = [(1, 1), (1, 2), (3, 1), (5, 8), (7, 3), (16, 16)]


def image(h, w, **kind):
    return torch.randn(2, 3, h, w, **kind)


@pytest.fixture(params=["product", "fft"])
def way(request, monkeypatch):
    """Both ways to transform a line, whatever its length."""
    monkeypatch.setattr(grid, "SHORT", dict.fromkeys(grid.SHORT, 1000 if request.param == "product" else 0))


# truth


def test_gradient_by_hand():
    u = torch.tensor([[0.0, 1.0, 3.0], [5.0, 5.0, 5.0]])
    assert gradient(u)[0].tolist() == [[1, 2, 0], [0, 0, 0]]
    assert gradient(u)[1].tolist() == [[5, 4, 2], [0, 0, 0]]


def test_laplacian_by_hand():
    u = torch.zeros(3, 3)
    u[1, 1] = 1
    assert laplacian(u).tolist() == [[0, 1, 0], [1, -4, 1], [0, 1, 0]]


def test_laplacian_of_a_corner_knows_two_neighbours():
    u = torch.zeros(2, 2)
    u[0, 0] = 1
    assert laplacian(u).tolist() == [[-2, 1], [1, 0]]


@pytest.mark.parametrize("shape", [*((2, 3, h, w) for h, w in SIZES), (1, 1, 2, 3, 2), (2, 1, 4, 5, 6)])
def test_differences_are_the_same_to_the_bit_in_new_memory_and_in_old(shape, dtype, monkeypatch):
    """Where nothing is recorded, large images write into memory that is at hand."""
    u = torch.randn(shape, dtype=dtype).mul_(4).round_()  # with ties, whose difference is 0
    p = tuple(torch.randn_like(u).mul_(4).round_() for _ in grid.space(u))
    recorded = *grid.differences(u), grid.outflow(p)
    monkeypatch.setattr(grid, "FEW", 0)
    with torch.no_grad():
        for new, old in zip((*grid.differences(u), grid.outflow(p)), recorded, strict=True):
            assert torch.equal(new, old) and torch.equal(new.signbit(), old.signbit())


def test_sample_is_linear_between_pixels(device, dtype):
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    plane = (2 * x + 3 * y + 1)[None, None].to(device, dtype)
    points = torch.tensor([[[0.5, 0.25], [6.0, 4.0], [3.3, 1.7]]], device=device, dtype=dtype)
    expected = 2 * points[..., :1] + 3 * points[..., 1:] + 1
    torch.testing.assert_close(sample(plane, points), expected)


def test_sample_outside_is_the_nearest_border_pixel():
    u = torch.arange(6.0).reshape(1, 1, 2, 3)
    points = torch.tensor([[[-3.0, 0.0], [9.0, 9.0]]])
    assert sample(u, points).flatten().tolist() == [0, 5]


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (4, 1)])
def test_sample_of_an_image_one_pixel_wide(size):
    u = torch.arange(float(size[0] * size[1])).reshape(1, 1, *size)
    last = torch.tensor([[[size[1] - 1.0, size[0] - 1.0]]])
    assert sample(u, last).item() == size[0] * size[1] - 1


def test_sample_of_a_field_is_a_list_of_vectors():
    assert sample(torch.randn(2, 2, 5, 6), torch.rand(2, 9, 2)).shape == (2, 9, 2)


# optimality: the operators are what the solvers take them for


@pytest.mark.parametrize("size", SIZES)
def test_divergence_is_minus_the_adjoint_of_gradient(size, device):
    u = image(*size, device=device, dtype=torch.float64)
    p = torch.randn_like(gradient(u))
    torch.testing.assert_close((gradient(u) * p).sum(), -(u * divergence(p)).sum())


@pytest.mark.parametrize("size", SIZES)
def test_cosine_transform_diagonalises_the_laplacian(size, way):
    u = image(*size, dtype=torch.float64)
    i, j = (2 - 2 * torch.cos(torch.pi * torch.arange(n, dtype=u.dtype) / n) for n in size)
    torch.testing.assert_close(cosine_transform(laplacian(u)), -(i[:, None] + j) * cosine_transform(u))


# symmetry


def test_constants_have_no_gradient():
    assert gradient(torch.full((4, 5), 3.0)).abs().max() == 0


def test_gradient_of_the_transpose_is_the_gradient_transposed():
    u = image(5, 8)
    torch.testing.assert_close(gradient(u.mT), gradient(u).mT.flip(-3))


@pytest.mark.parametrize("size", SIZES)
def test_cosine_transform_is_orthogonal(size, dtype, device, way):
    u = image(*size, dtype=dtype, device=device)
    torch.testing.assert_close(inverse_cosine_transform(cosine_transform(u)), u)
    torch.testing.assert_close(cosine_transform(u).norm(), u.norm())


# batch


def test_a_cosine_transform_alone_is_that_in_a_batch(way, dtype):
    u = image(33, 64, dtype=dtype)
    for transform in (cosine_transform, inverse_cosine_transform):
        assert all(torch.equal(transform(u[i : i + 1])[0], transform(u)[i]) for i in range(2))


# precision


def test_a_long_line_is_transformed_as_well_as_its_type_allows(way):
    u = image(400, 300, dtype=torch.float64)
    for transform in (cosine_transform, inverse_cosine_transform):
        error = (transform(u.float()).double() - transform(u)).square().mean().sqrt()
        assert error < 5e-7


# gradient


@pytest.mark.parametrize("op", [gradient, laplacian, cosine_transform, inverse_cosine_transform])
def test_gradients(op):
    assert gradcheck(op, torch.randn(2, 1, 4, 5, dtype=torch.float64, requires_grad=True))


def test_gradient_of_sample():
    u = torch.randn(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    points = (torch.rand(2, 6, 2, dtype=torch.float64) * 2.8 + 0.1).requires_grad_()
    assert gradcheck(sample, (u, points))


# reference


@pytest.mark.parametrize("size", SIZES)
def test_cosine_transform_is_scipys(size, way):
    u = image(*size, dtype=torch.float64)
    expected = dctn(u.numpy(), axes=(-2, -1), norm="ortho")
    torch.testing.assert_close(cosine_transform(u), torch.from_numpy(expected))
