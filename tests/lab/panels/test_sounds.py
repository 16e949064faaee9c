import torch

from tavtorch import Stop, separate_components
from tavtorch.lab.panels.sounds import components_panels, sound_panel


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


def test_a_player_knows_where_its_picture_begins_and_ends():
    left, right = sound_panel("noise", torch.randn(1, 8000), 8000, 30.0).span
    assert 0 < left < 0.2 and 0.8 < right <= 1
