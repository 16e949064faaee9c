"""What a GPU would meet, counted and rounded on one that is none: see `pretend`.

The budgets are what was counted when they were written, with a tenth more; each is there so that a copy from the host,
a wait in a loop, or a list of temporaries cannot come back.
"""

from fractions import Fraction

import pretend
import pytest
import torch
from pretend import ACCOUNT

import tavtorch
from tavtorch import Stop
from tavtorch.audio.resampling import resampled
from tavtorch.audio.separation import median
from tavtorch.image.contours import polygons
from tavtorch.image.splitting import Split
from tavtorch.lab.kinds.pictures import ssim


@pytest.fixture
def gpu():
    with pretend.pretended_gpu() as device:
        yield device


def photo(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def tf32():
    """What CUDA's users set to be fast; convolutions are so by default."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "tf32"
    yield
    for backend, precision in zip(backends, before, strict=True):
        backend.fp32_precision = precision


# settings that must not matter


def test_the_pretended_gpu_rounds(gpu, tf32):
    x = (1 + 2**-20 * photo(1, 1, 8, 8)).to(gpu)
    assert torch.nn.functional.conv2d(x, torch.ones(1, 1, 1, 1, device=gpu)).cpu().unique().tolist() == [1.0]


def hashes(wave):
    return tavtorch.fingerprint(wave, 22050).hash


def templates(sonogram):
    return tavtorch.nmf(sonogram, 3, generator=torch.Generator().manual_seed(0), stop=Stop(0, 20)).templates


def filled(image):
    hole = torch.zeros(1, 1, 32, 32, dtype=torch.bool, device=image.device)
    hole[..., 12:20, 12:20] = True
    return tavtorch.inpaint_patches(image, hole, size=5).value


def evolved(image, steps=20):
    points = tavtorch.circle((16, 16), 8, 16, device=image.device)
    force = tavtorch.image.contours.kass_force(image)
    return tavtorch.evolve(points, force, ends="free", stop=Stop(0, steps)).value


def percussive(wave):
    generator = torch.Generator().manual_seed(0)
    return tavtorch.separate_nmf(wave, 22050, components=3, generator=generator, stop=Stop(0, 20))


OPS = {
    "fingerprint": (hashes, (1, 1, 44100)),
    "nmf": (templates, (1, 64, 100)),
    "separate_nmf": (percussive, (1, 1, 11025)),
    "patches": (filled, (1, 3, 32, 32)),
    "evolve": (evolved, (1, 1, 32, 32)),
    "shrink": (lambda image: tavtorch.image.splitting.shrink(image, threshold=0.1), (1, 1, 32, 32)),
    "median": (lambda image: tavtorch.enhance(image, split=lambda u: Split(0 * u, u)), (1, 1, 32, 32)),
    "split_hilbert": (lambda image: tavtorch.split_hilbert(image, 0.1).structure, (1, 1, 32, 32)),
    "noise_level": (tavtorch.image.restoration.noise_level, (1, 1, 32, 32)),
    "ridge": (lambda image: tavtorch.ridge(image, 0.1).value, (1, 1, 32, 32)),
    "ssim": (lambda image: ssim(image, image), (1, 1, 32, 32)),
    "resampled": (lambda wave: resampled(wave, Fraction(160, 441)), (1, 1, 4410)),
}


@pytest.mark.parametrize("name", OPS)
def test_a_card_that_rounds_changes_nothing(gpu, tf32, name):
    op, shape = OPS[name]
    assert torch.equal(op(photo(*shape).to(gpu)).cpu(), op(photo(*shape)))


@pytest.mark.parametrize("name", OPS)
def test_autocast_changes_nothing(name):
    op, shape = OPS[name]
    plain = op(photo(*shape))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(op(photo(*shape)), plain)


# launches, waits and memory


def no_end(steps):
    return Stop(0, steps)


def factors(sonogram, beta):
    return tavtorch.nmf(sonogram, 4, beta=beta, stop=no_end(40))


BUDGETS = {  # the op, steps, launches a step, waits in all, bytes of memory a pixel
    "rof": (lambda x: tavtorch.rof(x, 0.1, stop=no_end(40)), 40, 59, 9, 106),
    "inpaint_tv": (lambda x: tavtorch.inpaint_tv(x, x > 0.9, stop=no_end(40)), 40, 63, 10, 120),
    "split_hilbert": (lambda x: tavtorch.split_hilbert(x, 0.1, stop=no_end(40)), 40, 55, 10, 111),
    "split_meyer": (lambda x: tavtorch.split_meyer(x, 0.1, stop=no_end(40)), 40, 105, 9, 141),
    "gvf_force": (lambda x: tavtorch.gvf_force(x, 0.1, stop=Stop(0, 5, 1)), 5, 300, 13, 224),
    "sure_weight": (lambda x: tavtorch.sure_weight(x, 0.1), 1, 15300, 48, 128),
    "evolve": (lambda x: evolved(x, 40), 40, 24, 26, 29),
    "nmf": (lambda x: factors(x[0], 1.0), 40, 55, 8, 24),
    "nmf of squares": (lambda x: factors(x[0], 2.0), 40, 97, 8, 32),
    "ridge": (lambda x: tavtorch.ridge(x, 0.1, stop=no_end(20)), 20, 122, 29, 1933),
    "inpaint_patches": (lambda x: filled(x[..., :32, :32]), 1, 5100, 112, 930),
}


@pytest.mark.parametrize("name", BUDGETS)
def test_an_op_keeps_its_budget(gpu, name):
    op, steps, launches, waits, memory = BUDGETS[name]
    x = photo(1, 1, 64, 64).to(gpu)
    found = pretend.cost(op, x)
    assert found.launches <= launches * steps, ACCOUNT.launches.most_common()
    assert found.waits <= waits, ACCOUNT.waits
    assert found.memory <= memory * x.numel()


def test_a_long_median_fits_on_a_card(gpu):
    x = photo(1, 64, 128).to(gpu)
    ACCOUNT.clear()
    held = ACCOUNT.bytes
    median.running_median(x, 61, dim=-1)
    assert (ACCOUNT.peak - held) / x.numel() * median.PIECE["cuda"] < 2 * 2**30


def test_a_soft_mask_and_its_gradient_keep_no_pairs_of_pixels_and_edges(gpu, monkeypatch):
    monkeypatch.setattr(polygons, "PAIRS", 2**14)
    points = tavtorch.circle((40, 40), 20, 100, device=gpu).requires_grad_()
    ACCOUNT.clear()
    held = ACCOUNT.bytes
    tavtorch.image.contours.soft_fill(points, (80, 80)).sum().backward()
    assert ACCOUNT.peak - held < 120 * 80 * 80


def test_the_network_is_not_given_a_format_that_its_norms_would_undo(gpu):
    model, formats = tavtorch.UNet(channels=2, width=8).eval(), []
    model.stem.register_forward_pre_hook(
        lambda _, inputs: formats.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    wave = photo(1, 2, 8192)
    model(wave)
    model.to(gpu)(wave.to(gpu))
    assert formats == [True, False]


# devices


def test_arguments_on_two_devices_are_an_error_that_names_one(gpu):
    image, mask = photo(1, 1, 8, 8).to(gpu), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    with pytest.raises(ValueError, match=f"hole: is on cpu, and what it belongs to on {gpu}"):
        tavtorch.inpaint_tv(image, mask)
    with pytest.raises(ValueError, match="init: is on cpu"):
        tavtorch.rof(image, 0.1, init=photo(1, 1, 8, 8))
    with pytest.raises(ValueError, match=f"field: is on {gpu}"):
        tavtorch.evolve(tavtorch.circle((4, 4), 2, 8), torch.zeros(1, 2, 8, 8, device=gpu))


def test_a_generator_of_the_host_serves_a_gpu(gpu):
    noisy = photo(1, 1, 16, 16)
    on_host = tavtorch.sure_weight(noisy, 0.3, generator=torch.Generator().manual_seed(0))
    found = tavtorch.sure_weight(noisy.to(gpu), 0.3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found.cpu(), on_host)


def test_a_stream_is_fingerprinted_where_it_is_told(gpu):
    wave = photo(1, 44100) - 0.5
    marks = tavtorch.audio.recognition.fingerprint_stream(
        lambda start, count: wave[:, start : start + count], 44100, 22050, device=gpu
    )
    assert marks.hash.device == gpu
    assert torch.equal(marks.hash.cpu(), tavtorch.fingerprint(wave[None], 22050).hash)
