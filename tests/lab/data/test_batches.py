from itertools import chain

import pytest
import torch
from torch.utils.data import TensorDataset

from tavtorch import Solution
from tavtorch.lab.data.batches import collate, item_generator, keep, loader, select, share
from tavtorch.lab.data.epochs import training_loader


class Listed(list):
    """Items of given sizes."""

    def batch_key(self, i):
        return self[i]["inputs"]["image"].shape


def item(name, size=2):
    return {"name": name, "inputs": {"image": torch.rand(1, 1, size, size), "rate": 8}, "truth": torch.rand(1, 3)}


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_each_item_goes_to_one_process(world):
    assert sorted(chain(*(share(7, (rank, world)) for rank in range(world)))) == list(range(7))


def test_items_become_a_batch_and_items_again():
    items = [item("a"), item("b")]
    batch = collate(items)
    assert batch["name"] == ["a", "b"] and batch["errors"] == {} and batch["inputs"]["rate"] == 8
    for i in range(2):
        one = select(batch, i)
        assert one["name"] == [items[i]["name"]] and one["inputs"]["rate"] == 8
        assert torch.equal(one["inputs"]["image"], items[i]["inputs"]["image"])
        assert torch.equal(one["truth"], items[i]["truth"])


def test_what_an_op_gave_is_taken_apart():
    rows = torch.arange(6).reshape(3, 2)
    one = select(Solution((rows, rows), rows[:, 0], rows[:, 1], rows[:, 0] > 1), 1)
    assert one.value[1].tolist() == [[2, 3]] and one.gap.tolist() == [3] and one.converged.tolist() == [True]


def test_errors_stay_out_of_the_tensors():
    batch = collate([item("a"), {"name": "b", "error": "b: cut short"}])
    assert batch["name"] == ["a"] and batch["errors"] == {"b": "b: cut short"}
    assert collate([{"name": "b", "error": "b: cut short"}]) == {"errors": {"b": "b: cut short"}}


@pytest.mark.parametrize("world", [1, 2])
def test_only_what_is_alike_goes_together_and_nothing_is_lost(world):
    sizes = [2, 3, 2, 2, 3, 2, 2]
    items = Listed(item(str(i), size) for i, size in enumerate(sizes))
    batches = [batch for rank in range(world) for batch in loader(items, (rank, world), batch_size=2)]
    assert sorted(chain(*(batch["name"] for batch in batches))) == list("0123456")
    assert max(len(batch["name"]) for batch in batches) == 2
    assert all(len(batch["name"]) == len(batch["inputs"]["image"]) for batch in batches)


@pytest.mark.parametrize("there", [False, True])
def test_where_there_is_a_gpu_what_goes_to_it_is_pinned(monkeypatch, there):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    scored = loader(Listed([item("a"), item("b")]), (0, 1))
    trained = training_loader(TensorDataset(torch.zeros(2, 1)), (0, 1), batch_size=1, per_epoch=2)
    assert scored.pin_memory is there
    assert trained.pin_memory is there


def test_without_a_word_each_is_select():
    assert [batch["name"] for batch in loader(Listed([item("a"), item("b")]), (0, 1))] == [["a"], ["b"]]


def test_numbers_that_differ_are_joined_one_an_item():
    """Not the first one for all."""
    items = [
        item(name) | {"inputs": {"image": torch.zeros(1, 1, 2, 2), "sigma": s}} for name, s in (("a", 1), ("b", 2.5))
    ]
    batch = collate(items)
    assert batch["inputs"]["sigma"].tolist() == [1.0, 2.5]
    assert select(batch, 1)["inputs"]["sigma"].tolist() == [2.5]
    keep(batch, [1])
    assert batch["name"] == ["b"] and batch["inputs"]["sigma"].tolist() == [2.5] and len(batch["inputs"]["image"]) == 1


def test_random_numbers_depend_on_the_name_alone():
    draws = {(seed, name): torch.rand(3, generator=item_generator(seed, name)) for seed in (0, 1) for name in "ab"}
    assert torch.equal(draws[0, "a"], torch.rand(3, generator=item_generator(0, "a")))
    assert len({tuple(draw.tolist()) for draw in draws.values()}) == 4


# errors


def test_what_cannot_be_joined_is_refused():
    def pair(**inputs):
        return [
            {"name": name, "inputs": {key: value[i] for key, value in inputs.items()}} for i, name in enumerate("ab")
        ]

    with pytest.raises(
        ValueError, match="inputs.sample_rate: expected one value for all items of a batch, got 8000, 16"
    ):
        collate(pair(sample_rate=(8000, 16000)))
    with pytest.raises(ValueError, match="inputs.wave: the items of a batch have different shapes"):
        collate(pair(wave=(torch.zeros(1, 1, 3), torch.zeros(1, 1, 4))))
    with pytest.raises(ValueError, match="inputs: the items of a batch have different keys"):
        collate([{"name": "a", "inputs": {"image": 1}}, {"name": "b", "inputs": {}}])


@pytest.mark.parametrize("batch_size", [1, 4])
def test_more_processes_than_items(batch_size):
    """One without items gets an empty batch, so that it takes part in what all processes do together."""
    items = Listed([item("a"), item("b")])
    batches = [list(loader(items, (rank, 3), batch_size=batch_size)) for rank in range(3)]
    assert [[batch.get("name") for batch in mine] for mine in batches] == [[["a"]], [["b"]], [None]]
    assert batches[2] == [{"errors": {}}]
    assert not list(loader(Listed(), (0, 1)))
