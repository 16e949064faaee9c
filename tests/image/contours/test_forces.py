import inspect
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from scipy.ndimage import gaussian_filter
from scipy.sparse.linalg import spsolve
from skimage import data

from tavtorch import Stop, circle, fill, gaussian_force, gradient, gvf_force, kass_force, laplacian
from tavtorch.image.contours import edge_map, ggvf_force, vfc_force
from tavtorch.image.contours.edges import blur

FORCES = {
    "kass": kass_force,
    "gaussian": partial(gaussian_force, sigma=2.0),
    "gvf": lambda image: gvf_force(image, 0.2).value,
    "ggvf": lambda image: ggvf_force(image).value,
    "vfc": partial(vfc_force, radius=20),
}
every_force = pytest.mark.parametrize("force", FORCES.values(), ids=FORCES)


def disk(size=41, radius=10.3, **kind):
    middle = (size - 1) / 2
    return fill(circle((middle, middle), radius, 200), (size, size)).to(**kind or {"dtype": torch.float32})


def camera(h, w):
    return torch.from_numpy(data.camera()[100 : 100 + h, 150 : 150 + w] / 255).float()[None, None]


def slope_of(image):
    """Central differences of the edge map, by numpy."""
    f = np.pad(edge_map(image)[0, 0].numpy().astype(np.float64), 1, mode="edge")
    return np.stack(((f[1:-1, 2:] - f[1:-1, :-2]) / 2, (f[2:, 1:-1] - f[:-2, 1:-1]) / 2))


# truth


def test_kass_force_by_hand():
    step = torch.tensor([0.0, 0.0, 0.0, 4.0, 4.0, 4.0]).expand(1, 1, 4, 6)
    assert kass_force(step)[0, 0, 2].tolist() == [0, 2, 2, -2, -2, 0]
    assert kass_force(step)[0, 1].eq(0).all()


def test_edge_map_by_hand():
    step = torch.tensor([0.0, 0.0, 4.0, 4.0, 5.0, 5.0]).expand(1, 1, 3, 6)
    assert edge_map(step, sigma=0)[0, 0, 1].tolist() == [0, 1, 1, 0.25, 0.25, 0]
    assert edge_map(step, sigma=0, threshold=0.3)[0, 0, 1].tolist() == [0, 1, 1, 0, 0, 0]
    assert edge_map(step, sigma=0, normalize="binary")[0, 0, 1].tolist() == [0, 1, 1, 0, 1, 0]


def test_local_edges_of_weak_contrast_count_like_strong_ones():
    image = torch.zeros(1, 1, 64, 128)
    image[..., 16:48, 16:48], image[..., 16:48, 80:112] = 1.0, 0.1
    weak = [edge_map(image, normalize=kind)[0, 0, :, 64:].max().item() for kind in ("minmax", "local", "binary")]
    assert weak[0] < 0.15 and weak[1] > 0.5 and weak[2] == 1


def test_an_edge_in_any_channel_counts():
    image = torch.zeros(1, 3, 8, 8)
    image[:, 1, :, 4:] = 1
    torch.testing.assert_close(edge_map(image), edge_map(image[:, 1:2]))
    torch.testing.assert_close(kass_force(image), kass_force(image[:, 1:2]))


@every_force
def test_forces_pull_to_the_edge_of_a_disk(force, device, dtype):
    field = force(disk(device=device, dtype=dtype))
    assert field.shape == (1, 2, 41, 41) and field.dtype == dtype
    row = field[0, 0, 20]  # the edge is between columns 9 and 10, and 30 and 31
    assert row[8] > 0 > row[11] and row[29] > 0 > row[32]


def test_far_away_only_diffused_fields_pull():
    for name, force in FORCES.items():
        pull = force(disk())[0, 0, 20, 1]
        assert (pull > 1e-6) == (name in {"gvf", "ggvf", "vfc"})


