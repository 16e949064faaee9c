"""The separation network: a residual U-Net that estimates a soft mask for each stem on the spectrum of a mixture."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tavtorch.audio.sonogram import spectrum, waveform
from tavtorch.weights import read_model, write_model

WEIGHTS = Path(__file__).with_name("unet.safetensors")
"""The weights that come with the package: of `experiment=unet_shipped`; benchmarks/README.md has their card."""


class UNet(nn.Module):
    """A network that separates a mixture into stems: `model(wave)` is `(b, s, c, t)` for a wave `(b, c, t)`.

        wave ─ spectrum X ─ |X|^compression ─ stem ↓4 in frequency ─ Level ────────────── + ─ Level ─ head ↑4
          │                                                  ↓2 Level ──────────────── + ─ Level ↑2 ─┘            │
          │                                                       ↓2 Level ─ + Level ↑2 ─┘                     softmax
          │                                                             └ GRU ┘                                   │
          └─────────────────────────────────────── X · mask ── waveform of each stem ─────────────────────────────┘

    The masks are a softmax over the stems, so that the stems sum to the mixture; each has the phase of the mixture. The
    input is the compressed magnitude, scaled to mean 0 and deviation 1 in every item, so that the masks do not depend
    on the gain. There are no buffers and no batch statistics: an item's result does not depend on its batch.

    Args:
        stems: names of the stems; one mask is estimated for each.
        sample_rate: the rate in Hz that the weights are for; the module does not resample.
        channels: channels of the wave, 1 or 2.
        width: channels of the first level; level `i` has `(1 + i) * width`. Wider is better and slower.
        depth: how many times time and frequency are halved; `n_fft` must be a multiple of `2 ** (depth + 3)`.
        dropout: share of the channels dropped before the decoder while training.
        compression: exponent of the magnitudes, in (0, 1]; a smaller one raises soft bins relative to loud ones.
        n_fft, hop: of `spectrum`, in samples; a long window, about 0.26 s, resolves the low harmonics of voices and
            instruments, which hold most of the energy of singing.

    Sources: Jansson et al., "Singing voice separation with deep U-Net convolutional networks", ISMIR 2017; Ronneberger,
    Fischer & Brox, "U-Net", MICCAI 2015, doi:10.1007/978-3-319-24574-4_28; Wu & He, "Group normalization", ECCV 2018,
    doi:10.1007/978-3-030-01261-8_1.

    >>> UNet(width=8)(torch.zeros(2, 1, 16000)).shape
    torch.Size([2, 2, 1, 16000])
    """

    def __init__(
        self,
        stems: Sequence[str] = ("vocals", "accompaniment"),
        *,
        sample_rate: int = 16000,
        channels: int = 1,
        width: int = 16,
        depth: int = 3,
        dropout: float = 0.2,
        compression: float = 0.3,
        n_fft: int = 4096,
        hop: int = 1024,
    ):
        super().__init__()
        check_network(stems, channels, width, dropout)
        check_sonogram(n_fft, hop, depth, compression)
        self.settings: dict[str, Any] = {
            "stems": list(stems), "sample_rate": sample_rate, "channels": channels, "width": width, "depth": depth,
            "dropout": dropout, "compression": compression, "n_fft": n_fft, "hop": hop,
        }  # fmt: skip
        self.stems, self.sample_rate, self.channels = tuple(stems), sample_rate, channels
        self.compression, self.n_fft, self.hop = compression, n_fft, hop
        widths = [width * (1 + level) for level in range(depth + 1)]
        self.stem = nn.Conv2d(channels, width, (7, 3), stride=(4, 1), padding=(3, 1))
        levels = [(width, n_fft // 8 >> level) for level, width in enumerate(widths)]
        self.encoder = nn.ModuleList(Level(*level) for level in levels[:-1])
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.bottom = Bottleneck(*levels[-1], dropout)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(Level(*level) for level in levels[:-1])
        self.norm = groups(width)
        self.head = nn.ConvTranspose2d(width, len(self.stems) * channels, (8, 3), stride=(4, 1), padding=(2, 1))

    def forward(self, wave: Float[Tensor, "b c t"]) -> Float[Tensor, "b s c t"]:
        if wave.ndim != 3 or wave.shape[1] != self.channels:
            raise ValueError(
                f"wave: expected (b, {self.channels}, t), got {tuple(wave.shape)}; "
                "mix down or repeat its channels, or build the UNet with another `channels`."
            )
        # In half precision soft parts of a spectrum would be lost: only the network itself runs under autocast.
        with torch.autocast(wave.device.type, enabled=False):
            wave, length = wave.to(self.head.weight.dtype), wave.shape[-1]
            # Pad to whole hops, so that a window is centred on the end: the inverse divides by the sum of the windows.
            mixture = spectrum(F.pad(wave, (0, -length % self.hop)), n_fft=self.n_fft, hop=self.hop)
        masks = self.masks(mixture.abs())
        with torch.autocast(wave.device.type, enabled=False):
            stems = waveform(mixture[:, None] * masks[:, :-1], length, hop=self.hop)
            # The inverse is linear and the masks sum to 1: the last stem is the mixture minus the others.
            return torch.cat((stems, wave[:, None] - stems.sum(1, keepdim=True)), 1)

    def masks(self, magnitude: Float[Tensor, "b c f k"]) -> Float[Tensor, "b s c f k"]:
        """Share of each stem in every bin of the mixture; the shares sum to one."""
        frames = magnitude.shape[-1]
        level = magnitude.clamp(min=1e-8) ** self.compression
        deviation, mean = torch.std_mean(level, dim=(1, 2, 3), keepdim=True)
        level = (level - mean) / (deviation + 1e-3 * mean)  # the deviation of silence is 0

        # The highest bin, which makes the number of bins odd, is left out and takes the mask of its neighbour.
        x = F.pad(level[..., :-1, :], (0, -frames % 2 ** len(self.encoder)))
        if x.device.type == "cpu":  # elsewhere the first group normalisation would undo it
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.logits(x)[..., :frames]
        x = F.pad(x.to(magnitude.dtype), (0, 0, 0, 1), mode="replicate")
        return x.unflatten(1, (len(self.stems), self.channels)).softmax(1)

    def logits(self, x: Tensor) -> Tensor:
        """The masks before the softmax, `(b, s * c, f, k)`, from levels `(b, c, f, k)`."""
        x, skips = self.stem(x), []
        if x.device.type == "cpu" and not self.training:  # backwards, group normalisation would be slower
            x = x.contiguous(memory_format=torch.channels_last)
        for block, down in zip(self.encoder, self.down, strict=True):
            skips.append(block(x))
            x = down(skips[-1])
        x = self.bottom(x)
        for block, up in zip(reversed(self.decoder), reversed(self.up), strict=True):
            x = block(up(x) + skips.pop())
        return self.head(F.relu(self.norm(x), inplace=True))

    def save(self, path: str | Path) -> None:
        """Write the weights and the settings as safetensors."""
        write_model(path, self, self.settings)

    @classmethod
    def pretrained(cls, path: str | Path = WEIGHTS, **settings: Any) -> "UNet":
        """The network of a file that `save` wrote, by default that of the package; it must have these settings."""
        return read_model(cls, path, settings)


class Block(nn.Module):
    """A residual block `x + f(x)`, f being twice normalisation, ReLU and convolution.

    Source: He et al., "Identity mappings in deep residual networks", ECCV 2016, doi:10.1007/978-3-319-46493-0_38.
    """

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = groups(width), groups(width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x), inplace=True))
        return self.conv2(F.relu(self.norm2(y), inplace=True)).add_(x)


class Level(nn.Module):
    """A residual block, and `x + g(x)`, g being a linear map of all bins to a quarter, normalisation, ReLU, a map back.

    The maps are the same for every channel and frame. By them the harmonics of a note know of each other, and low bins
    are told from high ones, which a convolution cannot do.

    Source: Choi et al., "Investigating U-Nets with various intermediate blocks for spectrogram-based singing voice
    separation", ISMIR 2020, arXiv:1912.02591.
    """

    def __init__(self, width: int, bins: int):
        super().__init__()
        self.block, self.norm = Block(width), groups(width)
        self.narrow, self.widen = nn.Linear(bins, -(-bins // 4)), nn.Linear(-(-bins // 4), bins)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x)
        return x + over_bins(self.widen, F.relu(self.norm(over_bins(self.narrow, x)), inplace=True))


def over_bins(linear: nn.Linear, x: Float[Tensor, "b c f k"]) -> Float[Tensor, "b c g k"]:
    """A linear map of the bins; nothing is moved in memory where the channels are last there."""
    rows = x.permute(0, 2, 3, 1).flatten(2)
    rows = torch.baddbmm(linear.bias[:, None], linear.weight.expand(len(rows), -1, -1), rows)
    return rows.unflatten(2, (x.shape[3], x.shape[1])).permute(0, 3, 1, 2)


class Bottleneck(nn.Module):
    """A level, plus a bidirectional GRU over time that takes all bins of a frame at once, of half of the channels."""

    def __init__(self, width: int, bins: int, dropout: float):
        super().__init__()
        self.level, self.norm, half = Level(width, bins), groups(width), -(-width // 2)
        self.enter, self.leave = nn.Conv2d(width, half, 1), nn.Conv2d(half, width, 1)
        self.squeeze, self.expand = nn.Linear(half * bins, 2 * width), nn.Linear(2 * width, half * bins)
        self.gru = nn.GRU(2 * width, width, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.level(x)
        entered = self.enter(F.relu(self.norm(x), inplace=True))
        memory = self.expand(self.gru(self.squeeze(entered.permute(0, 3, 1, 2).flatten(2)))[0])
        return self.dropout(x + self.leave(memory.unflatten(2, entered.shape[1:3]).permute(0, 2, 3, 1)))


def groups(width: int) -> nn.GroupNorm:
    """Group normalisation with eight channels a group; one group where `width` is not a multiple of 8."""
    return nn.GroupNorm(width // 8 if width % 8 == 0 else 1, width)


def check_network(stems: Sequence[str], channels: int, width: int, dropout: float) -> None:
    """Raise a ValueError unless these options of `UNet` are valid."""
    if isinstance(stems, str) or len(stems) < 2 or len(set(stems)) < len(stems):
        raise ValueError(
            f"stems: expected two or more different names, got {stems!r}; add one for the rest of the mixture."
        )
    if channels not in (1, 2):
        raise ValueError(f"channels: expected 1 or 2, got {channels}; separate more channels a pair at a time.")
    if width < 1:
        raise ValueError(f"width: expected at least 1 channel, got {width}; 16 to 64 are usual.")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: expected a share in [0, 1), got {dropout}; 0.2 is usual.")


def check_sonogram(n_fft: int, hop: int, depth: int, compression: float) -> None:
    """Raise a ValueError unless these options of `UNet` give a sonogram that can be halved `depth` times."""
    if not 0 < compression <= 1:
        raise ValueError(f"compression: expected an exponent in (0, 1], got {compression}; 0.3 is usual.")
    if depth < 1 or n_fft % 2 ** (depth + 3):
        raise ValueError(
            f"depth: expected n_fft = {n_fft} to be a multiple of 2 ** (depth + 3), got depth {depth}; "
            "take a smaller depth or another n_fft."
        )
    if not 1 <= hop <= n_fft // 2:
        raise ValueError(f"hop: expected 1 to n_fft // 2 = {n_fft // 2} samples, got {hop}; n_fft // 2 is fastest.")
