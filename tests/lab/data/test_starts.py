"""Contours that start from a file, or from the blobs of the picture."""

import pytest
import torch

from tavtorch import circle, fill, segment
from tavtorch.lab.data.files import Picture, write_picture
from tavtorch.lab.data.folder import Files
from tavtorch.lab.data.media import with_blobs, with_circle


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


@pytest.fixture
def blobs(tmp_path):
    centres, radii = torch.tensor([[[20.0, 24.0], [60.0, 30.0]]]), torch.tensor([[8.0, 12.0]])
    two = fill(circle(centres, radii, 64), (56, 90)).any(1).float()
    write_picture(tmp_path / "in/two.png", Picture(two.repeat(3, 1, 1), None, 65535))
    write_picture(tmp_path / "in/one.png", Picture(fill(circle((45, 28), 10, 64), (56, 90))[0].float()))
    write_picture(tmp_path / "in/none.png", Picture(torch.full((1, 56, 90), 0.5)))
    return tmp_path / "in"


def test_contours_start_about_blobs(blobs):
    points = with_blobs(grow=1.5, n=40).read(blobs / "two.png")["inputs"]["points"]
    assert points.shape == (1, 2, 40, 2)
    middle = points[0].mean(1)
    assert middle.round().tolist() == [[20, 24], [60, 30]]
    radius = (points[0] - middle[:, None]).norm(dim=-1).mean(1)
    assert (radius / torch.tensor([12.0, 18.0]) - 1).abs().max() < 0.15


def test_a_folder_needs_no_circles_of_a_person(blobs):
    """Pictures of one size have their own number of blobs; one without any is told, and the others are done."""
    files = Files(blobs, with_blobs())
    assert len({files.batch_key(i) for i in range(3)}) == 3
    items = {item["name"]: item for item in map(files.__getitem__, range(3))}
    assert "none.png: no blob is found in it; lower media.threshold" in items["none"]["error"]
    for name, count in (("one", 1), ("two", 2)):
        found = segment(**items[name]["inputs"])
        assert found.converged.shape == (1, count) and found.converged.all()


def test_settings_of_blobs_are_checked(blobs):
    with pytest.raises(ValueError, match="media.grow: expected a number > 0, got 0"):
        with_blobs(grow=0)
    with pytest.raises(ValueError, match="media: least, most: expected radii"):
        with_blobs(least=9.0, most=3.0).read(blobs / "one.png")
