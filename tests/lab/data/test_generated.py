"""Songs to score separators on."""

import pytest
import torch

from tavtorch.lab.data.generated import loud_drums, tunes
from tavtorch.lab.data.scored import Scored
from tavtorch.lab.data.songs import Form
from tavtorch.lab.data.stems import WholeSongs
from tavtorch.lab.data.synthetic.tune import tune


def scored(stems, songs):
    data = Scored(lambda: WholeSongs(songs, Form(stems=stems, sample_rate=8000)))
    data.setup("test")
    return data


def test_drums_are_as_much_louder_as_asked():
    made = scored(["rest", "drums"], lambda **how: loud_drums(2, 3.0, seed=1, louder=6.0, **how))
    for item in made.test:
        rest, drums = item["truth"][0]
        assert 20 * (drums.norm() / rest.norm()).log10() == pytest.approx(6, abs=0.01)
        torch.testing.assert_close(item["inputs"]["wave"][0], rest + drums)
        assert item["inputs"]["wave"].abs().max() == pytest.approx(0.7, abs=0.01)


def test_a_tune_is_the_sum_of_its_notes():
    made = scored(["note_1", "note_2"], lambda **how: tunes(2, 2, 2.0, seed=1, **how))
    assert len(made.test) == 2
    for item in made.test:
        torch.testing.assert_close(item["inputs"]["wave"][0], item["truth"][0].sum(0))
        assert item["truth"].shape == (1, 2, 1, 16000)


def test_nobody_trains_on_them():
    with pytest.raises(ValueError, match="training takes data=band"):
        Scored(lambda: []).setup("fit")


def test_every_note_sounds_and_a_seed_reproduces():
    one, again, other = (tune(3, 4, 4.0, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert one.shape == (3, 4, 1, 64000) and torch.equal(one, again) and not torch.equal(one, other)
    assert (one.abs().amax(-1) > 0.05).all() and one.sum(1).abs().max() < 0.71


def test_notes_rise():
    spectra = torch.fft.rfft(tune(4, 4, 4.0, generator=torch.Generator().manual_seed(0))[:, :, 0]).abs()
    assert (spectra[..., :2500].argmax(-1).diff(dim=-1) > 0).all()  # up to 625 Hz: the fundamentals


@pytest.mark.parametrize(("songs", "notes", "seconds"), [(0, 4, 1.0), (1, 0, 1.0), (1, 4, 0.0)])
def test_nothing_to_play(songs, notes, seconds):
    with pytest.raises(ValueError, match="tune: expected songs, notes and seconds above 0"):
        tune(songs, notes, seconds)
