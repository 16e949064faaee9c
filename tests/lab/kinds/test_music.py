import math

import pytest
import torch

from tavtorch import Library, fingerprint, recognise
from tavtorch.audio.recognition import Match, Track
from tavtorch.lab.kinds.music import change_of, clock, recognised, recognition, write_answers


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
    batch = {"condition": ["white"] * 5, "song": ["a", "a", "a", "", ""]}
    scores = recognition([[right], [unsure], [wrong], [wrong], []], batch)
    assert scores["white/recall@1"].nanmean().item() == pytest.approx(2 / 3)
    assert scores["white/recall"].nanmean().item() == pytest.approx(1 / 3)
    assert scores["white/unknown accepted"].nanmean().item() == 0.5


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0:00.0"), (59.94, "0:59.9"), (59.96, "1:00.0"), (-3, "-0:03.0"), (-0.01, "0:00.0"), (83.21, "1:23.2"),
     (3599.96, "1:00:00.0"), (2 * 3600 + 62.5, "2:01:02.5"), (-3600, "-1:00:00.0"), (math.nan, "an unknown time")],
)  # fmt: skip
def test_times_as_on_a_clock(seconds, text):
    assert clock(seconds) == text


MATCH, TRACK = "name,offset,votes,score,accepted,speed,tempo,pitch", "name,start,stop,offset,score,rate"


@pytest.mark.parametrize(
    ("answers", "seconds", "lines"),
    [
        ([Match("a, b", 1.5, 9, 7.0, True)], 5, [MATCH, '"a, b",1.5,9,7.0,True,1.0,1.0,1.0']),
        ([Track("é", 0.0, 20.0, 1.5, 9.0)], 20, [TRACK, "é,0.0,20.0,1.5,9.0,1.0"]),
        ([], 5, [MATCH]),
        ([], 20, [TRACK]),
    ],
)
def test_answers_have_a_header_also_where_there_is_none(tmp_path, answers, seconds, lines):
    for inputs in ({"length": 8000 * seconds}, {"wave": torch.zeros(1, 1, 8000 * seconds)}):
        batch = {"name": ["clip"], "inputs": inputs | {"sample_rate": 8000}}
        path = write_answers(tmp_path / "a.b", [answers], batch)
        assert path == tmp_path / "a.b.csv" and path.read_text(encoding="utf-8").splitlines() == lines


def test_a_change_in_words():
    match = Match("a", 1.5, 9, 7.0, True)
    assert change_of(match) == "" and change_of(match._replace(speed=1.08)) == ", at 1.080 times the speed"
    assert change_of(match._replace(tempo=0.9, pitch=1.1)) == ", at 0.900 times the tempo, at 1.100 times the pitch"
