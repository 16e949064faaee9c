"""Films with a truth: a still photograph, and a round piece of another place in it that crosses the picture."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.lab.data.damage import Damage
from tavtorch.lab.data.images import DamagedPictures
from tavtorch.lab.data.scored import Scored


def films(
    damage: Damage,
    *,
    names: Sequence[str] = ("camera", "coins"),
    frames: int = 24,
    size: int = 128,
    color: bool = False,
    batch_size: int = 1,
    seed: int = 0,
) -> Scored:
    """Damaged films `(1, c, frames, size, size)` to score an op on.

    Args:
        damage: a function of `damage` that takes any shape, such as `noisy`.
        names: of pictures that come with scikit-image.
        frames: of a film; the piece crosses the picture in all of them together.
        size: of a frame, in pixels.
        color: whether films are in colour; else grey.
        batch_size: films that go through the op together.
        seed: of the random numbers of the damage.
    """

    def dataset() -> Films:
        return Films([(name, name) for name in names], damage, frames=frames, color=color, size=size, seed=seed)

    return Scored(dataset, batch_size=batch_size)


class Films(DamagedPictures):
    """Items from names of scikit-image's pictures; arguments as of `films`."""

    def __init__(
        self,
        sources: Sequence[tuple[str, Path | str]],
        damage: Damage,
        *,
        frames: int,
        color: bool,
        size: int | None,
        seed: int,
    ) -> None:
        super().__init__(sources, damage, color=color, size=size, seed=seed)
        self.frames = frames

    def truth(self, i: int) -> Float[Tensor, "1 c d h w"]:
        """The film before the damage."""
        return crossed(super().truth(i), self.frames)


def crossed(image: Float[Tensor, "1 c h w"], frames: int) -> Float[Tensor, "1 c d h w"]:
    """A disk of what the picture on its head has in its place moves from the left border to the right, up and down."""
    h, w = image.shape[-2:]
    time = torch.linspace(0, 1, frames)[:, None, None]
    y, x = torch.arange(h)[:, None], torch.arange(w)
    across, down = time * (w - 1), (0.5 + 0.1 * torch.sin(2 * math.pi * time)) * (h - 1)
    inside = (min(h, w) / 6 + 0.5 - torch.hypot(x - across, y - down)).clamp(0, 1)
    still = image[:, :, None]
    return still + inside * (still.flip(-1, -2) - still)
