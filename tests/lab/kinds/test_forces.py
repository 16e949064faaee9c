import torch

from tavtorch import circle, fill, gvf_force
from tavtorch.lab.kinds.forces import field, force


def test_the_reach_of_a_force():
    field = torch.zeros(2, 2, 4, 4)
    field[0, 0, :2] = 1.0
    field[1] = 1.0
    assert force(field, {})["force/reach"].tolist() == [0.5, 1.0]


def scene():
    disk = fill(circle((16, 16), 8, 64), (33, 33))
    return {"inputs": {"image": disk.float(), "points": circle((16, 16), 14, 64)}, "truth": disk}


def test_a_field_is_arrows_and_lengths():
    batch = scene()
    panels = field(gvf_force(batch["inputs"]["image"], 0.2), batch)
    assert [panel.caption for panel in panels] == ["direction of the force", "length of the force"]
    assert len(field(torch.zeros(1, 2, 33, 33), batch)) == 2  # a force that is nowhere
