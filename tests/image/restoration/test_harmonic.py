import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import spsolve
from skimage.restoration import inpaint_biharmonic

from tavtorch import Stop, inpaint_harmonic, laplacian
from tavtorch.image.restoration import harmonic

EXACT = Stop(tol=1e-12, max_iter=500, every=1)


def scene(h=24, w=31, b=2, c=2, **kind):
    return torch.rand(b, c, h, w, **kind), torch.rand(b, 1, h, w, device=kind.get("device")) < 0.4


def grid(h=20, w=24, **kind):
    y, x = torch.meshgrid(torch.arange(h, **kind), torch.arange(w, **kind), indexing="ij")
    return x, y


def block(h=20, w=24):
    hole = torch.zeros(1, 1, h, w, dtype=torch.bool)
    hole[..., 6:13, 8:17] = True
    return hole


# truth


@pytest.mark.parametrize("order", [1, 2])
def test_a_plane_is_continued(order, dtype):
    x, y = grid(dtype=dtype)
    plane = (0.02 * x - 0.01 * y)[None, None]
    filled = inpaint_harmonic(plane.masked_fill(block(), torch.nan), block(), order=order).value
    torch.testing.assert_close(filled, plane, rtol=0, atol=1e-5)


def test_a_plate_continues_what_a_membrane_flattens():
    x, y = grid(dtype=torch.float64)
    bowl = (0.01 * (x - 12) ** 2 - 0.01 * (y - 9) ** 2 + 0.01 * (x - 12) * (y - 9) ** 2)[None, None]
    error = [(inpaint_harmonic(bowl, block(), order=k, stop=EXACT).value - bowl).abs().max() for k in (1, 2)]
    assert error[1] < 1e-9 < error[0]  # this cubic is biharmonic: Δ = 0.02 (x - 12)


def test_known_pixels_are_kept_to_the_bit_and_missing_ones_do_not_count(device, dtype):
    image, hole = scene(dtype=dtype, device=device)
    filled = inpaint_harmonic(image, hole).value
    known = ~hole.expand_as(image)
    assert torch.equal(filled[known], image[known]) and filled.dtype == dtype
    assert torch.equal(inpaint_harmonic(image.masked_fill(hole, torch.nan), hole).value, filled)


def test_an_empty_hole_gives_the_image_back():
    image, hole = scene()
    found = inpaint_harmonic(image, torch.zeros_like(hole))
    assert torch.equal(found.value, image) and found.iterations.tolist() == [0, 0] and found.converged.all()


def scattered(h=70, w=90):
    """Parts that are far apart, at the borders, in a corner, bent about each other, and closer than a block is wide."""
    hole = torch.zeros(1, 1, h, w, dtype=torch.bool)
    for rows, columns in [(0, 0), (h - 1, 40), (33, 50), (35, 52), (30, 20), (60, 20)]:
        hole[..., rows : rows + 3, columns : columns + 4] = True
    hole[..., 20:50, 70] = hole[..., 20, 70:85] = hole[..., 30:33, 78:81] = True
    return hole


@pytest.mark.parametrize("order", [1, 2])
def test_parts_that_are_far_apart_are_filled_as_in_one_system(order, monkeypatch):
    image, hole = torch.rand(1, 2, 70, 90, dtype=torch.float64), scattered()
    assert sum(map(len, harmonic._regions(hole, order))) > 1
    apart = inpaint_harmonic(image, hole, order=order, stop=EXACT)
    monkeypatch.setattr(harmonic, "BLOCK", 128)
    together = inpaint_harmonic(image, hole, order=order, stop=EXACT)
    assert apart.converged.all() and together.converged.all()
    torch.testing.assert_close(apart.value, together.value, rtol=0, atol=1e-9)


def test_a_small_hole_costs_little_however_large_the_picture(monkeypatch):
    sizes = []

    def counted(operator, b, **options):
        sizes.append(b.numel())
        return conjugate_gradient(operator, b, **options)

    conjugate_gradient = harmonic.conjugate_gradient
    monkeypatch.setattr(harmonic, "conjugate_gradient", counted)
    image, hole = torch.rand(1, 1, 600, 800), torch.zeros(1, 1, 600, 800, dtype=torch.bool)
    hole[..., 100:140, 300:340] = hole[..., 590:, 790:] = True
    assert inpaint_harmonic(image, hole, order=2).converged.all()
    assert sum(sizes) <= 64**2 + 32**2


# optimality


def test_harmonic_is_harmonic_and_keeps_between_its_borders():
    image, hole = scene(dtype=torch.float64)
    filled = inpaint_harmonic(image, hole, stop=EXACT).value
    assert (laplacian(filled).abs() * hole).max() < 1e-10
    assert filled.min() >= image.min() and filled.max() <= image.max()


def test_biharmonic_is_biharmonic():
    image, hole = scene(dtype=torch.float64)
    filled = inpaint_harmonic(image, hole, order=2, stop=EXACT).value
    assert (laplacian(laplacian(filled)).abs() * hole).max() < 1e-9