@every_force
def test_a_constant_image_has_no_force(force):
    assert force(torch.full((2, 1, 9, 12), 0.7)).eq(0).all()


def test_a_constant_image_is_solved_at_once():
    found = gvf_force(torch.ones(1, 1, 9, 9), 0.2)
    assert found.converged.all() and found.iterations.item() == 0


# optimality


@pytest.mark.parametrize("smoothness", [0.02, 0.2, 1.0, 10.0])
@pytest.mark.parametrize("size", [(128, 128), (97, 64), (129, 65), (1, 40), (31, 1)])
def test_gvf_takes_a_dozen_steps(size, smoothness):
    image = camera(*size).double()  # float32 rounds the system to more than 1e-6 of its right-hand side
    found = gvf_force(image, smoothness, stop=Stop(tol=1e-6, max_iter=30, every=1))
    assert found.converged.all() and found.iterations.max() <= 12


def test_gvf_is_the_least_energy():
    image = camera(40, 50).double()
    slope = torch.from_numpy(slope_of(image))
    v = gvf_force(image, 0.3, stop=Stop(tol=1e-12, max_iter=50, every=1)).value[0]

    def energy(v):
        return 0.3 * gradient(v).square().sum() + (slope.square().sum(0) * (v - slope).square()).sum()

    least = energy(v)
    for _ in range(5):
        assert energy(v + 1e-3 * torch.randn_like(v)) > least


# symmetry


@every_force
def test_forces_turn_with_the_image(force):
    image = camera(40, 40).double()
    field, turned = force(image), force(image.rot90(1, (-2, -1)))
    expected = torch.stack((field[:, 1], -field[:, 0]), 1).rot90(1, (-2, -1))
    torch.testing.assert_close(turned, expected, rtol=1e-3, atol=1e-4 * field.abs().max().item())


@pytest.mark.parametrize("name", ["gvf", "ggvf", "vfc"])
def test_contrast_and_brightness_change_nothing_where_edges_are_normalised(name):
    image = camera(40, 40).double()
    torch.testing.assert_close(FORCES[name](5 * image - 2), FORCES[name](image), rtol=1e-3, atol=1e-6)


# batch


@every_force
def test_alone_is_together_and_nothing_is_edited(force):
    image = torch.cat((camera(40, 50), disk(50)[..., :40, :], torch.zeros(1, 1, 40, 50)))
    before = image.clone()
    together = force(image)
    for i in range(3):
        torch.testing.assert_close(force(image[i : i + 1])[0], together[i])
    assert torch.equal(image, before)


@pytest.mark.parametrize("normalize", ["minmax", "local", "binary"])
def test_edges_are_the_same_to_the_bit_in_any_batch(normalize):
    image = torch.cat((camera(90, 70), camera(90, 70).flip(-1), camera(90, 70).flip(-2)))
    together = edge_map(image, normalize=normalize)
    for i in range(3):
        assert torch.equal(edge_map(image[i : i + 1], normalize=normalize)[0], together[i])


def test_a_smoothness_each():
    image = camera(40, 50).expand(2, -1, -1, -1)
    field = gvf_force(image, torch.tensor([0.1, 1.0])).value
    torch.testing.assert_close(field[1:], gvf_force(image[:1], 1.0).value)


# precision


@every_force
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(force, half):
    image = camera(40, 50).to(half)
    field = force(image)
    assert field.dtype == half and torch.equal(field, force(image.float()).to(half))


@every_force
def test_autocast_changes_nothing(force):
    image = camera(40, 50)
    expected = force(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(force(image), expected)


# gradient


@pytest.mark.parametrize(
    "force",
    [
        kass_force,
        partial(gaussian_force, sigma=1.0),
        partial(vfc_force, radius=4),
        lambda u: ggvf_force(u, stop=Stop(1e-12, 100, 1)).value,
        lambda u: gvf_force(u, 0.2, stop=Stop(1e-12, 100, 1)).value,
    ],
)
def test_gradient_in_the_image(force):
    assert torch.autograd.gradcheck(
        force, torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True), fast_mode=True
    )


