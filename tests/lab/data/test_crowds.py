from functools import partial

import torch

from tavtorch.lab.data.crowds import Crowds, Scenes
from tavtorch.lab.data.drawings import Drawings, scene
from tavtorch.lab.data.scored import Scored
from tavtorch.lab.data.synthetic.shapes import crowds

SMALL = partial(crowds, size=51, objects=4)


def test_a_scene_is_the_same_in_any_order_and_another_in_another_part():
    one, again, val = Scenes(SMALL, seed=1), Scenes(SMALL, seed=1), Scenes(SMALL, part="val", seed=1)
    again[0]
    assert torch.equal(one[5]["inputs"]["image"], again[5]["inputs"]["image"])
    assert not torch.equal(one[5]["truth"], one[6]["truth"]) and not torch.equal(one[5]["truth"], val[5]["truth"])
    item = one[2]
    assert item["inputs"]["image"].shape == (1, 51, 51) and item["inputs"]["points"].shape == (4, 64, 2)
    assert item["truth"].shape == (4, 51, 51)


def test_starts_and_negatives_are_drawn():
    items = [Scenes(SMALL, noise=(0.0, 0.0), start=(1.0, 1.5), negative=0.25)[i] for i in range(80)]
    bright_ground = sum(bool(item["inputs"]["image"][0][~item["truth"].any(0)].median() > 0.5) for item in items)
    assert 8 <= bright_ground <= 34
    covered = [float((item["inputs"]["points"].amax(1) - item["inputs"]["points"].amin(1)).mean()) for item in items]
    assert max(covered) > 1.25 * min(covered)


def test_cells_take_some_of_the_places():
    """In the picture of nine places the cells are smaller than in that of four."""
    size = [int(Scenes(SMALL, places=[places])[0]["truth"].sum()) for places in (None, 4, 9)]
    assert size[0] == size[1] and 0.3 < size[2] / size[0] < 0.6
    items = [Scenes(SMALL, places=[4, 9])[i]["truth"].sum() for i in range(40)]
    assert 8 <= sum(int(area) < 0.7 * size[0] for area in items) <= 32


def module(**options):
    drawings = partial(Drawings, {"crowd": partial(scene, shapes=SMALL)}, count=3)
    return Crowds(partial(Scenes, SMALL), Scored(drawings), batch_size=2, per_epoch=8, **options)


def test_what_is_trained_validated_and_scored_is_apart():
    data = module(seed=3)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["inputs"]["image"].shape == (2, 1, 51, 51) and batch["truth"].dtype == torch.bool
    assert len(data.train_dataloader()) == 4 and len(data.val_dataloader().dataset) == 1
    data.setup("test")
    items = [data.scored.test[i]["truth"][0] for i in range(3)]
    seen = [source[i]["truth"] for source in (data.train, data.val) for i in range(8)]
    assert not any(torch.equal(one, other) for one in items for other in seen)


def test_the_task_learns_from_it():
    """One step through the snake changes every weight."""
    from tavtorch import CrowdModel
    from tavtorch.lab.kinds.crowds import error

    data = Scenes(SMALL)
    inputs = {key: torch.stack([data[i]["inputs"][key] for i in range(2)]) for key in ("image", "points")}
    truth = torch.stack([data[i]["truth"] for i in range(2)])
    model = CrowdModel((4, 4, 4)).train()
    loss = error(model(**inputs), truth).mean()
    loss.backward()
    assert loss.item() > 0.5 and all(weight.grad.isfinite().all() for weight in model.parameters())
    assert sum(bool(weight.grad.any()) for weight in model.parameters()) == len(list(model.parameters()))
