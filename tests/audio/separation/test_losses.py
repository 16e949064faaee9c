import math

import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from tavtorch.audio.separation import losses

ALL = [
    losses.magnitude_mae,
    losses.magnitude_mse,
    losses.mask_cross_entropy,
    losses.waveform_mae,
    losses.negative_si_sdr,
]


def pair(b=3, t=4000, **kind):
    truth = torch.randn(b, 2, 1, t, **kind)
    return truth + 0.3 * torch.randn_like(truth), truth


@pytest.mark.parametrize("loss", ALL)
def test_the_truth_is_the_best_answer(loss):
    estimate, truth = pair()
    assert (loss(truth, truth) < loss(estimate, truth)).all()


def test_waveform_mae_by_hand():
    truth = torch.ones(1, 2, 1, 4)
    assert losses.waveform_mae(truth + 0.5, truth).item() == 0.25  # the mixture is 2


def test_waveform_mae_does_not_hear_the_gain():
    estimate, truth = pair()
    torch.testing.assert_close(losses.waveform_mae(0.01 * estimate, 0.01 * truth), losses.waveform_mae(estimate, truth))


def test_magnitudes_do_not_hear_the_sign():
    estimate, _ = pair()
    assert losses.magnitude_mae(-estimate, estimate).max() < 1e-6
    assert losses.magnitude_mse(-estimate, estimate).max() < 1e-6


def test_cross_entropy_of_the_truth_is_its_entropy():
    truth = torch.randn(1, 1, 1, 4000).expand(1, 2, 1, 4000)
    assert losses.mask_cross_entropy(truth, truth).item() == pytest.approx(math.log(2) / 2, rel=1e-3)


@pytest.mark.parametrize("loss", ALL)
def test_alone_is_together(loss):
    estimate, truth = pair()
    torch.testing.assert_close(loss(estimate, truth)[1:2], loss(estimate[1:2], truth[1:2]))


@pytest.mark.parametrize("loss", ALL)
def test_silence_gives_finite_losses_and_gradients(loss):
    truth = torch.zeros(2, 2, 1, 4000)
    truth[0, 0] = torch.randn(1, 4000)
    estimate = truth.clone().requires_grad_()
    value = loss(estimate, truth)
    value.sum().backward()
    assert value.isfinite().all()
    assert estimate.grad.isfinite().all()


def test_si_sdr_is_that_of_torchmetrics():
    estimate, truth = pair()
    expected = -scale_invariant_signal_distortion_ratio(estimate.flatten(2), truth.flatten(2)).mean(1)
    torch.testing.assert_close(losses.negative_si_sdr(estimate, truth, floor=0.0), expected, rtol=1e-3, atol=1e-3)
