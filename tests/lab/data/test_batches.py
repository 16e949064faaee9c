from itertools import chain

import pytest
import torch

from tavtorch import Solution
from tavtorch.lab.data.batches import alone, loader, share, together


def item(name, size=2):
    return {"name": name, "inputs": {"image": torch.rand(1, 1, size, size), "rate": 8}, "truth": torch.rand(1, 3)}


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_each_item_goes_to_one_process(world):
    assert sorted(chain(*(share(7, (rank, world)) for rank in range(world)))) == list(range(7))


def test_items_become_a_batch_and_items_again():
    items = [item("a"), item("b")]
    batch = together(items)
    assert batch["name"] == ["a", "b"] and batch["errors"] == {} and batch["inputs"]["rate"] == 8
    for i in range(2):
        one = alone(batch, i)
        assert one["name"] == [items[i]["name"]] and one["inputs"]["rate"] == 8
        assert torch.equal(one["inputs"]["image"], items[i]["inputs"]["image"])
        assert torch.equal(one["truth"], items[i]["truth"])


def test_what_an_op_gave_is_taken_apart():
    rows = torch.arange(6).reshape(3, 2)
    one = alone(Solution((rows, rows), rows[:, 0], rows[:, 1], rows[:, 0] > 1), 1)
    assert one.value[1].tolist() == [[2, 3]] and one.gap.tolist() == [3] and one.converged.tolist() == [True]


def test_errors_stay_out_of_the_tensors():
    batch = together([item("a"), {"name": "b", "error": "b: cut short"}])
    assert batch["name"] == ["a"] and batch["errors"] == {"b": "b: cut short"}
    assert together([{"name": "b", "error": "b: cut short"}]) == {"errors": {"b": "b: cut short"}}


@pytest.mark.parametrize("world", [1, 2])
def test_only_what_is_alike_goes_together_and_nothing_is_lost(world):
    sizes = [2, 3, 2, 2, 3, 2, 2]
    items = [item(str(i), size) for i, size in enumerate(sizes)]
    batches = [
        batch for rank in range(world) for batch in loader(items, (rank, world), batch_size=2, alike=sizes.__getitem__)
    ]
    assert sorted(chain(*(batch["name"] for batch in batches))) == list("0123456")
    assert max(len(batch["name"]) for batch in batches) == 2
    assert all(len(batch["name"]) == len(batch["inputs"]["image"]) for batch in batches)


def test_without_a_word_each_is_alone():
    assert [batch["name"] for batch in loader([item("a"), item("b")], (0, 1))] == [["a"], ["b"]]


# errors


def test_more_processes_than_items():
    with pytest.raises(ValueError, match="trainer.devices: 3 processes share 2 items"):
        share(2, (0, 3))
