"""Pictures with a truth: the truth is the picture, and the op's input is what a damage makes of it."""

from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from tavtorch.lab.data.batches import Item, item_generator
from tavtorch.lab.data.damage import Damage
from tavtorch.lab.data.files import PICTURES, read_picture
from tavtorch.lab.data.find import find_named
from tavtorch.lab.data.scored import Scored


def pictures(
    damage: Damage,
    *,
    root: str | None = None,
    names: Sequence[str] = ("camera", "astronaut", "coffee", "cat", "brick", "coins"),
    color: bool = False,
    size: int | None = None,
    batch_size: int = 1,
    seed: int = 0,
) -> Scored:
    """Damaged pictures to score an op on.

    Args:
        damage: a function of `damage`: `noisy`, `missing`, `written`, …
        root: a picture, or a folder of them; None takes pictures that come with scikit-image.
        names: which of those.
        color: whether pictures are in colour; else grey (Rec. 601 luma).
        size: pictures are shrunk until the shorter side has this many pixels, and cropped to a square about the centre;
            None leaves them as they are.
        batch_size: largest number of pictures, of equal size, that go through the op together.
        seed: of the random numbers of the damage.
    """

    def dataset() -> DamagedPictures:
        own = find_named(Path(root), PICTURES, "picture") if root else []
        sources: list[tuple[str, Path | str]] = [*own] if root else [(name, name) for name in names]
        return DamagedPictures(sources, damage, color=color, size=size, seed=seed)

    return Scored(dataset, batch_size=batch_size)


class DamagedPictures(Dataset[Item]):
    """Items from names with the paths of pictures, or with the names of scikit-image's; arguments as of `pictures`."""

    def __init__(
        self, sources: Sequence[tuple[str, Path | str]], damage: Damage, *, color: bool, size: int | None, seed: int
    ) -> None:
        self.sources, self.damage, self.color, self.size, self.seed = sources, damage, color, size, seed

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, i: int) -> Item:
        name, _ = self.sources[i]
        try:
            image = self.truth(i)
        except ValueError as error:
            return {"name": name, "error": str(error)}
        return {"name": name, "inputs": self.damage(image, item_generator(self.seed, name)), "truth": image}

    def truth(self, i: int) -> Float[Tensor, "1 c h w"]:
        """The picture before the damage."""
        _, source = self.sources[i]
        image = (read_picture(source).image if isinstance(source, Path) else bundled(source))[None]
        image = (image.expand(-1, 3, -1, -1) if self.color else grey(image)).contiguous()
        return image if self.size is None else square(image, self.size)

    def batch_key(self, i: int) -> Hashable:
        try:
            return self.truth(i).shape
        except ValueError:
            return i


def bundled(name: str) -> Float[Tensor, "c h w"]:
    """A picture that comes with scikit-image, in [0, 1]."""
    import skimage.data

    try:
        given = getattr(skimage.data, name)()
        one = given[0] if isinstance(given, tuple) else given  # the left one of a stereo pair
        pixels = np.atleast_3d(one).astype(np.float32)
    except Exception as error:  # no such function, one that is no picture, or one that would have to be downloaded
        raise ValueError(f"data.names: no picture {name!r} comes with scikit-image; camera and coffee do.") from error
    return torch.from_numpy(pixels / (255 if pixels.max() > 1 else 1)).movedim(-1, 0)[:3]


def grey(image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
    """Rec. 601 luma; a grey picture is returned unchanged."""
    from kornia.color import rgb_to_grayscale

    return rgb_to_grayscale(image) if image.shape[1] == 3 else image


def square(image: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c {size} {size}"]:
    """Shrunk until the shorter side has `size` pixels, and cropped to a square about the centre."""
    scale = size / min(image.shape[-2:]) * (1 + 1e-9)  # its product with the side is rounded down
    if size > min(image.shape[-2:]):
        raise ValueError(f"data.size: {size} is more than a picture of {tuple(image.shape[-2:])} pixels has; lower it.")
    if scale < 1:
        image = F.interpolate(image, scale_factor=scale, mode="bilinear", antialias=True)
    top, left = ((n - size) // 2 for n in image.shape[-2:])
    return image[..., top : top + size, left : left + size].clone()
