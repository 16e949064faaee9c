from itertools import permutations

import pytest
import torch

from tavtorch import Stop, separate_components, separate_nmf
from tavtorch.audio.separation.components import assign
from tavtorch.lab.data.synthetic.tune import tune

RATE = 16000


def tunes(count=2, seconds=4.0):
    return tune(count, 4, seconds, sample_rate=RATE, generator=torch.Generator().manual_seed(0))


def separated(wave, **options):
    return separate_components(wave, RATE, generator=torch.Generator().manual_seed(0), **options)


# truth


def test_four_notes_become_four_components_from_low_to_high():
    truth = tunes()
    stems, factors = separated(truth.sum(1), stop=Stop(tol=0.01, max_iter=300))
    assert (factors.templates.argmax(1).diff(dim=1) >= 0).all() and factors.solution.gap.shape == (2,)
    ratio = truth.square().sum((2, 3)) / (stems - truth).square().sum((2, 3))
    assert (10 * ratio.log10()).mean() > 12


def test_a_song_adds_up_and_its_clicks_are_struck():
    t = torch.arange(32000) / RATE
    tone, clicks = 0.3 * torch.sin(2 * torch.pi * 440 * t), torch.zeros(32000)
    clicks[4000::8000] = 1
    generator = torch.Generator().manual_seed(0)
    harmonic, percussive = separate_nmf((tone + clicks)[None, None], RATE, components=4, generator=generator)[0, :, 0]
    torch.testing.assert_close(harmonic + percussive, tone + clicks, atol=1e-4, rtol=0)
    assert (harmonic - tone)[4000:-4000].norm() < 0.3 * tone.norm()


@pytest.mark.parametrize(
    ("fit", "given"),
    [
        ([[9.0, 8.0], [7.0, 1.0]], [1, 0]),
        ([[5.0, 1.0, 0.0], [6.0, 2.0, 5.0]], [0, 2]),  # a component is left over
        ([[5.0, 4.0], [9.0, 1.0], [6.0, 7.0]], [0, 0, 1]),  # a note finds none left: it takes the best of all
        ([[torch.nan, torch.nan], [1.0, 3.0]], [0, 1]),  # a note that never sounds
        ([[torch.nan, torch.nan], [-1.0, -3.0], [-2.0, -9.0]], [0, 1, 0]),  # it is the one that is left over
        ([[torch.inf, 1.0], [torch.inf, -torch.inf]], [1, 0]),
    ],
)
def test_notes_are_given_components(fit, given):
    assert assign(torch.tensor([fit])).tolist() == [given]


@pytest.mark.parametrize(("notes", "components"), [(3, 5), (4, 4), (5, 3)])
def test_the_total_fit_is_the_greatest_of_all_assignments(notes, components):
    fit = torch.randn(6, notes, components)
    for item, found in zip(fit, assign(fit), strict=True):
        few, many = sorted((notes, components))
        ways = torch.tensor([*permutations(range(many), few)])
        totals = (item if notes <= components else item.mT)[torch.arange(few), ways].sum(1)
        best = item.argmax(1)  # what a left-over note takes
        if notes <= components:
            best = ways[totals.argmax()]
        else:
            best[ways[totals.argmax()]] = torch.arange(few)
        assert torch.equal(found, best)


def test_many_notes_are_assigned_at_once(device):
    order = torch.randperm(32, device=device)
    fit = torch.randn(32, 32, device=device).clamp(-0.4, 0.4)
    fit[torch.arange(32, device=device), order] += 1
    assert torch.equal(assign(fit[None])[0], order)


# symmetry


def test_components_add_up_to_any_number_of_channels():
    wave = torch.randn(1, 2, 9001)
    stems = separated(wave, components=3, stop=Stop(max_iter=3)).stems
    assert stems.shape == (1, 3, 2, 9001)
    torch.testing.assert_close(stems.sum(1), wave, atol=1e-4, rtol=0)


# batch


def test_alone_is_together_and_nothing_is_edited():
    wave = tunes().sum(1)
    before = wave.clone()
    together = separated(wave, stop=Stop(max_iter=20))
    alone = separated(wave[1:], stop=Stop(max_iter=20))
    torch.testing.assert_close(together.stems[1:], alone.stems, atol=1e-4, rtol=0)
    assert torch.equal(wave, before)


# gradient


def test_a_gradient_reaches_the_song():
    wave = tunes(1, 1.0).sum(1).requires_grad_()
    separated(wave, stop=Stop(tol=1e-3, max_iter=100)).stems[:, 0].square().sum().backward()
    assert wave.grad.isfinite().all() and wave.grad.any()


# errors


@pytest.mark.parametrize("separate", [separate_components, separate_nmf])
def test_bad_songs(separate):
    with pytest.raises(ValueError, match="wave: expected a batch"):
        separate(torch.zeros(1, 1, 0), RATE)
    with pytest.raises(ValueError, match="wave: some samples are NaN"):
        separate(torch.full((1, 1, 9000), torch.nan), RATE)
    with pytest.raises(ValueError, match="window: expected seconds"):
        separate(torch.zeros(1, 1, 9000), RATE, window=torch.inf)
    with pytest.raises(ValueError, match="components: expected 1 to the number of bins"):
        separate(torch.zeros(1, 1, 9000), RATE, components=2000)


def test_bad_power():
    with pytest.raises(ValueError, match="power: expected a number > 0"):
        separate_nmf(torch.zeros(1, 1, 9000), RATE, power=torch.inf)
