import pytest
import torch

from tavtorch import RidgeModel, Solution
from tavtorch.lab.kinds.ridge import certificate, error, learned, tiles


def test_the_error_is_a_root_mean_square_an_item():
    truth, one = torch.rand(2, 1, 8, 8), torch.ones(2)
    away = torch.tensor([0.1, 0.02]).reshape(2, 1, 1, 1)
    torch.testing.assert_close(
        error(Solution(truth + away, one, one, one > 0), truth), away.flatten(), rtol=1e-2, atol=0
    )


def test_the_error_has_a_slope_where_there_is_none():
    value = torch.zeros(1, 1, 4, 4, requires_grad=True)
    error(Solution(value, *3 * [torch.ones(1)]), torch.zeros(1, 1, 4, 4)).sum().backward()
    assert value.grad.isfinite().all()


def test_filters_stand_side_by_side():
    shown = tiles(torch.tensor([-1.0, 0.0, 3.0]).reshape(1, 1, 1, 3).expand(5, 1, 3, 3), enlarged=2)
    assert shown.shape == (1, 2 * 10, 3 * 10)
    torch.testing.assert_close(shown[0, 3, 2:8:2], torch.tensor([0.5 - 0.5 / 3, 0.5, 1.0]))
    assert (shown[0, 10:, 20:] == 1).all()  # the place of the sixth


@pytest.mark.parametrize("sigma", [{}, {"sigma": 0.1}, {"sigma": torch.full((1, 1, 12, 99), 0.1)}])
def test_the_certificate_of_a_part_of_a_picture(sigma):
    batch = {"inputs": {"image": 0.1 * torch.randn(1, 1, 12, 99), **sigma}}
    assert certificate(RidgeModel(axis=1, diagonal=0, size=3), batch, (1, 3)).picture


def test_a_page_shows_result_filters_penalties_and_certificate():
    model = RidgeModel(axis=2, diagonal=1, size=3)
    truth = torch.rand(1, 1, 20, 24)
    batch = {"inputs": {"image": truth + 0.1 * torch.randn_like(truth), "sigma": torch.tensor([0.1])}, "truth": truth}
    panels = learned(model(**batch["inputs"]), batch, model=model)
    assert [panel.caption for panel in panels][-3:] == [
        "the 8 filters, each to its own contrast",
        "the slopes of the penalties, scaled for each filter",
        "how far the minimiser is, on the middle of the picture",
    ]
    assert all(panel.picture.startswith("data:image/webp") for panel in panels)
