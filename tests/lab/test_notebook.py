"""Pictures and players in a notebook."""

import pytest
import torch
from matplotlib.figure import Figure

from tavtorch.lab.notebook import show


def test_pictures_masks_and_figures_are_shown_with_their_captions():
    shown = show({"a < b": torch.rand(2, 3, 4, 5), "mask": torch.ones(1, 1, 4, 5, dtype=torch.bool), "plot": Figure()})
    page = shown._repr_html_()
    assert [panel.caption for panel in shown] == ["a < b", "mask", "plot"]
    assert page.count("<img") == 3 and "a &lt; b" in page and "audio" not in page


def test_waves_have_players():
    page = show({"noise": torch.randn(1, 2, 8000)}, 8000)._repr_html_()
    assert page.count("<audio controls") == 1 and "data:audio/mpeg" in page


def test_a_rate_is_for_waves():
    with pytest.raises(ValueError, match="things: a sample_rate is for waves"):
        show({"plot": Figure()}, 8000)
