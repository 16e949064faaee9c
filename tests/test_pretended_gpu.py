"""What a GPU would meet, counted and rounded on one that is none: see `pretend`.

The budgets of launches and waits are what was counted when they were written, with a tenth more; each is there so that
a copy from the host, or a wait in a loop, cannot come back.
"""

import pretend
import pytest
import torch
from pretend import ACCOUNT

import tavtorch
from tavtorch import Stop
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


OPS = {
    "fingerprint": (hashes, (1, 1, 44100)),
    "nmf": (templates, (1, 64, 100)),
    "patches": (filled, (1, 3, 32, 32)),
    "evolve": (evolved, (1, 1, 32, 32)),
    "shrink": (lambda image: tavtorch.image.splitting.shrink(image, threshold=0.1), (1, 1, 32, 32)),
    "noise_level": (tavtorch.image.restoration.noise_level, (1, 1, 32, 32)),
    "ridge": (lambda image: tavtorch.ridge(image, 0.1).value, (1, 1, 32, 32)),
    "ssim": (lambda image: ssim(image, image), (1, 1, 32, 32)),
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


# launches and waits


def no_end(steps):
    return Stop(0, steps)


def factors(sonogram, beta):
    return tavtorch.nmf(sonogram, 4, beta=beta, stop=no_end(40))


BUDGETS = {  # the op, steps, launches a step, waits in all
    "rof": (lambda x: tavtorch.rof(x, 0.1, stop=no_end(40)), 40, 66, 9),
    "inpaint_tv": (lambda x: tavtorch.inpaint_tv(x, x > 0.9, stop=no_end(40)), 40, 70, 10),
    "split_hilbert": (lambda x: tavtorch.split_hilbert(x, 0.1, stop=no_end(40)), 40, 108, 10),
    "split_meyer": (lambda x: tavtorch.split_meyer(x, 0.1, stop=no_end(40)), 40, 175, 9),
    "gvf_force": (lambda x: tavtorch.gvf_force(x, 0.1, stop=Stop(0, 5, 1)), 5, 545, 12),
    "sure_weight": (lambda x: tavtorch.sure_weight(x, 0.1), 1, 16400, 48),
    "evolve": (lambda x: evolved(x, 40), 40, 24, 26),
    "nmf": (lambda x: factors(x[0], 1.0), 40, 74, 8),
    "nmf of squares": (lambda x: factors(x[0], 2.0), 40, 146, 8),
    "ridge": (lambda x: tavtorch.ridge(x, 0.1, stop=no_end(20)), 20, 176, 29),
    "inpaint_patches": (lambda x: filled(x[..., :32, :32]), 1, 5100, 112),
}


@pytest.mark.parametrize("name", BUDGETS)
def test_an_op_keeps_its_budget(gpu, name):
    op, steps, launches, waits = BUDGETS[name]
    x = photo(1, 1, 64, 64).to(gpu)
    op(x)  # what is made once is made
    ACCOUNT.clear()
    op(x)
    assert ACCOUNT.launches.total() <= launches * steps, ACCOUNT.launches.most_common()
    assert ACCOUNT.waits.total() <= waits, ACCOUNT.waits


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
