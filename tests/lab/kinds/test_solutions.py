import torch

from tavtorch.lab.kinds.solutions import settings


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
