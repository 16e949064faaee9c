"""Contours that start from a file."""

import pytest
import torch

from tavtorch.lab.data.files import Picture, write_picture
from tavtorch.lab.data.media import with_circle


@pytest.fixture
def photo(tmp_path):
    write_picture(tmp_path / "x.png", Picture(torch.rand(1, 20, 30)))
    return tmp_path / "x.png"


def test_contours_come_from_a_file(photo, tmp_path):
    (tmp_path / "start.csv").write_text("x,y\n1,2\n5,2\n5,6\n10,8\n12,8\n12,9.5\n")
    points = with_circle(n=3, start=str(tmp_path / "start.csv")).read(photo)["inputs"]["points"]
    assert points.shape == (1, 2, 3, 2) and points[0, 1].tolist() == [[10, 8], [12, 8], [12, 9.5]]


@pytest.mark.parametrize("text", ["x,y\n1,2\n5,2\n", "x,y\na,b\n", "", None])
def test_another_file_is_told(photo, tmp_path, text):
    if text is not None:
        (tmp_path / "start.csv").write_text(text)
    with pytest.raises(ValueError, match=r"media.start: .*start.csv has no contours of media.n=3 points each"):
        with_circle(n=3, start=str(tmp_path / "start.csv")).read(photo)
