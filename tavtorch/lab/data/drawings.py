"""Pictures that are generated together with their truth."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from torch import Generator
from torch.utils.data import Dataset

from tavtorch.lab.data.batches import Item, item_generator
from tavtorch.lab.data.synthetic.shapes import Scene

Draw = Callable[[Generator], dict[str, Any]]
"""Makes the `inputs` and the `truth` of an item from its random numbers: `textured`, `scene`, …"""


class Drawings(Dataset[Item]):
    """`count` drawings of each kind.

    Args:
        make: by name, a function that draws an item.
        count: drawings of each.
        seed: of their random numbers.
    """

    def __init__(self, make: Mapping[str, Draw], *, count: int = 1, seed: int = 0) -> None:
        self.make, self.seed = make, seed
        self.kinds = [kind for kind in make for _ in range(count)]
        self.names = [f"{kind} {number + 1}" for kind in make for number in range(count)]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Item:
        name, draw = self.names[i], self.make[self.kinds[i]]
        return Item(name=name, **draw(item_generator(self.seed, name)))  # type: ignore[typeddict-item]

    def batch_key(self, i: int) -> Hashable:
        return self.kinds[i]


def scene(generator: Generator, *, shapes: Callable[..., Scene]) -> dict[str, Any]:
    """Objects to segment and contours to start from; `shapes` is a function of `synthetic.shapes`."""
    image, truth, points = shapes(1, generator=generator)
    return {"inputs": {"image": image, "points": points}, "truth": truth}


def film(generator: Generator, *, shapes: Callable[..., Scene]) -> dict[str, Any]:
    """As `scene`, of a function whose pictures are films."""
    frames, truth, points = shapes(1, generator=generator)
    return {"inputs": {"frames": frames, "points": points}, "truth": truth}
