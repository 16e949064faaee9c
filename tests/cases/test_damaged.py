"""Files with bytes flipped or cut off: a value or a `ValueError`, no other exception, no hang, memory bounded."""

import random
import resource
import signal

import pytest
from cases.test_pictures import GREY, RGB, pillow
from cases.test_pictures import READ as PICTURES
from cases.test_sounds import READ as SOUNDS

from tavtorch.lab.data.files import audio_info, picture_size, read_audio, read_picture, sound_about

KINDS = {  # ten of pictures and ten of sounds
    **{name: PICTURES[name][:2] for name in ("PNG, RGBA of 16 bits", "PNG, palette", "PNG, key colour", "WebP", "BMP")},
    **{name: PICTURES[name][:2] for name in ("TIFF, float32", "TIFF, LZW", "TIFF, planes apart, deflate")},
    "JPEG": ("jpg", pillow(RGB.repeat(9, 0).repeat(9, 1))),
    "GIF": ("gif", pillow(GREY)),
    **{name: SOUNDS[name][:2] for name in ("WAV", "AIFF", "FLAC", "Vorbis", "Opus", "MP3", "MP3 of a pipe")},
    **{name: SOUNDS[name][:2] for name in ("AAC in MP4", "AAC alone", "Opus in WebM", "WMA", "CAF", "W64")},
}
SECONDS = 20  # for one file, on a machine with other work


def damaged(data, draw):
    """Some bytes other, in the header more often than elsewhere, or the end missing, or both."""
    data = bytearray(data)
    for _ in range(draw.choice((0, 1, 1, 2, 8))):
        place = draw.randrange(min(len(data), draw.choice((64, 512, len(data)))))
        data[place] = draw.choice((0, 255, data[place] ^ 1 << draw.randrange(8), draw.randrange(256)))
    return bytes(data[: draw.randrange(len(data)) if draw.random() < 0.3 else len(data)])


def tried(path, seed):
    """What the readers say to a file; a message of theirs names it."""
    suffix = path.suffix[1:]
    readers = (picture_size, read_picture) if suffix in ("png", "jpg", "tif", "webp", "bmp", "gif") else None
    for read in readers or (read_audio, audio_info, sound_about, lambda path: read_audio(path, 5000, 100)):
        try:
            read(path)
        except ValueError as error:
            if str(path) not in str(error):
                raise AssertionError(f"seed {seed}: a message without the file") from error


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("count", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_a_value_or_a_reason(tmp_path, name, count):
    suffix, maker = KINDS[name]
    path = tmp_path / f"file.{suffix}"
    maker(path)
    data = path.read_bytes()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(count):
        path.write_bytes(damaged(data, random.Random(seed)))
        signal.alarm(SECONDS)  # ends the process: a decoder that hangs does not come back to Python
        tried(path, seed)
        signal.alarm(0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # kB
