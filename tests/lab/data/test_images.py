from functools import partial

import pytest
import torch

from tavtorch.lab.data.damage import cut_out, missing, noisy, painted, surrounded, untouched, written
from tavtorch.lab.data.drawings import Drawings, scene
from tavtorch.lab.data.files import Picture, write_picture
from tavtorch.lab.data.images import bundled, grey, pictures, square
from tavtorch.lab.data.scored import Scored
from tavtorch.lab.data.synthetic.shapes import disks
from tavtorch.lab.data.synthetic.textures import grain, textured

SQUARE = [(100.5, 50.5), (300.5, 50.5), (300.5, 200.5), (100.5, 200.5)]


def items(damage, **options):
    data = pictures(damage, **options)
    data.setup("test")
    return {name: item for item in data.test_dataloader() for name in item.get("name", item["errors"])}


def test_a_picture_of_scikit_image():
    assert bundled("camera").shape == (1, 512, 512) and bundled("cat").shape == (3, 300, 451)
    assert bundled("horse").unique().tolist() == [0, 1]
    assert 0 <= bundled("coffee").min() < bundled("coffee").max() <= 1


def test_noise_is_as_told_and_the_truth_is_clean():
    item = items(partial(noisy, sigma=0.1), names=["camera"])["camera"]
    noise = item["inputs"]["image"] - item["truth"]
    assert torch.equal(item["truth"][0], bundled("camera"))
    assert noise.std().item() == pytest.approx(0.1, rel=0.01) and abs(noise.mean().item()) < 1e-3


def test_an_item_is_the_same_in_any_company():
    """Its noise is its own, also in a batch and beside other pictures."""
    options = {"names": ["coins", "cat"], "size": 64}
    alone = items(partial(noisy, sigma=0.1), **options)
    together = items(partial(noisy, sigma=0.1), batch_size=2, **options)["cat"]
    assert together["name"] == ["coins", "cat"]
    assert torch.equal(together["inputs"]["image"][1:], alone["cat"]["inputs"]["image"])
    other = items(partial(noisy, sigma=0.1), seed=1, **options)["cat"]
    assert not torch.equal(other["inputs"]["image"], alone["cat"]["inputs"]["image"])


@pytest.mark.parametrize(("color", "channels"), [(True, 3), (False, 1)])
def test_colours_are_what_was_asked_for(color, channels):
    for item in items(partial(noisy, sigma=0.1), names=["camera", "cat"], color=color).values():
        assert item["truth"].shape[1] == channels


def test_grey_is_the_luma():
    assert grey(torch.tensor([1.0, 0.5, 0.25]).reshape(1, 3, 1, 1)).item() == pytest.approx(0.299 + 0.2935 + 0.0285)


def test_square_keeps_what_is_in_the_picture():
    x = torch.linspace(0, 1, 60).expand(1, 1, 40, 60)
    small = square(x, 20)
    assert small.shape == (1, 1, 20, 20)
    assert small.mean().item() == pytest.approx(0.5, abs=1e-3)
    assert small[0, 0, 0, 0].item() == pytest.approx(x[0, 0, 0, 10].item(), abs=0.02)


@pytest.mark.parametrize(
    ("damage", "share"),
    [(partial(missing, share=0.5), 0.5), (partial(cut_out, outline=SQUARE), 0.22), (written, 0.08)],
)
def test_what_is_lost_is_black_and_the_rest_is_there(damage, share):
    item = items(damage, names=["cat"], color=True)["cat"]
    image, hole = item["inputs"]["image"], item["inputs"]["hole"]
    assert hole.shape == (1, 1, 300, 451) and hole.dtype == torch.bool
    assert hole.float().mean().item() == pytest.approx(share, abs=0.02)
    assert image[hole.expand_as(image)].eq(0).all()
    assert torch.equal(image[~hole.expand_as(image)], item["truth"][~hole.expand_as(image)])


