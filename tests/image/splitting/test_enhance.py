import inspect
import sys
from functools import partial

import pytest
import torch
from scipy.fft import dctn, idctn

from tavtorch import enhance, split_fourier, split_hilbert
from tavtorch.image.splitting import shrink
from tavtorch.image.splitting.enhance import median
from tavtorch.image.splitting.split import Split

SPLIT = partial(split_fourier, cutoff=0.1)


# truth


def test_the_filtered_texture_is_added_to_the_structure():
    image = torch.rand(2, 3, 9, 8)
    parts = SPLIT(image)
    found = enhance(image, split=SPLIT, texture_filter=lambda texture: 2 * texture, gain=1.5)
    torch.testing.assert_close(found, parts.structure + 3 * parts.texture)


def test_nothing_is_lost_where_nothing_is_filtered():
    image = torch.rand(1, 1, 9, 8)
    torch.testing.assert_close(enhance(image, split=SPLIT, texture_filter=lambda texture: texture), image)


def test_the_default_filter_is_the_median_of_nine():
    image = torch.rand(1, 2, 7, 6)
    found = enhance(image, split=lambda image: Split(0 * image, image))
    expected = image[..., 1:4, 2:5].flatten(2).median(2).values
    torch.testing.assert_close(found[..., 2, 3], expected)


def test_shrinking_by_nothing_changes_nothing(dtype, device):
    image = torch.rand(2, 3, 17, 11, dtype=dtype, device=device)
    torch.testing.assert_close(shrink(image, threshold=0.0), image, atol=32 * torch.finfo(dtype).eps, rtol=0)


def test_a_wave_of_the_transform_stays_and_weak_noise_goes():
    """Inside, far from the border, every window holds one strong coefficient or a few."""
    x = torch.arange(64.0)
    wave = torch.cos(2 * torch.pi * x / 8).expand(1, 1, 64, 64)
    noise = 0.05 * torch.randn(1, 1, 64, 64)
    found = shrink(wave + noise, threshold=0.15)
    inside = (..., slice(8, -8), slice(8, -8))
    assert (found - wave)[inside].std() < 0.5 * noise.std()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 1)])
def test_images_one_pixel_wide(size):
    assert shrink(torch.rand(1, 1, *size), threshold=0.1).shape == (1, 1, *size)


@pytest.mark.parametrize("shape", [(2, 3, 40, 37), (5, 1, 16, 16), (1, 1, 3, 50)])
def test_tile_by_tile_is_the_same(shape, monkeypatch):
    image, module = torch.rand(shape), sys.modules[shrink.__module__]
    whole, cut, sizes = shrink(image, threshold=0.2), module._shrunk, []
    monkeypatch.setattr(module, "_shrunk", lambda part, *rest: sizes.append(part.numel()) or cut(part, *rest))
    monkeypatch.setattr(module, "TILE", 16)
    torch.testing.assert_close(shrink(image, threshold=0.2), whole, atol=32 * torch.finfo(whole.dtype).eps, rtol=0)
    assert max(sizes) <= (16 + 14) ** 2  # times 64: what is worked on at once


# what it is for


def test_it_takes_more_noise_away_than_the_median():
    x = torch.linspace(0, 1, 64)
    clean = ((x[:, None] + x > 1) * 0.5 + 0.1 * torch.sin(40 * x)).expand(1, 1, 64, 64)
    noisy = clean + 0.1 * torch.randn(1, 1, 64, 64)
    split = partial(split_hilbert, weight=1.6)
    errors = [
        (enhance(noisy, split=split, texture_filter=texture_filter) - clean).norm()
        for texture_filter in (partial(shrink, threshold=0.27), median, lambda texture: texture)
    ]
    assert errors[0] < 0.8 * errors[1] and errors[1] < errors[2]


# batch, gradient


def test_alone_is_together():
    image = torch.rand(3, 1, 16, 12)
    together = enhance(image, split=SPLIT, texture_filter=partial(shrink, threshold=0.1))
    for i in range(3):
        alone = enhance(image[i : i + 1], split=SPLIT, texture_filter=partial(shrink, threshold=0.1))
        torch.testing.assert_close(alone[0], together[i])


def test_gradients_flow_through_what_is_kept():
    image = torch.rand(1, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda image: shrink(image, threshold=0.05, size=4), image)


# reference


def test_windows_one_by_one():
    image = torch.rand(1, 1, 9, 8, dtype=torch.float64)
    padded = torch.nn.functional.pad(image, [3] * 4, mode="replicate")[0, 0].numpy()
    total = 0 * padded
    for y in range(padded.shape[0] - 3):
        for x in range(padded.shape[1] - 3):
            window = dctn(padded[y : y + 4, x : x + 4], norm="ortho")
            total[y : y + 4, x : x + 4] += idctn(window * (abs(window) > 0.3), norm="ortho") / 16
    torch.testing.assert_close(shrink(image, threshold=0.3, size=4)[0, 0], torch.from_numpy(total[3:-3, 3:-3]))


# errors


def test_bad_input():
    with pytest.raises(ValueError, match="threshold: expected a number >= 0"):
        shrink(torch.rand(1, 1, 8, 8), threshold=-1.0)
    with pytest.raises(ValueError, match="image: expected floating point"):
        inspect.unwrap(enhance)(torch.ones(1, 1, 8, 8, dtype=torch.uint8), split=SPLIT)
