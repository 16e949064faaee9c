import pytest
import torch

from tavtorch import Factors, Solution, circle, fill
from tavtorch.audio.recognition import Match
from tavtorch.audio.separation import Components
from tavtorch.image.splitting.split import Split
from tavtorch.lab.metrics import (
    Baseline,
    bss_eval,
    components,
    force,
    hausdorff,
    ideal_ratio_mask,
    iou,
    recognition,
    restoration,
    segmentation,
    separation,
    settings,
    splitting,
)

STEMS = ["vocals", "accompaniment"]


def song(estimate=None, channels=1):
    truth = torch.randn(1, 2, channels, 8000)
    batch = {"inputs": {"wave": truth.sum(1)}, "truth": truth}
    return separation(truth if estimate is None else estimate(truth), batch, stems=STEMS), truth


def test_taking_the_mixture_gains_nothing():
    scores, _ = song(lambda truth: truth.sum(1, keepdim=True).expand_as(truth))
    for stem in STEMS:
        for measure in ("si_sdr", "sdr"):
            assert scores[f"{stem}/{measure}_gain"].item() == 0
            assert scores[f"{stem}/{measure}"].item() == pytest.approx(0, abs=0.5)  # as loud as the rest


def test_a_tenth_of_the_amplitude_is_twenty_decibels():
    scores, _ = song(lambda truth: 1.1 * truth, channels=2)
    assert scores["vocals/sdr"].item() == pytest.approx(20, abs=0.01)
    assert scores["vocals/si_sdr"].item() > 60  # to which a scale is nothing


def test_the_oracle_is_between_the_mixture_and_the_truth():
    scores, _ = song()
    assert scores["vocals/si_sdr_mixture"] < scores["vocals/si_sdr_oracle"] < scores["vocals/si_sdr"]


def test_oracle_masks_share_out_the_mixture():
    truth = torch.randn(2, 3, 2, 8000)
    mixture = truth.sum(1, keepdim=True)
    torch.testing.assert_close(ideal_ratio_mask(mixture, truth).sum(1, keepdim=True), mixture)


def test_a_silent_stem_has_no_ratio():
    truth = torch.randn(1, 2, 1, 8000)
    truth[:, 0] = 0
    scores = separation(truth, {"inputs": {"wave": truth.sum(1)}, "truth": truth}, stems=STEMS)
    assert scores["vocals/sdr"].isnan()
    assert scores["accompaniment/sdr"].isfinite()


def test_songs_are_scored_one_by_one():
    truth = torch.randn(2, 2, 1, 8000)
    output = truth + torch.tensor([0.1, 1.0])[:, None, None, None] * torch.randn_like(truth)
    both = separation(output, {"inputs": {"wave": truth.sum(1)}, "truth": truth}, stems=STEMS)
    for i in range(2):
        one = {"inputs": {"wave": truth[i : i + 1].sum(1)}, "truth": truth[i : i + 1]}
        for name, values in separation(output[i : i + 1], one, stems=STEMS).items():
            torch.testing.assert_close(values, both[name][i : i + 1])


def test_bss_eval_hears_noise_at_its_level():
    truth = torch.randn(1, 2, 1, 32000)
    output = truth + 0.1 * torch.randn_like(truth)
    scores = bss_eval(output, {"truth": truth}, stems=STEMS, sample_rate=16000)
    assert scores["vocals/sdr_v4"].item() == pytest.approx(20, abs=1)
    assert set(scores) == {f"{stem}/{measure}_v4" for stem in STEMS for measure in ("sdr", "isr", "sir", "sar")}


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 256), (4096, 1024), (4096, 2048)])
def test_the_oracle_of_any_window(n_fft, hop):
    truth = torch.randn(1, 2, 1, 9001)
    estimate = ideal_ratio_mask(truth.sum(1, keepdim=True), truth, n_fft=n_fft, hop=hop)
    assert estimate.shape == truth.shape
    assert estimate.abs().max() < 10


