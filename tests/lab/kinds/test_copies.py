import numpy as np
import pytest
import torch

from tavtorch.image.patches import Filling, apply
from tavtorch.lab.data.files import Picture, read_picture, write_picture
from tavtorch.lab.kinds.copies import CAPTION, origins, read_sources, removed, restored, write_filled


def filled(h=5, w=8):
    """The left half copied from the right, its first pixel computed."""
    image = torch.rand(1, 3, h, w)
    sources = torch.arange(h * w).reshape(1, 1, h, w).clone()
    sources[..., : w // 2] = sources[..., w // 2 :]
    sources[..., 0, 0] = -1
    one = torch.ones(1)
    return image, Filling(apply(sources, image), one, 0 * one, one > 0, sources)


def batch(image):
    hole = torch.zeros_like(image[:, :1], dtype=torch.bool)
    file = {"suffix": ".png", "alpha": None, "levels": 255, "about": Picture(image[0]).about}
    return {"inputs": {"image": image, "hole": hole}, "truth": image, "file": [file], "errors": {}}


def test_the_page_shows_where_pixels_come_from():
    image, filling = filled()
    for show in (restored, removed):
        assert [panel.caption for panel in show(filling, batch(image))].count(CAPTION) == 1


def test_every_place_has_its_own_colour():
    _, filling = filled()
    drawn = origins(filling)
    assert drawn[:, 0, 0].eq(1).all()
    copied = drawn[:, :, :4].flatten(1)[:, 1:].T
    assert len(torch.unique(copied, dim=0)) == len(copied)
    assert drawn[0, 2, 1] == 5 / 7 and drawn[1, 2, 1] == 2 / 4  # red is x, green is y of the source


def test_the_file_of_the_sources_makes_the_result_again(tmp_path):
    image, filling = filled()
    path = write_filled(tmp_path / "a b.png", filling, batch(image), suffix=".png", sources=True)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a b.png", "a b.png.sources.npz"]
    read = read_sources(tmp_path / "a b.png.sources.npz")
    assert torch.equal(read, filling.sources) and torch.equal(apply(read, image), filling.value)
    torch.testing.assert_close(read_picture(path).image, filling.value[0], atol=1 / 255, rtol=0)
    assert np.load(tmp_path / "a b.png.sources.npz")["x"][0, :2].tolist() == [-1, 5]


def test_it_is_written_when_asked_for_only(tmp_path):
    image, filling = filled()
    write_filled(tmp_path / "a", filling, batch(image))
    assert [one.name for one in tmp_path.iterdir()] == ["a.png"]


def test_another_file_is_refused(tmp_path):
    write_picture(tmp_path / "a.png", Picture(torch.rand(3, 4, 5)))
    np.savez(tmp_path / "b.npz", z=np.zeros(3))
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04")
    for name in ("a.png", "b.npz", "c.npz", "none.npz"):
        with pytest.raises(ValueError, match="no file of sources"):
            read_sources(tmp_path / name)
