"""Pictures whose truth is known: what is in the picture is the truth, and what was done to it is the op's input."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from tavtorch.image.contours.polygons import circle, fill
from tavtorch.image.restoration.inpaint_tv import hole_from_color
from tavtorch.lab.data.batches import Item, loader, own_generator, place
from tavtorch.lab.data.files import PICTURES, read_picture
from tavtorch.lab.data.folder import find
from tavtorch.lab.data.synthetic.shapes import Scene

Damage = Callable[[Tensor, Generator], dict[str, Tensor]]
"""What is done to a picture `(1, c, h, w)`: it gives the inputs of an op. The generator is the item's own."""


class Images(L.LightningDataModule):
    """Pictures, damaged in a known way, to score an op on.

    Args:
        damage: see `Damage`: `noisy`, `missing`, `written`, …
        root: a picture, or a folder of them; without one, pictures that come with scikit-image.
        names: which of those.
        color: in colours, or in grey (Rec. 601 luma).
        size: shrunk until the shorter side has so many pixels, and cut square about the middle; `None` leaves it as is.
        batch_size: at most so many pictures of one size go through the op together.
        seed: of what is random in the damage: item by item, the same in any order and number of processes.
    """

    def __init__(
        self,
        damage: Damage,
        *,
        root: str | None = None,
        names: Sequence[str] = ("camera", "astronaut", "coffee", "cat", "brick", "coins"),
        color: bool = False,
        size: int | None = None,
        batch_size: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.damage, self.root, self.names, self.color = damage, root, names, color
        self.size, self.batch_size, self.seed = size, batch_size, seed

    def setup(self, stage: str) -> None:
        _only_test(stage)
        sources: list[Path | str] = list(find(Path(self.root), PICTURES, "picture") if self.root else self.names)
        self.test = Damaged(sources, self.damage, color=self.color, size=self.size, seed=self.seed)

    def test_dataloader(self) -> DataLoader[Any]:
        return loader(self.test, place(self.trainer), batch_size=self.batch_size, alike=self.test.shape)


class Generated(L.LightningDataModule):
    """Pictures that are made together with their truth, to score an op on.

    Args:
        make: by name, what makes an item from a generator of random numbers: `textured`, `scene`, …
        count: of each.
        batch_size: at most so many of one name go through the op together.
        seed: of the generators: item by item, the same in any order and number of processes.
    """

    def __init__(
        self, make: Mapping[str, Callable[[Generator], Item]], *, count: int = 1, batch_size: int = 1, seed: int = 0
    ) -> None:
        super().__init__()
        self.make, self.count, self.batch_size, self.seed = make, count, batch_size, seed

    def setup(self, stage: str) -> None:
        _only_test(stage)
        self.test = Made([(name, i) for name in self.make for i in range(self.count)], self.make, self.seed)

    def test_dataloader(self) -> DataLoader[Any]:
        return loader(self.test, place(self.trainer), batch_size=self.batch_size, alike=lambda i: self.test.names[i][0])


class Made(Dataset[Item]):
    """Item `i` is made by the function of its name, from a generator of its own."""

    def __init__(
        self, names: Sequence[tuple[str, int]], make: Mapping[str, Callable[[Generator], Item]], seed: int
    ) -> None:
        self.names, self.make, self.seed = names, make, seed

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Item:
        name, number = self.names[i]
        return {"name": f"{name} {number + 1}", **self.make[name](own_generator(self.seed, i))}


def scene(generator: Generator, *, shapes: Callable[..., Scene]) -> Item:
    """Objects to find and contours to start from, as an item; `shapes` is a function of `synthetic.shapes`."""
    image, truth, points = shapes(1, generator=generator)
    return {"inputs": {"image": image, "points": points}, "truth": truth}


class Damaged(Dataset[Item]):
    """Items `{"name", "inputs", "truth"}` from the paths of pictures, or the names of scikit-image's own."""

    def __init__(
        self, sources: Sequence[Path | str], damage: Damage, *, color: bool, size: int | None, seed: int
    ) -> None:
        self.sources, self.damage, self.color, self.size, self.seed = sources, damage, color, size, seed

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, i: int) -> Item:
        source = self.sources[i]
        name = source.stem if isinstance(source, Path) else source
        try:
            image = self.truth(i)
        except ValueError as error:
            return {"name": name, "error": str(error)}
        return {"name": name, "inputs": self.damage(image, own_generator(self.seed, i)), "truth": image}

    def truth(self, i: int) -> Float[Tensor, "1 c h w"]:
        source = self.sources[i]
        image = (read_picture(source).image if isinstance(source, Path) else bundled(source))[None]
        image = (image.expand(-1, 3, -1, -1) if self.color else grey(image)).contiguous()
        return image if self.size is None else square(image, self.size)

    def shape(self, i: int) -> Any:
        """Items of one shape fit into one batch."""
        try:
            return self.truth(i).shape
        except ValueError:
            return i


