"""Recordings with a truth: the truth is the recording, and the op's input is what a damage makes of it."""

from collections.abc import Hashable, Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from tavtorch.lab.data.batches import Item, item_generator
from tavtorch.lab.data.damage import Damage
from tavtorch.lab.data.files import AUDIO, read_audio
from tavtorch.lab.data.find import find_named
from tavtorch.lab.data.generated import generated_songs
from tavtorch.lab.data.scored import Scored
from tavtorch.lab.data.songs import SongInMemory


def recordings(
    damage: Damage,
    *,
    root: str | None = None,
    count: int = 6,
    seconds: float = 8.0,
    sample_rate: int = 16000,
    batch_size: int = 1,
    seed: int = 0,
) -> Scored:
    """Damaged recordings to score an op on.

    Args:
        damage: a function of a wave `(1, c, t)` and a generator: `damage.hissing`, or your own.
        root: a recording, or a folder of them, each at its own rate; None generates songs.
        count, seconds, sample_rate: of the generated songs.
        batch_size: largest number of generated songs that go through the op together; files go one by one.
        seed: of the songs and of the random numbers of the damage.
    """

    def dataset() -> DamagedRecordings:
        if root:
            return DamagedRecordings(find_named(Path(root), AUDIO, "recording"), damage, seed=seed)
        songs = generated_songs(count, seconds, sample_rate=sample_rate, seed=seed)
        return DamagedRecordings([(song.name, song) for song in songs], damage, seed=seed)

    return Scored(dataset, batch_size=batch_size)


class DamagedRecordings(Dataset[Item]):
    """Items from names with the paths of recordings, or with songs; arguments as of `recordings`."""

    def __init__(self, sources: Sequence[tuple[str, Path | SongInMemory]], damage: Damage, *, seed: int) -> None:
        self.sources, self.damage, self.seed = sources, damage, seed

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, i: int) -> Item:
        name, _ = self.sources[i]
        try:
            wave, sample_rate = self.truth(i)
        except ValueError as error:
            return {"name": name, "error": str(error)}
        inputs = {**self.damage(wave, item_generator(self.seed, name)), "sample_rate": sample_rate}
        return {"name": name, "inputs": inputs, "truth": wave}

    def truth(self, i: int) -> tuple[Float[Tensor, "1 c t"], int]:
        """The recording before the damage, and its sample rate."""
        _, source = self.sources[i]
        if isinstance(source, Path):
            wave, sample_rate = read_audio(source)
            return wave[None], sample_rate
        return source.read("mixture", 0.0, source.seconds, source.sample_rate, 1)[None], source.sample_rate

    def batch_key(self, i: int) -> Hashable:
        return i if isinstance(self.sources[i][1], Path) else "generated"
