import pytest
import torch

from tavtorch import Library, fingerprint, recognise
from tavtorch.audio.recognition import Match
from tavtorch.lab.kinds.music import recognised, recognition


def test_why_a_song_was_recognised():
    library, song = Library("sqlite://"), torch.randn(1, 1, 20 * 8000)
    library.add("noise", fingerprint(song, 8000))
    clip = {"wave": song[..., 5 * 8000 : 10 * 8000], "sample_rate": 8000}
    panels = recognised(recognise(**clip, library=library), {"inputs": clip}, library=library)
    assert "recognised: noise" in panels[0].caption and panels[0].sound
    assert [panel.caption for panel in panels[1:]] == [
        "peaks of the sonogram", "each with its nearest neighbours", "votes for the places in noise"
    ]  # fmt: skip
    silence = {"wave": torch.zeros(1, 1, 8000), "sample_rate": 8000}
    assert len(recognised(recognise(**silence, library=library), {"inputs": silence}, library=library)) == 3


def test_a_song_is_named_and_accepted_or_refused():
    right, unsure, wrong = (
        Match(*m) for m in (("a", 0.0, 9, 9.0, True), ("a", 0.0, 3, 3.0, False), ("b", 0.0, 9, 9.0, True))
    )
    batch = {"noise": ["white"] * 5, "song": ["a", "a", "a", "", ""]}
    scores = recognition([[right], [unsure], [wrong], [wrong], []], batch)
    assert scores["white/recall@1"].nanmean().item() == pytest.approx(2 / 3)
    assert scores["white/recall"].nanmean().item() == pytest.approx(1 / 3)
    assert scores["white/unknown accepted"].nanmean().item() == 0.5