def bundled(name: str) -> Float[Tensor, "c h w"]:
    """A picture that comes with scikit-image, in [0, 1]."""
    import skimage.data

    try:
        pixels = np.atleast_3d(getattr(skimage.data, name)()).astype(np.float32)
    except Exception as error:  # no such function, one that is no picture, or one that would have to be downloaded
        raise ValueError(f"data.names: no picture {name!r} comes with scikit-image; camera and coffee do.") from error
    return torch.from_numpy(pixels / (255 if pixels.max() > 1 else 1)).movedim(-1, 0)[:3]


def grey(image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
    """Rec. 601 luma; a grey picture stays as it is."""
    from kornia.color import rgb_to_grayscale

    return rgb_to_grayscale(image) if image.shape[1] == 3 else image


def square(image: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c {size} {size}"]:
    """Shrunk until the shorter side has `size` pixels, and cut square about the middle."""
    scale = size / min(image.shape[-2:])
    if scale > 1:
        raise ValueError(f"data.size: {size} is more than a picture of {tuple(image.shape[-2:])} pixels has; lower it.")
    if scale < 1:
        image = F.interpolate(image, scale_factor=scale, mode="bilinear", antialias=True)
    top, left = ((n - size) // 2 for n in image.shape[-2:])
    return image[..., top : top + size, left : left + size].clone()


def untouched(image: Float[Tensor, "1 c h w"], generator: Generator) -> dict[str, Tensor]:
    """The picture as it is: for ops whose result has no truth to be compared with."""
    return {"image": image}


def surrounded(
    image: Float[Tensor, "1 c h w"],
    generator: Generator,
    *,
    center: tuple[float, float],
    axes: tuple[float, float],
    n: int = 200,
) -> dict[str, Tensor]:
    """The picture as it is, and an ellipse to start a contour from: its center and half axes (x, y) in pixels."""
    points = image.new_tensor(center) + image.new_tensor(axes) * circle((0.0, 0.0), 1.0, n).to(image)
    return {"image": image, "points": points}


def noisy(image: Float[Tensor, "1 c h w"], generator: Generator, *, sigma: float) -> dict[str, Tensor]:
    """White Gaussian noise of standard deviation `sigma`."""
    return {"image": image + sigma * torch.randn(image.shape, generator=generator)}


def missing(
    image: Float[Tensor, "1 c h w"], generator: Generator, *, share: float, sigma: float = 0.0
) -> dict[str, Tensor]:
    """A share of the pixels, drawn at random, is lost; noise is on the others."""
    hole = torch.rand(len(image), 1, *image.shape[-2:], generator=generator) < share
    return _without(noisy(image, generator, sigma=sigma)["image"], hole)


def written(
    image: Float[Tensor, "1 c h w"],
    generator: Generator,
    *,
    text: str = "total variation ",
    height: int = 24,
) -> dict[str, Tensor]:
    """Text over all of the picture, in letters of so many pixels, is lost."""
    from PIL import Image, ImageDraw, ImageFont

    h, w = image.shape[-2:]
    page = Image.new("1", (w, h))
    font, draw = ImageFont.load_default(height), ImageDraw.Draw(page)
    line = text * (1 + 2 * w // round(draw.textlength(text, font)))
    for row in range(h // (2 * height) + 1):
        draw.text((-row * 3 * height % -w, row * 2 * height), line, fill=1, font=font)
    return _without(image, torch.from_numpy(np.array(page))[None, None])


def cut_out(
    image: Float[Tensor, "1 c h w"], generator: Generator, *, outline: Sequence[Sequence[float]]
) -> dict[str, Tensor]:
    """What lies within an outline, its corners (x, y) in pixels, is lost."""
    corners = image.new_tensor(outline)[None]
    return _without(image, fill(corners, (image.shape[-2], image.shape[-1])))


def painted(
    image: Float[Tensor, "1 3 h w"],
    generator: Generator,
    *,
    outline: Sequence[Sequence[float]],
    color: Sequence[float] = (1.0, 1.0, 0.0),
) -> dict[str, Tensor]:
    """A colour lies over what is within an outline, and tells where the hole is."""
    corners = image.new_tensor(outline)[None]
    paint = image.new_tensor(color)[:, None, None]
    covered = torch.where(fill(corners, (image.shape[-2], image.shape[-1])), paint, image)
    return {"image": covered, "hole": hole_from_color(covered, color, 0.05)}


def _without(image: Tensor, hole: Bool[Tensor, "b 1 h w"]) -> dict[str, Tensor]:
    """What is missing is black, so that nothing can be learned from it."""
    return {"image": image.masked_fill(hole, 0), "hole": hole}


def _only_test(stage: str) -> None:
    if stage != "test":
        raise ValueError("data: these pictures are to be scored; add data=folder data.root=PATH to run=predict.")