def test_gradient_in_the_smoothness():
    image = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    smoothness = torch.tensor([0.2, 0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda mu: gvf_force(image, mu, stop=Stop(1e-12, 100, 1)).value, smoothness, fast_mode=True
    )


# reference


def test_blur_is_scipys():
    image = torch.rand(1, 1, 20, 30, dtype=torch.float64)
    expected = gaussian_filter(image[0, 0].numpy(), 1.5, mode="nearest")
    torch.testing.assert_close(blur(image, 1.5)[0, 0], torch.from_numpy(expected))


def test_gvf_points_where_the_direct_solution_points():
    image = camera(96, 80)
    slope = slope_of(image)
    b = (slope**2).sum(0).ravel()
    rows, columns = (sparse.diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(n, n)).tolil() for n in (96, 80))
    for line in (rows, columns):
        line[0, 0] = line[-1, -1] = -1
    matrix = (sparse.diags(b) - 0.2 * sparse.kronsum(columns, rows)).tocsc()
    exact = np.stack([spsolve(matrix, b * component.ravel()) for component in slope])
    found = gvf_force(image, 0.2).value[0].double().numpy().reshape(2, -1)
    turned = np.arctan2(exact[0] * found[1] - exact[1] * found[0], (exact * found).sum(0))
    assert np.degrees(np.median(np.abs(turned))) < 0.1
    assert np.linalg.norm(found - exact) < 1e-3 * np.linalg.norm(exact)


def test_the_explicit_scheme_of_xu_and_prince_goes_to_the_same_field():
    image = disk(24, 6.0, dtype=torch.float64)
    slope = torch.from_numpy(slope_of(image))
    weight, v = slope.square().sum(0), slope.clone()
    solved = gvf_force(image, 0.2, stop=Stop(tol=1e-10, max_iter=50, every=1)).value[0]
    errors = []
    for steps in (80, 4000):
        for _ in range(steps):
            v = v + 0.2 * laplacian(v) - weight * (v - slope)
        errors.append(((v - solved).norm() / solved.norm()).item())
    assert errors[0] > 0.05 and errors[1] < 1e-6


# errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda u: kass_force(u * torch.nan), "image: some pixels are NaN"),
        (lambda u: gvf_force(u[:0], 0.2), "image: expected a batch"),
        (lambda u: gvf_force(u, 0.0), "smoothness: expected a number > 0"),
        (lambda u: gvf_force(u, float("nan")), "smoothness"),
        (lambda u: ggvf_force(u, contrast=0.0), "contrast"),
        (lambda u: ggvf_force(u, contrast=float("inf")), "contrast"),
        (lambda u: vfc_force(u, 0), "radius"),
        (lambda u: inspect.unwrap(vfc_force)(u, 2.5), "radius: expected a whole number"),
        (lambda u: inspect.unwrap(gaussian_force)((255 * u).byte(), 1.0), "image: expected floating point"),
        (lambda u: inspect.unwrap(gaussian_force)(u[0], 1.0), "image: expected a batch"),
        (lambda u: gvf_force(u, 0.2, edges=lambda v: v.expand(-1, 3, -1, -1)), "edges: expected"),
        (lambda u: ggvf_force(u, edges=lambda v: v[:, 0]), "edges: expected"),
        (lambda u: vfc_force(u, 4, edges=lambda v: v.expand(-1, 3, -1, -1)), "edges: expected"),
        (lambda u: gaussian_force(u, -1.0), "sigma"),
        (lambda u: edge_map(u, threshold=float("nan")), "threshold"),
        (lambda u: edge_map(u, normalize="max"), "normalize"),
    ],
)
def test_what_is_wrong_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.rand(1, 1, 8, 8))
