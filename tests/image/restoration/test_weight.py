import inspect

import pytest
import torch

from tavtorch import Stop, rof
from tavtorch.image.restoration.weight import discrepancy_weight, noise_level, sure_weight

LEVELS = torch.tensor([0.05, 0.1, 0.2], dtype=torch.float64)


def scene(dtype=torch.float64, device="cpu"):
    """A disc on a slope, clean and with three levels of noise."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    clean = (0.6 * (x.square() + y.square() < 0.4) + 0.2 * x + 0.1 * y).to(device, dtype).expand(3, 1, 64, 64)
    return clean, clean + LEVELS.to(device, dtype)[:, None, None, None] * torch.randn(3, 1, 64, 64).to(clean)


def signs():
    return torch.Generator().manual_seed(0)


# truth


def test_rof_takes_the_weight_by_itself(monkeypatch):
    calls = []

    def told(image, *, coupling, spacing, generator):
        calls.append((coupling, torch.rand(3, generator=generator).tolist()))
        assert not image.requires_grad
        return noise_level(image)

    monkeypatch.setattr("tavtorch.image.restoration.weight.sure_weight", told)
    _, noisy = scene(torch.float32)
    noisy.requires_grad_()
    for _ in range(2):
        found = rof(noisy, "sure", coupling="separate").value
    assert calls[0] == calls[1] and calls[0][0] == "separate"  # the same signs for a picture wherever it stands
    torch.testing.assert_close(found, rof(noisy, noise_level(noisy).detach(), coupling="separate").value)
    with pytest.raises(ValueError, match='weight: expected numbers, or "sure"'):
        inspect.unwrap(rof)(noisy, "abc")


def test_the_level_of_the_noise_is_found():
    clean, noisy = scene()
    torch.testing.assert_close(noise_level(noisy), LEVELS, rtol=0.06, atol=0)
    assert (noise_level(clean) < 1e-3).all()


def test_textures_and_clipped_parts_are_not_taken_for_noise():
    y, x = torch.meshgrid(torch.arange(160.0), torch.arange(160.0), indexing="ij")
    stripes = 0.5 + 0.3 * torch.sin(2 * x + y) * (x > 40)  # three quarters of it
    noisy = stripes + 0.06 * torch.randn(2, 1, 160, 160)
    torch.testing.assert_close(noise_level(noisy), torch.full((2,), 0.06), rtol=0.06, atol=0)
    framed = torch.nn.functional.pad(noisy, (50, 50, 50, 50)).clamp(0, 1)
    torch.testing.assert_close(noise_level(framed), torch.full((2,), 0.06), rtol=0.06, atol=0)


def test_the_level_of_colours_and_volumes_is_that_of_all_their_planes():
    for shape in ((1, 3, 90, 70), (1, 1, 5, 90, 70), (1, 2, 3, 70, 5)):
        assert abs(noise_level(1e3 + 0.2 * torch.randn(shape, dtype=torch.float64)).item() / 0.2 - 1) < 0.06


def test_sure_is_near_the_best_weight():
    clean, noisy = scene()

    def error(weight):
        return (rof(noisy, weight).value - clean).square().mean((1, 2, 3))

    best = torch.stack([error(ratio * LEVELS) for ratio in torch.linspace(0.4, 4, 10).tolist()]).amin(0)
    for noise in (LEVELS, None):
        found = error(sure_weight(noisy, noise, generator=signs()))
        assert (10 * (found / best).log10() < 0.25).all()  # dB; one probe on a small image


def test_discrepancy_removes_as_much_as_there_is_noise():
    noisy = scene()[1]
    weight = discrepancy_weight(noisy, LEVELS)
    removed = (rof(noisy, weight, stop=Stop(1e-4)).value - noisy).square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(removed, LEVELS, rtol=0.02, atol=0)


# symmetry


def test_weights_scale_with_the_image(device, dtype):
    noisy = scene(dtype, device)[1][..., 16:48, 16:48]
    for choose in (lambda f: sure_weight(f, generator=signs()), discrepancy_weight):
        weight, scaled = choose(torch.cat((noisy, 10 * noisy + 3))).chunk(2)
        torch.testing.assert_close(scaled, 10 * weight, rtol=0.02, atol=0)


# batch


def test_alone_is_together():
    noisy = scene()[1][..., 16:48, 16:48]
    together = discrepancy_weight(noisy)
    for i in range(3):
        torch.testing.assert_close(discrepancy_weight(noisy[i : i + 1])[0], together[i])
    four = sure_weight(noisy[1:2].expand(4, -1, -1, -1), generator=signs())
    torch.testing.assert_close(four, sure_weight(noisy[1:2], generator=signs()).expand(4))
    assert torch.equal(sure_weight(noisy, generator=signs()), sure_weight(noisy, generator=signs()))
    torch.testing.assert_close(noise_level(noisy), torch.cat([noise_level(one[None]) for one in noisy]))


# gradient


def test_the_level_has_a_gradient():
    noisy = torch.rand(2, 1, 12, 11, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(noise_level, (noisy,))
    flat = torch.full((1, 1, 9, 9), 0.3, requires_grad=True)
    noise_level(flat).backward()
    assert (flat.grad == 0).all()


# errors


@pytest.mark.parametrize(
    ("f", "noise", "message"),
    [
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), None, "image: expected floating point"),
        (torch.rand(1, 1, 1, 9), None, "image: expected 2 x 2 pixels"),
        (torch.zeros(1, 1, 9, 9), None, "image: has no noise that could be measured"),
        (torch.rand(1, 1, 9, 9), -1.0, "noise: expected a standard deviation > 0"),
        (torch.rand(1, 1, 9, 9), torch.ones(2), r"noise: .*one an image \(1,\)"),
    ],
)
def test_bad_input_is_named(f, noise, message):
    for choose in (sure_weight, discrepancy_weight):
        unchecked = getattr(choose, "__wrapped__", choose)  # without the shape checks that only the tests have
        with pytest.raises(ValueError, match=message):
            unchecked(f, noise)