def test_baselines_stand_beside_where_they_know_the_stems():
    truth = torch.randn(1, 2, 1, 8000)
    batch = {"inputs": {"wave": truth.sum(1), "sample_rate": 8000}, "truth": truth}
    swapped = Baseline(lambda wave, sample_rate: 1.1 * truth.flip(1), ["accompaniment", "vocals"])
    other = Baseline(lambda wave, sample_rate: truth, ["rest", "drums"])
    scores = separation(truth, batch, stems=STEMS, baselines={"simple": swapped, "other": other})
    assert scores["vocals/sdr_simple"].item() == pytest.approx(20, abs=0.01)
    assert "vocals/sdr_other" not in scores


# pictures


def test_a_tenth_off_everywhere_is_twenty_decibels():
    truth = torch.rand(2, 3, 16, 16) / 2
    batch = {"inputs": {"image": truth + 0.01}, "truth": truth}
    scores = restoration(truth + torch.tensor([0.1, 0.001]).reshape(2, 1, 1, 1), batch)
    torch.testing.assert_close(scores["result/psnr"], torch.tensor([20.0, 60.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(scores["input/psnr"], torch.tensor([40.0, 40.0]), atol=1e-3, rtol=0)
    assert scores["result/ssim"][0] < scores["result/ssim"][1] < 1


def test_what_is_out_of_range_is_cut_off_before_it_is_compared():
    truth = torch.ones(1, 1, 16, 16)
    scores = restoration(truth + 5, {"inputs": {"image": truth - 0.1}, "truth": truth})
    assert scores["result/psnr"].item() == float("inf")


def test_in_the_hole_only_the_hole_counts():
    truth, hole = torch.rand(1, 3, 16, 16) / 2, torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    hole[..., :4] = True
    result = torch.where(hole, truth + 0.1, truth + 0.3)
    scores = restoration(result, {"inputs": {"image": truth, "hole": hole}, "truth": truth})
    assert scores["result/psnr_in_hole"].item() == pytest.approx(20, abs=1e-3)


def test_a_solution_says_how_it_went():
    image, one = torch.rand(1, 1, 16, 16), torch.ones(1)
    batch = {"inputs": {"image": image}, "truth": image}
    scores = restoration(Solution(image, 7 * one, 0.5 * one, one > 2), batch)
    assert [scores[f"result/{key}"].item() for key in ("iterations", "gap", "converged")] == [7, 0.5, False]


def test_iou_is_the_mean_over_the_objects_of_an_image():
    truth = torch.zeros(2, 2, 4, 5, dtype=torch.bool)
    truth[:, :, 1:3] = True
    mask = truth.clone()
    mask[0, 1, 2], mask[1] = False, False
    assert iou(mask, truth).tolist() == [0.75, 0]
    assert iou(mask[1:], torch.zeros_like(mask[1:])).item() == 1


def test_hausdorff_distance_of_circles():
    one, other = circle((9.0, 9.0), 5.0, 400), circle((10.0, 9.0), 7.0, 300)
    assert hausdorff(one, other).item() == pytest.approx(3, abs=0.01)
    assert hausdorff(one, other) == hausdorff(other, one) and hausdorff(one, one) == 0
    assert hausdorff(one, one.roll(7, 1)).item() < 1e-5


def test_a_split_is_scored_by_its_texture():
    structure, texture = torch.rand(2, 1, 16, 16), 0.1 * torch.randn(2, 1, 16, 16)
    batch = {"inputs": {"image": structure + texture}, "truth": {"structure": structure, "texture": texture}}
    ripple = 0.1 * (-1) ** torch.arange(16)
    one = torch.ones(2)
    scores = splitting(Split(structure - ripple, texture + ripple + 0.3, Solution(None, one, one, one > 0)), batch)
    torch.testing.assert_close(scores["texture/psnr"], torch.tensor([20.0, 20.0]), atol=1e-3, rtol=0)
    assert scores["structure/iterations"].tolist() == [1, 1]
    assert splitting(Split(structure, structure), {"inputs": {}})["structure/correlation"].tolist() == pytest.approx(
        [1, 1]
    )


def test_a_segmentation_is_scored_against_its_masks():
    points = torch.stack((circle((10, 10), 5, 50)[0], circle((20, 20), 4, 50)[0]))[None]
    truth = fill(points, (32, 32))
    one = torch.ones(1, 2)
    batch = {"inputs": {"image": torch.rand(1, 1, 32, 32), "points": points + 20.0}, "truth": truth}
    scores = segmentation(Solution(points, 5 * one, one, torch.tensor([[True, False]])), batch)
    assert scores["result/iou"].tolist() == [1] and scores["start/iou"].item() < 0.1
    assert scores["result/converged"].tolist() == [0.5] and scores["result/iterations"].tolist() == [5]


def test_contours_without_a_truth_still_say_how_they_went():
    points, one = circle((10, 10), 5, 50), torch.ones(1)
    batch = {"inputs": {"image": torch.rand(1, 1, 32, 32), "points": points}, "truth": torch.rand(1, 1, 32, 32)}
    assert segmentation(Solution(points, one, one, one > 0), batch).keys() == {"result/iterations", "result/converged"}


def test_the_reach_of_a_force():
    field = torch.zeros(2, 2, 4, 4)
    field[0, 0, :2] = 1.0
    field[1] = 1.0
    assert force(field, {})["force/reach"].tolist() == [0.5, 1.0]


def test_a_song_is_named_and_accepted_or_refused():
    right, unsure, wrong = (
        Match(*m) for m in (("a", 0.0, 9, 9.0, True), ("a", 0.0, 3, 3.0, False), ("b", 0.0, 9, 9.0, True))
    )
    batch = {"noise": ["white"] * 5, "song": ["a", "a", "a", "", ""]}
    scores = recognition([[right], [unsure], [wrong], [wrong], []], batch)
    assert scores["white/recall@1"].nanmean().item() == pytest.approx(2 / 3)
    assert scores["white/recall"].nanmean().item() == pytest.approx(1 / 3)
    assert scores["white/unknown accepted"].nanmean().item() == 0.5


def factors(songs=1):
    went = Solution(
        torch.zeros(songs), torch.full((songs,), 7), torch.zeros(songs), torch.ones(songs, dtype=torch.bool)
    )
    return Factors(torch.ones(songs, 3, 2), torch.ones(songs, 2, 4), went)


def test_notes_are_scored_by_the_components_that_are_most_like_them():
    truth = torch.randn(2, 2, 1, 8000)
    batch = {"inputs": {"wave": truth.sum(1)}, "truth": truth}
    scores = components(Components(1.1 * truth.flip(1), factors(2)), batch)
    assert scores["notes/sdr"].tolist() == pytest.approx([20, 20], abs=0.01)
    assert scores["notes/redundant"].abs().max() < 1e-6 and scores["notes/iterations"].tolist() == [7, 7]
    halves = torch.cat((truth[:, :1] / 2, truth[:, :1] / 2, truth[:, 1:]), 1)
    split = components(Components(halves, factors(2)), batch)
    assert split["notes/redundant"].tolist() == pytest.approx([1 / 6, 1 / 6], abs=0.01)
    mixed = components(Components(truth.sum(1, keepdim=True), factors(2)), batch)
    assert mixed["notes/si_sdr"].abs().max() < 0.5 and mixed["notes/redundant"].abs().max() < 1e-6


def test_settings_stand_side_by_side():
    def op(wave, gain=1.0):
        return torch.stack((gain * wave, wave), 1)

    truth = torch.randn(1, 2, 1, 8000)
    batch = {"inputs": {"wave": truth[:, 0]}, "truth": truth}

    def score(output, batch):
        return {"low/level": output[:, 0].norm()[None], "low/other": output[:, 1].norm()[None]}

    told = settings(None, batch, op=op, score=score, columns={"once": {}, "twice": {"gain": 2.0}}, rows=["low/level"])
    assert list(told) == ["once/low level", "twice/low level"]
    assert told["twice/low level"] == 2 * told["once/low level"]