@pytest.mark.parametrize("size", [(1, 40), (97, 1), (65, 129), (128, 128)])
@pytest.mark.parametrize(("share", "steps"), [(0.1, 12), (0.5, 12), (0.9, 12), (None, 20)])
def test_the_steps_do_not_depend_on_the_hole(size, share, steps):
    image = torch.rand(1, 1, *size)
    hole = torch.rand_like(image) < (share or 0)
    if share is None:  # one known pixel, in a corner
        hole[:], hole[..., 0, 0] = True, False
    found = inpaint_harmonic(image, hole)
    assert found.converged.all() and found.iterations.max() <= steps


@pytest.mark.parametrize("start", [63, 64])
def test_a_square_hole_at_an_even_place_is_filled_as_one_at_an_odd_place(start):
    image = torch.rand(1, 1, 256, 256)
    hole = torch.zeros_like(image, dtype=torch.bool)
    hole[..., start:192, start:192] = True
    found = inpaint_harmonic(image, hole, order=2, stop=Stop(1e-5, 100, 1))
    assert found.converged.all()


def test_a_single_value_is_continued_exactly():
    image = torch.full((1, 3, 1, 30), 0.4)
    hole = torch.zeros(1, 1, 1, 30, dtype=torch.bool)
    hole[..., 10] = True
    found = inpaint_harmonic(image, hole, stop=Stop(1e-8, 200, 1))
    assert torch.equal(found.value, image) and found.converged.all()


# symmetry


@pytest.mark.parametrize("order", [1, 2])
def test_filling_is_affine_and_commutes_with_flips(order):
    image, hole = scene(16, 16, dtype=torch.float64)
    filled = inpaint_harmonic(image, hole, order=order, stop=EXACT).value
    scaled = inpaint_harmonic(3 * image - 2, hole, order=order, stop=EXACT).value
    torch.testing.assert_close(scaled, 3 * filled - 2)
    flipped = inpaint_harmonic(image.flip(-1), hole.flip(-1), order=order, stop=EXACT).value
    torch.testing.assert_close(flipped.flip(-1), filled)


# batch


@pytest.mark.parametrize("order", [1, 2])
def test_alone_is_together_and_nothing_is_edited(order):
    image, hole = scene(b=3)
    hole[1] = False
    before = image.clone()
    together = inpaint_harmonic(image, hole, order=order)
    for i in range(3):
        alone = inpaint_harmonic(image[i : i + 1], hole[i : i + 1], order=order)
        torch.testing.assert_close(alone.value[0], together.value[i])
        assert alone.iterations[0] == together.iterations[i]
    assert torch.equal(image, before)


def test_alone_is_together_where_the_holes_have_other_places():
    image, hole = torch.rand(3, 1, 70, 90), scattered().repeat(3, 1, 1, 1)
    hole[1] = False
    hole[1, :, 36:39, 54:58] = True
    hole[2] = hole[2].flip(-1)
    together = inpaint_harmonic(image, hole, order=2)
    for i in range(3):
        alone = inpaint_harmonic(image[i : i + 1], hole[i : i + 1], order=2)
        assert torch.equal(alone.value[0], together.value[i]) and alone.iterations[0] == together.iterations[i]


# gradient


@pytest.mark.parametrize("order", [1, 2])
def test_gradient(order, monkeypatch):
    monkeypatch.setattr(harmonic, "BLOCK", 2)  # several regions
    image, hole = scene(4, 5, b=2, c=1, dtype=torch.float64)
    image.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda u: inpaint_harmonic(u, hole, order=order, stop=EXACT).value, image, fast_mode=True
    )


# reference


def test_harmonic_is_the_sparse_direct_solution():
    image, hole = scene(b=1, c=1, dtype=torch.float64)
    h, w = image.shape[-2:]
    rows, columns = (sparse.diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(n, n)).tolil() for n in (h, w))
    for line in (rows, columns):
        line[0, 0] = line[-1, -1] = -1
    matrix = sparse.kronsum(columns, rows).tocsr()
    missing = hole.flatten().numpy()
    expected = image.flatten().numpy().copy()
    expected[missing] = spsolve(matrix[missing][:, missing], -matrix[missing][:, ~missing] @ expected[~missing])
    found = inpaint_harmonic(image, hole, stop=EXACT).value.flatten().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_biharmonic_is_scikit_images_away_from_the_border():
    image, hole = scene(b=1, c=1, dtype=torch.float64)
    hole[..., :4, :] = hole[..., -4:, :] = hole[..., :4] = hole[..., -4:] = False
    expected = inpaint_biharmonic(image[0, 0].numpy(), hole[0, 0].numpy())
    found = inpaint_harmonic(image, hole, order=2, stop=EXACT).value[0, 0]
    inside = (image.amin() <= found) & (found <= image.amax())  # scikit-image clips there
    torch.testing.assert_close(found[inside], torch.from_numpy(expected)[inside])


# errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": 3}, "order"),
        ({"hole": torch.ones(2, 1, 24, 31, dtype=torch.bool)}, "hole: covers a whole image"),
        ({"hole": torch.zeros(2, 1, 24, 30, dtype=torch.bool)}, "hole: expected a bool mask"),
        ({"image": torch.full((2, 2, 24, 31), torch.nan)}, "image: some pixels are NaN"),
        ({"image": torch.zeros(0, 2, 24, 31), "hole": torch.zeros(0, 1, 24, 31, dtype=torch.bool)}, "image"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    image, hole = scene()
    with pytest.raises(ValueError, match=message):
        inpaint_harmonic(**{"image": image, "hole": hole, **change})
