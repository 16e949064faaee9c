"""A separation network as an ONNX file, for programs without PyTorch."""

import logging
import warnings
from importlib import import_module
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tavtorch.atomic import whole
from tavtorch.audio.separation import UNet


def write_onnx(path: Path, model: UNet, *, seconds: float = 12.0) -> None:
    """Write a network with the input `wave (1, c, t)`, at its sample rate, and the output `stems (1, s, c, t)`.

    Stems, sample rate and channels are in the file's metadata. The length is fixed: longer songs are cut into segments,
    shorter ones are filled up with silence.

    Args:
        path: of the file.
        model: the network.
        seconds: `t` over the sample rate.

    Raises:
        ValueError: the package onnx is not there, or the network has another window than this writer knows.
    """
    try:
        for package in ("onnx", "onnxscript"):
            import_module(package)
    except ImportError as error:
        raise ValueError("export: *.onnx needs the packages of pip install 'tavtorch[onnx]'") from error
    if not seconds > 0:
        raise ValueError(f"seconds: expected more than 0, got {seconds}.")
    wave = torch.zeros(1, model.channels, round(seconds * model.sample_rate))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights of the GRU that are no buffers, and of what is deprecated
        level = logging.getLogger("torch.onnx").level
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                InRealNumbers(model, wave.shape[-1]).eval(),
                (wave,),
                dynamo=True,
                input_names=["wave"],
                output_names=["stems"],
                verbose=False,
            )
        finally:
            logging.getLogger("torch.onnx").setLevel(level)
    assert program is not None
    program.model.metadata_props.update(
        {"stems": ",".join(model.stems), "sample_rate": str(model.sample_rate), "channels": str(model.channels)}
    )
    with whole(path) as part:
        program.save(part)


class InRealNumbers(nn.Module):
    """A `UNet` for waves of one length, without complex numbers, which ONNX does not have.

    Args:
        model: the network.
        length: of the waves, in samples.
    """

    def __init__(self, model: UNet, length: int) -> None:
        super().__init__()
        self.model, self.length, self.hop, self.n_fft = model, length, model.hop, model.n_fft
        if self.n_fft % self.hop:
            raise ValueError(f"hop: expected a divisor of n_fft = {self.n_fft} to write *.onnx, got {self.hop}.")
        self.frames = 1 - (-length // self.hop)
        window = torch.hann_window(self.n_fft)
        weights = self._added(window.square().expand(1, self.frames, -1))
        self.window: Tensor
        self.weights: Tensor
        self.register_buffer("window", window)
        self.register_buffer("weights", weights)

    def forward(self, wave: Float[Tensor, "1 c t"]) -> Float[Tensor, "1 s c t"]:
        real, imaginary = self._spectrum(wave[0])
        masks = self.model.masks((real.square() + imaginary.square()).sqrt().mT[None])[0, :-1].mT
        stems = self._waveform(masks * real, masks * imaginary)
        return torch.cat((stems, wave - stems.sum(0, keepdim=True)))[None]

    def _spectrum(self, wave: Float[Tensor, "c t"]) -> tuple[Float[Tensor, "c k f"], Float[Tensor, "c k f"]]:
        """Real and imaginary part of `spectrum`, frame by frame."""
        padded = (self.frames - 1) * self.hop + self.n_fft
        wave = F.pad(wave, (self.n_fft // 2, padded - self.n_fft // 2 - self.length))
        hops = wave.unflatten(-1, (-1, self.hop))
        frames = torch.cat([hops[:, i : i + self.frames] for i in range(self.n_fft // self.hop)], -1)
        parts = torch.view_as_real(torch.fft.rfft(frames * self.window))
        return parts[..., 0], parts[..., 1]

    def _waveform(self, real: Float[Tensor, "s c k f"], imaginary: Float[Tensor, "s c k f"]) -> Float[Tensor, "s c t"]:
        """As `waveform`."""
        # The inverse transform of a real wave's spectrum, which goes on as its mirror image, is the transform of its
        # conjugate over n_fft. ONNX has no inverse of half a spectrum.
        real = torch.cat((real, real[..., 1:-1].flip(-1)), -1)
        conjugate = torch.cat((-imaginary, imaginary[..., 1:-1].flip(-1)), -1)
        frames = torch.view_as_real(torch.fft.fft(torch.complex(real, conjugate)))[..., 0] / self.n_fft
        return self._added((frames * self.window).flatten(0, 1)).unflatten(0, real.shape[:2]) / self.weights

    def _added(self, frames: Float[Tensor, "n k f"]) -> Float[Tensor, "n t"]:
        """Overlapping frames added up, without what lies beyond the ends of the wave."""
        pieces = frames.unflatten(-1, (-1, self.hop)).unbind(-2)
        total = sum(F.pad(piece, (0, 0, i, len(pieces) - 1 - i)) for i, piece in enumerate(pieces))
        assert isinstance(total, Tensor)
        return total.flatten(1)[:, self.n_fft // 2 :][:, : self.length]