def test_paint_tells_where_the_hole_is():
    item = items(partial(painted, outline=SQUARE), names=["cat"], color=True)["cat"]
    hole, expected = item["inputs"]["hole"], torch.zeros(300, 451, dtype=torch.bool)
    expected[51:201, 101:301] = True
    assert (hole[0, 0] ^ expected).sum() == 0
    assert item["inputs"]["image"][0, :, 100, 200].tolist() == [1, 1, 0]


def test_a_picture_may_stay_as_it_is():
    item = items(untouched, names=["camera"])["camera"]
    assert torch.equal(item["inputs"]["image"], item["truth"])


def test_an_ellipse_to_start_from():
    item = items(partial(surrounded, center=(200.0, 100.0), axes=(50.0, 20.0), n=8), names=["cat"])["cat"]
    points = item["inputs"]["points"]
    assert points.shape == (1, 8, 2)
    torch.testing.assert_close(points[0, 0], torch.tensor([250.0, 100.0]))
    assert points[..., 1].max().item() == pytest.approx(120, abs=1e-4)


def test_a_folder_of_ones_own(tmp_path):
    for name in ("b", "a"):
        write_picture(tmp_path / f"{name}.png", Picture(torch.rand(3, 20, 30)))
    (tmp_path / "c.png").write_text("no picture")
    found = items(partial(noisy, sigma=0.1), root=str(tmp_path))
    assert list(found) == ["a", "b", "c"] and found["a"]["truth"].shape == (1, 1, 20, 30)
    assert "not a picture" in found["c"]["errors"]["c"]


def test_pictures_of_one_name_in_two_folders_are_two_items(tmp_path):
    for folder in ("one", "two"):
        write_picture(tmp_path / folder / "a.png", Picture(torch.full((1, 20, 30), 0.5)))
    found = items(partial(noisy, sigma=0.1), root=str(tmp_path))
    assert list(found) == ["one/a", "two/a"]
    assert not torch.equal(found["one/a"]["inputs"]["image"], found["two/a"]["inputs"]["image"])


def made(batch_size=1, seed=0):
    make = {"disk": partial(scene, shapes=partial(disks, size=32)), "grain": partial(textured, texture=grain, size=32)}
    data = Scored(partial(Drawings, make, count=2, seed=seed), batch_size=batch_size)
    data.setup("test")
    return list(data.test_dataloader())


def test_what_is_made_is_made_anew_from_its_seed():
    items = made()
    assert [item["name"] for item in items] == [["disk 1"], ["disk 2"], ["grain 1"], ["grain 2"]]
    images = [item["inputs"]["image"] for item in items]
    assert not torch.equal(images[0], images[1])
    assert all(torch.equal(a, b["inputs"]["image"]) for a, b in zip(images, made(), strict=True))
    assert not torch.equal(images[0], made(seed=1)[0]["inputs"]["image"])
    together = made(batch_size=2)
    assert together[0]["name"] == ["disk 1", "disk 2"] and together[0]["inputs"]["points"].shape[0] == 2
    assert torch.equal(together[1]["inputs"]["image"], torch.cat(images[2:]))


# errors


def test_a_name_that_is_no_picture():
    for name in ("kamera", "binary_blobs_", "eagle"):
        errors = items(partial(noisy, sigma=0.1), names=[name])[name]["errors"]
        assert f"data.names: no picture '{name}'" in errors[name]


def test_a_size_that_a_picture_has_not():
    errors = items(partial(noisy, sigma=0.1), names=["coins"], size=400)["coins"]["errors"]
    assert "data.size: 400 is more than" in errors["coins"]


def test_pictures_with_truth_are_not_predicted_on():
    with pytest.raises(ValueError, match="data=folder"):
        pictures(partial(noisy, sigma=0.1)).setup("predict")


@pytest.mark.parametrize("side", [427, 300, 241])
def test_a_shrunk_side_is_not_rounded_down(side):
    assert square(torch.rand(1, 1, side, side + 9), 240).shape == (1, 1, 240, 240)
