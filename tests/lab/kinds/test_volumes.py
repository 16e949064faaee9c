import torch

from tavtorch import rof
from tavtorch.lab.data.films import crossed
from tavtorch.lab.kinds.pictures import restoration as of_pictures
from tavtorch.lab.kinds.volumes import middle, restoration


def batch():
    truth = torch.cat([crossed(torch.rand(1, 1, 16, 16), 5) for _ in range(2)])
    return {"inputs": {"image": truth + 0.1 * torch.randn(truth.shape)}, "truth": truth}


def test_a_film_of_one_frame_scores_as_its_picture():
    film = batch()
    picture = {"inputs": {"image": film["inputs"]["image"][:, :, 2]}, "truth": film["truth"][:, :, 2]}
    film = {"inputs": {"image": film["inputs"]["image"][:, :, 2:3]}, "truth": film["truth"][:, :, 2:3]}
    found, expected = (restoration(rof(film["inputs"]["image"], 0.1), film), of_pictures(picture["truth"], picture))
    torch.testing.assert_close(found["input/psnr"], expected["input/psnr"])
    torch.testing.assert_close(found["input/ssim"], expected["input/ssim"])
    assert found["result/iterations"].shape == (2,)


def test_the_score_is_the_mean_of_the_frames():
    film = batch()
    alone = [
        of_pictures(
            film["truth"][:, :, k],
            {"inputs": {"image": film["inputs"]["image"][:, :, k]}, "truth": film["truth"][:, :, k]},
        )
        for k in range(5)
    ]
    mean = torch.stack([one["input/psnr"] for one in alone]).mean(0)
    torch.testing.assert_close(restoration(film["truth"], film)["input/psnr"], mean)


def test_the_page_shows_the_middle_and_a_row_over_time():
    film = batch()
    captions = [panel.caption for panel in middle(film["truth"], film)]
    assert captions[:2] == ["input", "result"] and sum("middle row" in caption for caption in captions) == 3


def test_what_crosses_a_film_is_a_disk_and_the_rest_stands_still():
    image = torch.zeros(1, 1, 60, 60)
    image[..., :30, :] = 1
    film = crossed(image, 7)
    changed = (film - image[:, :, None]).abs()[0, 0]
    areas = changed.sum((1, 2))[1:-1]  # the disk is whole where it is not at a border
    torch.testing.assert_close(areas, torch.full_like(areas, 3.1416 * 10**2), rtol=0.1, atol=0)
