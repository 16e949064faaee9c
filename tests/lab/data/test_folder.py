import pickle

import numpy as np
import pytest
import tifffile
import torch

from tavtorch.lab.data.files import Picture, write_audio, write_picture
from tavtorch.lab.data.folder import Files, Folder
from tavtorch.lab.data.media import PICTURE, RECORDING, STREAM, with_circle, with_hole
from tavtorch.lab.data.results import Results, Source
from tavtorch.lab.kinds.pictures import write_image


def fill(root, *names):
    for name in names:
        write_audio(root / name, 0.1 * torch.randn(1, 800), 8000)


def names(files):
    return [files[i]["name"] for i in range(len(files))]


def test_a_folder_with_its_sub_folders(tmp_path):
    fill(tmp_path, "b.wav", "a.flac", "live/b.wav")
    (tmp_path / "notes.txt").touch()
    assert names(Files(tmp_path, RECORDING)) == ["a", "b", "live/b"]


def test_one_file(tmp_path):
    fill(tmp_path, "a.wav", "b.wav")
    item = Files(tmp_path / "b.wav", RECORDING)[0]
    assert item["name"] == "b"
    assert item["inputs"]["wave"].shape == (1, 1, 800)
    assert item["inputs"]["sample_rate"] == 8000


def test_done_ones_are_left_out_and_told(tmp_path, caplog):
    fill(tmp_path, "in/a.wav", "in/b.wav", "in/c.wav")
    (tmp_path / "in/notes.txt").touch()
    results = Results(tmp_path / "out")
    for name in ("a", "b"):
        (tmp_path / "out" / name).mkdir(parents=True)
        results.add(name, [Source.of(tmp_path / f"in/{name}.wav")], tmp_path / "out" / name, converged=name != "b")
    for overwrite, expected in {False: ["c"], True: ["a", "b", "c"]}.items():
        folder = Folder(str(tmp_path / "in"), RECORDING, results=str(tmp_path / "out"), overwrite=overwrite)
        with caplog.at_level("INFO", "tavtorch"):
            folder.setup("predict")
        assert names(folder.files) == expected
    assert "2 have their result in" in caplog.text
    assert "of these did not converge: b" in caplog.text
    assert "left out, as no recording: 1 .txt" in caplog.text


def test_several_paths(tmp_path):
    fill(tmp_path, "x/a.wav", "y/a.wav")
    folder = Folder([str(tmp_path / "x"), str(tmp_path / "y/a.wav")], RECORDING)
    folder.setup("predict")
    assert names(folder.files) == ["x/a", "y/a"]


def test_a_bad_file_is_an_item_with_an_error(tmp_path):
    fill(tmp_path, "a.wav")
    (tmp_path / "b.wav").write_text("la la la")
    assert "b.wav: not a recording" in Files(tmp_path, RECORDING)[1]["error"]


def test_pictures_of_one_size_go_together(tmp_path):
    for name, size in {"a.png": (4, 5), "b.jpg": (4, 5), "c.png": (3, 3), "d.png": (4, 5)}.items():
        write_picture(tmp_path / name, Picture(torch.rand(3, *size)))
    (tmp_path / "e.png").write_text("no picture")
    folder = Folder(str(tmp_path), PICTURE, batch_size=2)
    folder.setup("predict")
    batches = list(folder.predict_dataloader())
    assert [batch.get("name", []) for batch in batches] == [["a", "b"], ["d"], ["c"], []]
    assert batches[0]["inputs"]["image"].shape == (2, 3, 4, 5)
    assert [file["suffix"] for file in batches[0]["file"]] == [".png", ".jpg"]
    assert "e.png: not a picture" in batches[3]["errors"]["e"]


