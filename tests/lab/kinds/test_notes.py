import pytest
import torch

from tavtorch import Factors, Solution, Stop, separate_components
from tavtorch.audio.separation import Components
from tavtorch.lab.kinds.notes import components, components_panels


def factors(songs=1):
    went = Solution(
        torch.zeros(songs), torch.full((songs,), 7), torch.zeros(songs), torch.ones(songs, dtype=torch.bool)
    )
    return Factors(torch.ones(songs, 3, 2), torch.ones(songs, 2, 4), went)


def test_notes_are_scored_by_the_components_that_are_most_like_them():
    truth = torch.randn(2, 2, 1, 8000)
    batch = {"inputs": {"wave": truth.sum(1)}, "truth": truth}
    scores = components(Components(1.1 * truth.flip(1), factors(2)), batch)
    assert scores["notes/sdr"].tolist() == pytest.approx([20, 20], abs=0.01)
    assert scores["notes/redundant"].abs().max() < 1e-6 and scores["notes/iterations"].tolist() == [7, 7]
    halves = torch.cat((truth[:, :1] / 2, truth[:, :1] / 2, truth[:, 1:]), 1)
    split = components(Components(halves, factors(2)), batch)
    assert split["notes/redundant"].tolist() == pytest.approx([1 / 6, 1 / 6], abs=0.01)
    mixed = components(Components(truth.sum(1, keepdim=True), factors(2)), batch)
    assert mixed["notes/si_sdr"].abs().max() < 0.5 and mixed["notes/redundant"].abs().max() < 1e-6


def test_what_is_shown_of_components():
    truth = torch.stack([0.2 * torch.sin(2 * torch.pi * f * torch.arange(8000) / 8000) for f in (300, 900)])[
        None, :, None
    ]
    batch = {"inputs": {"wave": truth.sum(1), "sample_rate": 8000}, "truth": truth}
    for count, captions in ((1, {"component 1"}), (3, {"component 1", "component 2", "component 3"})):
        found = separate_components(truth.sum(1), 8000, components=count, stop=Stop(max_iter=5))
        panels = components_panels(found, batch)
        assert panels[0].caption == "the song" and panels[1].caption.startswith("dictionary and activations")
        assert {panel.caption for panel in panels[2:]} == captions | {"note 1, true", "note 2, true"}
        assert panels[1].sound is None and all(panel.sound for panel in (panels[0], *panels[2:]))
