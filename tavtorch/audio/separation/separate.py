"""Separation of songs of any length, sample rate and number of channels by a network."""

from collections.abc import Iterable, Iterator

from jaxtyping import Float
from torch import Tensor

from tavtorch.audio.check import check_rate, check_wave
from tavtorch.audio.separation.segments import Segments
from tavtorch.audio.separation.unet import UNet
from tavtorch.weights import of_the_package


def separate(
    wave: Float[Tensor, "b c t"],
    sample_rate: int,
    model: UNet | None = None,
    *,
    segment: float = 12.0,
    overlap: float = 1.0,
    sum_to_mixture: bool = True,
) -> Float[Tensor, "b s c t"]:
    """Separate songs into the stems that a network was trained for.

    The song is cut into overlapping segments. Each is resampled to the network's rate, separated and resampled back;
    then the segments are cross-faded with weights that add up to one. Beside the song and its stems, memory is that of
    one segment. A one-channel network separates each channel by itself; a stereo network gets the channels of a stereo
    song, and for any other song the mean of its channels twice.

    Within `torch.autocast(device, torch.bfloat16)` the network alone runs in half precision, which changes the stems by
    less than a hundredth of the song, and is faster where the hardware multiplies in it.

    The two rates are related by `rate_ratio`: at unusual rates, such as 44,101 Hz, the network hears the song up to
    0.05 % too high or too low. The stems are exact at the rate of the song.

    Args:
        wave: `(b, c, t)`, any length from one sample up.
        sample_rate: of `wave`, in Hz.
        model: the network; it runs in evaluation mode and is left in the mode that it was in. None takes the one that
            comes with the package, `UNet.pretrained()`.
        segment: length of a segment in seconds; more is faster and needs more memory.
        overlap: length of a cross-fade in seconds, less than half of a segment.
        sum_to_mixture: give the difference between the song and the sum of the stems, such as the frequencies above the
            network's band, to the last stem, so that the stems add up to `wave`.

    Returns:
        `(b, s, c, t)` at the rate of `wave`: one wave for each stem, in the order of `model.stems`.

    >>> separate(torch.randn(1, 2, 44100), 44100).shape
    torch.Size([1, 2, 2, 44100])
    """
    check_wave(wave, sample_rate)
    model = model or of_the_package(UNet.pretrained, wave.device)
    segments = _segments(sample_rate, model, segment, overlap, sum_to_mixture)
    stems = wave.new_zeros(wave.shape[0], len(segments.model.stems), *wave.shape[1:])
    start = 0
    for part in segments.push(wave, last=True):
        stems[..., start : start + part.shape[-1]] = part
        start += part.shape[-1]
    return stems


def separate_blocks(
    blocks: Iterable[Float[Tensor, "b c _t"]],
    sample_rate: int,
    model: UNet | None = None,
    *,
    segment: float = 12.0,
    overlap: float = 1.0,
    sum_to_mixture: bool = True,
) -> Iterator[Float[Tensor, "b s c _n"]]:
    """As `separate`, of a song that comes in blocks, such as a file of many hours: its stems in blocks.

    Put together these are the result of `separate` on the whole, to the bit. Memory is that of one segment and of the
    largest block. `Separator` gives stems sooner, for live use.

    Args:
        blocks: `(b, c, t)`, the song in order; they may differ in length only.
        sample_rate: of the blocks, in Hz.
        model, segment, overlap, sum_to_mixture: see `separate`.

    Yields:
        `(b, s, c, n)`: the stems in order.

    >>> [stems.shape[-1] for stems in separate_blocks(torch.randn(1, 1, 400000).split(70000, -1), 16000)]
    [176000, 176000, 48000]
    """
    check_rate(sample_rate)
    segments, shape = None, [0, 0]
    for block in blocks:
        check_wave(block, sample_rate)
        if segments is None:
            model, shape = model or of_the_package(UNet.pretrained, block.device), list(block.shape[:2])
            segments = _segments(sample_rate, model, segment, overlap, sum_to_mixture)
        if list(block.shape[:2]) != shape:
            raise ValueError(f"blocks: expected {shape} songs and channels in all, got {list(block.shape[:2])}.")
        yield from segments.push(block)
    if segments is not None:
        yield from segments.push(block[..., :0], last=True)


def _segments(sample_rate: int, model: UNet, segment: float, overlap: float, sum_to_mixture: bool) -> Segments:
    if not 0 < overlap < segment / 2:
        raise ValueError(f"overlap: expected more than 0 and less than half of segment = {segment} s, got {overlap}.")
    return Segments(
        model, sample_rate, advance=segment - overlap, fade=overlap, past=0.0, sum_to_mixture=sum_to_mixture
    )
