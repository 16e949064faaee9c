import pytest
from omegaconf import OmegaConf

from tavtorch.lab.settings import check_values

GOOD = {
    "name": "rof",
    "seed": 1,
    "ckpt": None,
    "run": "test",
    "train_for": "00:00:01:00",
    "overwrite": False,
    "strict": True,
    "trainer": {"devices": 1, "num_nodes": 1, "max_epochs": 2, "max_time": "00:00:06:00", "precision": "auto"},
}


def test_settings_as_they_come():
    check_values(OmegaConf.create(GOOD))
    check_values(OmegaConf.create({"seed": 1, "trainer": {"devices": "auto"}}))  # another script, which has no others


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 0},
        {"ckpt": "last"},
        {"train_for": None},
        {"train_for": False},
        {"trainer": {"devices": [0, 1], "max_time": None, "max_epochs": -1, "precision": 32}},
        {"trainer": {"devices": "0,1"}},
        {"trainer": {"devices": -1}},
    ],
)
def test_other_good_values(changes):
    check_values(OmegaConf.merge(GOOD, changes))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("overwrite", "no", "overwrite: expected true or false, got 'no'"),
        ("strict", "abc", "strict: expected true or false, got 'abc'"),
        ("seed", "abc", "seed: expected a whole number from 0 to 4294967295, got 'abc'"),
        ("seed", -1, "seed: expected a whole number"),
        ("seed", True, "seed: expected a whole number"),
        ("run", "tset", "run: expected test or predict, got 'tset'"),
        ("train_for", 5, "train_for: expected a time as days:hours:minutes:seconds, .* or null or false, got 5"),
        ("ckpt", 3, "ckpt: expected a text, or null, got 3"),
        ("trainer.max_time", "soon", "trainer.max_time: expected a time"),
        ("trainer.max_epochs", 1.5, "trainer.max_epochs: expected a whole number from -1 on, or null, got 1.5"),
        ("trainer.devices", "abc", "trainer.devices: expected a number of devices, a list of their numbers, or auto"),
        ("trainer.devices", 0, "trainer.devices: expected"),
        ("trainer.num_nodes", 0, "trainer.num_nodes: expected a whole number from 1 on, got 0"),
        ("trainer.precision", "half", "trainer.precision: expected auto or"),
    ],
)
def test_a_value_that_does_not_fit_is_named(name, value, message):
    config = OmegaConf.create(GOOD)
    OmegaConf.update(config, name, value)
    with pytest.raises(ValueError, match=f"^{message}"):
        check_values(config)