def test_a_hole_is_transparent_or_painted_or_in_a_mask(tmp_path):
    hole = torch.zeros(1, 4, 5)
    hole[:, 1:3, 2] = 1
    yellow = torch.tensor([1.0, 1.0, 0.0])[:, None, None]
    write_picture(tmp_path / "clear.png", Picture(torch.rand(3, 4, 5), 1 - hole))
    write_picture(tmp_path / "painted.png", Picture(torch.where(hole > 0, yellow, 0.5 * torch.rand(3, 4, 5))))
    write_picture(tmp_path / "masks/painted.png", Picture(hole))
    for name, media in {
        "clear": with_hole(),
        "painted": with_hole(color=[1, 1, 0], tolerance=0.05),
        "painted.png": with_hole(holes=str(tmp_path / "masks")),
        "clear.png": with_hole(holes=str(tmp_path / "masks/painted.png")),
    }.items():
        item = Files((tmp_path / name).with_suffix(".png"), media)[0]
        assert torch.equal(item["inputs"]["hole"], hole[None] > 0)
        assert item["inputs"]["image"].shape == (1, 3, 4, 5)
        assert (item["file"]["alpha"] is not None) == (name == "clear.png")  # kept unless it is the hole


def test_a_mask_is_found_by_the_whole_name_of_its_picture(tmp_path):
    hole = torch.zeros(1, 4, 5)
    hole[:, 1:3, 2] = 1
    for name in ("photo [1].png", "photo.png"):
        write_picture(tmp_path / "in" / name, Picture(torch.rand(3, 4, 5)))
    write_picture(tmp_path / "masks/photo.other.png", Picture(1 - hole))
    write_picture(tmp_path / "masks/photo [1].png", Picture(hole))
    (tmp_path / "masks/photo [1].png").rename(tmp_path / "masks/photo [1].PNG")
    files = Files(tmp_path / "in", with_hole(holes=str(tmp_path / "masks")))
    assert torch.equal(files[0]["inputs"]["hole"], hole[None] > 0)
    assert "no mask of this name" in files[1]["error"]
    assert "does not exist" in Files(tmp_path / "in", with_hole(holes=str(tmp_path / "nowhere")))[0]["error"]


def holes_of(*rows):
    hole = torch.zeros(1, 4, 5)
    hole[:, list(rows)] = 1
    return Picture(hole)


def test_a_mask_is_in_the_same_sub_folder_as_its_picture(tmp_path):
    masks = tmp_path / "masks"
    for row, name in enumerate(("a", "x/a", "x/y/a")):
        write_picture(tmp_path / f"in/{name}.png", Picture(torch.rand(3, 4, 5)))
        write_picture(masks / f"{name}.png", holes_of(row))
    write_picture(tmp_path / "in/y/b.png", Picture(torch.rand(3, 4, 5)))
    write_picture(masks / "b.tif", holes_of(3))  # together, without sub-folders
    media = with_hole(holes=str(masks))
    files = Files(tmp_path / "in", media)
    rows = {item["name"]: item["inputs"]["hole"][0, 0, :, 0].nonzero().flatten().tolist() for item in files}
    assert rows == {"a": [0], "x/a": [1], "x/y/a": [2], "y/b": [3]}
    assert media.sources(tmp_path / "in/x/a.png") == [tmp_path / "in/x/a.png", masks / "x/a.png"]
    assert media.sources(tmp_path / "in/c.png") == PICTURE.sources(tmp_path / "in/c.png") == [tmp_path / "in/c.png"]
    write_picture(masks / "b.bmp", holes_of(3))
    assert "several masks" in Files(tmp_path / "in/y", media)[0]["error"]
    write_picture(masks / "b.png", holes_of(1))  # that of the picture's own format
    assert Files(tmp_path / "in/y", media)[0]["inputs"]["hole"][0, 0, 1].all()


def test_pixels_without_data_are_missing(tmp_path):
    heights = np.full((4, 5), 300, np.float32)
    heights[1, 2], heights[3] = np.nan, -9999
    tifffile.imwrite(tmp_path / "a.tif", heights)
    nowhere, nodata = (Files(tmp_path, media)[0]["inputs"] for media in (with_hole(), with_hole(color=[-9999])))
    assert nowhere["hole"].nonzero().tolist() == [[0, 0, 1, 2]] and nowhere["image"].isfinite().all()
    assert nodata["hole"].sum() == 6 and nodata["hole"][0, 0, 3].all()
    assert "NaN" in Files(tmp_path, PICTURE)[0]["error"]


