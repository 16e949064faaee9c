import torch

from tavtorch import Library, fingerprint, recognise
from tavtorch.lab.panels.music import recognised


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
