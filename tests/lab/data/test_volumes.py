"""Volumes and films as files."""

import numpy as np
import pytest
import tifffile
import torch

from tavtorch.lab.data.files import Picture, read_picture, write_picture
from tavtorch.lab.data.folder import Files
from tavtorch.lab.data.raster_files import About
from tavtorch.lab.data.volumes import read_volume, volumes
from tavtorch.lab.kinds.pictures import write_image


@pytest.fixture
def stack():
    return np.random.default_rng(0).integers(0, 65536, (12, 9, 7), np.uint16)


def slices(folder, count=12, size=(9, 7), suffix=".png"):
    for k in range(1, count + 1):
        write_picture(folder / f"slice_{k}{suffix}", Picture(torch.full((1, *size), k / 255), levels=255))


def processed(path, out, suffix=None):
    """What a run does with an op that changes nothing."""
    files = Files(path, volumes())
    places = []
    for item in (files[i] for i in range(len(files))):
        assert "error" not in item, item
        batch = {key: [value] for key, value in item.items() if key != "inputs"}
        places.append(write_image(out / item["name"], item["inputs"]["image"], batch, suffix=suffix))
    return places


@pytest.mark.parametrize(
    "given", [{}, {"imagej": True, "metadata": {"axes": "ZYX"}}, {"photometric": "minisblack", "compression": "zlib"}]
)
def test_a_tiff_of_several_pages_is_a_volume_and_comes_back(tmp_path, stack, given):
    tifffile.imwrite(tmp_path / "a.tif", stack, **given)
    item = read_volume(tmp_path / "a.tif")
    torch.testing.assert_close(item["inputs"]["image"][0, 0], torch.from_numpy(stack.astype(np.float32) / 65535))
    (place,) = processed(tmp_path / "a.tif", tmp_path / "out")
    assert place == tmp_path / "out/a.tif"
    assert np.array_equal(tifffile.imread(place), stack) and tifffile.imread(place).dtype == np.uint16


def test_what_imagej_says_of_the_voxels_is_kept(tmp_path, stack):
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"spacing": 2.5, "unit": "um", "axes": "ZYX"})
    (place,) = processed(tmp_path / "a.tif", tmp_path / "out")
    with tifffile.TiffFile(place) as file:
        assert (file.imagej_metadata["spacing"], file.imagej_metadata["unit"]) == (2.5, "um")


def test_colours_and_opacity_of_pages(tmp_path):
    pages = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 4), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="rgb", extrasamples=["unassalpha"])
    item = read_volume(tmp_path / "a.tif")
    assert item["inputs"]["image"].shape == (1, 3, 3, 5, 4)
    (place,) = processed(tmp_path / "a.tif", tmp_path / "out")
    assert np.array_equal(tifffile.imread(place), pages)


def test_the_pictures_of_a_folder_are_slices_in_the_order_of_their_numbers(tmp_path):
    slices(tmp_path / "scan")
    files = Files(tmp_path / "scan", volumes())
    assert len(files) == 1 and files[0]["name"] == "scan" and len(files[0]["sources"]) == 12
    assert (files[0]["inputs"]["image"][0, 0, :, 0, 0] * 255).round().tolist() == list(range(1, 13))
    (place,) = processed(tmp_path / "scan", tmp_path / "out")
    assert sorted(one.name for one in place.iterdir()) == sorted(f"slice_{k}.png" for k in range(1, 13))
    assert read_picture(place / "slice_10.png").image.mul(255).round().eq(10).all()


def test_volumes_below_a_folder_each_have_a_place(tmp_path, stack):
    for name in ("a/x.1", "a/x.2"):
        slices(tmp_path / name, 2)
    tifffile.imwrite(tmp_path / "a/x.1/stack.tif", stack)
    places = processed(tmp_path / "a", tmp_path / "out")
    assert sorted(place.relative_to(tmp_path / "out").as_posix() for place in places) == ["x.1", "x.1/stack.tif", "x.2"]


def test_another_format(tmp_path, stack):
    tifffile.imwrite(tmp_path / "a.tif", stack)
    slices(tmp_path / "scan", 2)
    (numbered,) = processed(tmp_path / "a.tif", tmp_path / "out", ".png")
    assert sorted(one.name for one in numbered.iterdir())[:2] == ["01.png", "02.png"]
    (changed,) = processed(tmp_path / "scan", tmp_path / "out", ".tif")
    assert sorted(one.name for one in changed.iterdir()) == ["slice_1.tif", "slice_2.tif"]


def test_numbers_that_stand_for_themselves(tmp_path):
    given = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32) * 1000
    tifffile.imwrite(tmp_path / "a.tif", given, photometric="minisblack")
    (place,) = processed(tmp_path / "a.tif", tmp_path / "out")
    assert np.array_equal(tifffile.imread(place), given)


# what is no volume


def test_a_stack_is_no_picture_and_the_message_says_what_to_do(tmp_path, stack):
    tifffile.imwrite(tmp_path / "a.tif", stack)
    with pytest.raises(ValueError, match=r"it holds 12 pages; .* say media=volume"):
        read_picture(tmp_path / "a.tif")


def test_slices_that_differ_are_named(tmp_path):
    slices(tmp_path, 3)
    slices(tmp_path, 1, size=(9, 8))
    with pytest.raises(ValueError, match=r"slice_2.png: 7 × 9 pixels, 1 channels, 8 bits; the first slice has 8 × 9"):
        read_volume(tmp_path)


def test_pages_along_two_axes_are_refused(tmp_path, stack):
    tifffile.imwrite(tmp_path / "a.tif", stack.reshape(3, 4, 9, 7), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(ValueError, match="its pages are 3 T × 4 Z × 9 Y × 7 X; save one channel"):
        read_volume(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "c.tif", stack[:2], imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(ValueError, match="its pages are 2 C × 9 Y × 7 X; save one channel"):
        read_volume(tmp_path / "c.tif")


def test_some_slices_of_a_folder_are_refused(tmp_path):
    slices(tmp_path, 3)
    with pytest.raises(ValueError, match=r"data.root: .* has more pictures than those given, such as slice_3.png"):
        Files([tmp_path / "slice_1.png", tmp_path / "slice_2.png"], volumes())


def test_a_stack_that_is_cut_short_is_an_item_with_an_error(tmp_path, stack):
    tifffile.imwrite(tmp_path / "a.tif", stack)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(data[: len(data) // 2])
    files = Files(tmp_path / "b.tif", volumes())
    assert "b.tif" in files[0]["error"]


def test_a_result_outside_of_what_the_format_holds_leaves_no_folder(tmp_path):
    slices(tmp_path / "scan", 2)
    file = read_volume(tmp_path / "scan")["file"]
    file["slices"] = [one._replace(levels=None, about=About()) for one in file["slices"]]
    with pytest.raises(ValueError, match=r"write .tif"):
        write_image(tmp_path / "out", torch.full((1, 1, 2, 9, 7), 7.0), {"file": [file]})
    assert not (tmp_path / "out").exists()
