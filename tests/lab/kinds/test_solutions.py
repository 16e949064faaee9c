import torch

from tavtorch import Solution
from tavtorch.lab.kinds.solutions import convergence_scores, settings


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


def test_several_results_of_an_item_converge_as_the_last_of_them():
    gap = torch.tensor([[0.1, 0.3], [0.2, 0.0]])
    scores = convergence_scores(Solution(gap, torch.tensor([[3, 4], [9, 2]]), gap, gap < 0.25), "result")
    assert scores["result/iterations"].tolist() == [4, 9] and scores["result/converged"].tolist() == [False, True]
    torch.testing.assert_close(scores["result/gap"], torch.tensor([0.3, 0.2]))