def test_a_hole_is_grown_over_the_rim_that_jpeg_leaves(tmp_path):
    image = torch.full((3, 32, 32), 0.3)
    image[:, 10:20, 10:20] = torch.tensor([1.0, 1.0, 0.0])[:, None, None]
    write_picture(tmp_path / "a.jpg", Picture(image))
    exact, grown = (Files(tmp_path, with_hole(color=[1, 1, 0], grow=k))[0]["inputs"]["hole"] for k in (0, 2))
    assert exact.sum() <= 100 and grown[..., 9:21, 9:21].all() and grown.sum() <= 14**2
    with pytest.raises(ValueError, match="media.grow: expected a whole number of pixels >= 0, got -1"):
        with_hole(grow=-1)


@pytest.mark.parametrize("media", [PICTURE, RECORDING, STREAM, with_circle(), with_hole(color=[1, 1, 0])])
def test_workers_get_a_copy(media):
    assert pickle.loads(pickle.dumps(media)).suffixes == media.suffixes


def test_what_a_picture_tells_beside_its_pixels_comes_back(tmp_path):
    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "a person")
    Image.new("RGB", (6, 5), (10, 200, 30)).save(tmp_path / "a.png", dpi=(300, 300), pnginfo=text)
    item = Files(tmp_path / "a.png", PICTURE)[0]
    write_image(tmp_path / "out/a", item["inputs"]["image"], {"file": [item["file"]], "errors": {}})
    with Image.open(tmp_path / "out/a.png") as written:
        assert written.text == {"Author": "a person"}
        assert round(written.info["dpi"][0]) == 300


def test_a_picture_whose_hole_nobody_told(tmp_path):
    write_picture(tmp_path / "a.png", Picture(torch.rand(3, 4, 5)))
    write_picture(tmp_path / "masks/b.png", Picture(torch.rand(1, 4, 5)))
    write_picture(tmp_path / "mask.png", Picture(torch.ones(1, 4, 4)))
    assert "no pixel is transparent" in Files(tmp_path / "a.png", with_hole())[0]["error"]
    write_picture(tmp_path / "opaque.png", Picture(torch.rand(3, 4, 5), torch.ones(1, 4, 5)))
    assert "no pixel is transparent" in Files(tmp_path / "opaque.png", with_hole())[0]["error"]
    assert "no pixel has the colour" in Files(tmp_path / "a.png", with_hole(color=[2, 0, 0]))[0]["error"]
    assert "no mask of this name" in Files(tmp_path / "a.png", with_hole(holes=str(tmp_path / "masks")))[0]["error"]
    assert "another size" in Files(tmp_path / "a.png", with_hole(holes=str(tmp_path / "mask.png")))[0]["error"]


# errors


def test_the_place_of_another_file_is_an_item_with_an_error(tmp_path):
    fill(tmp_path, "x/a.wav", "x/b.wav", "y/a.wav", "y/c.wav")
    (tmp_path / "out/a").mkdir(parents=True)
    Results(tmp_path / "out").add("a", [Source.of(tmp_path / "x/a.wav")], tmp_path / "out/a")
    files = Files(tmp_path / "y", RECORDING, Results(tmp_path / "out"))
    assert "is the result of" in files[0]["error"]
    assert "error" not in files[1]


def test_inputs_among_the_results(tmp_path):
    fill(tmp_path, "a.wav")
    with pytest.raises(ValueError, match="a.wav lies in .*, where this run writes its results"):
        Folder(str(tmp_path), RECORDING, results=str(tmp_path), overwrite=True).setup("predict")


def test_a_folder_that_may_not_be_read_is_an_item_with_an_error(tmp_path, unreadable):
    fill(tmp_path, "a.wav", "secret/b.wav")
    unreadable("secret")
    files = Files(tmp_path, RECORDING)
    assert "error" not in files[0]
    assert "secret: this folder may not be read" in files[1]["error"]


def test_no_such_folder(tmp_path):
    with pytest.raises(ValueError, match="data.root.*does not exist"):
        Files(tmp_path / "nowhere", RECORDING)


def test_no_recording_in_it(tmp_path):
    with pytest.raises(ValueError, match="data.root: no recording"):
        Files(tmp_path, RECORDING)


def test_a_folder_has_no_truth(tmp_path):
    with pytest.raises(ValueError, match="run=predict"):
        Folder(str(tmp_path), RECORDING).setup("test")
