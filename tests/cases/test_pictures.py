"""Kinds of files that were read wrongly once, a line each: how the file is made, and the numbers that it holds."""

import io
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, PngImagePlugin

from tavtorch.lab.data import picture_files
from tavtorch.lab.data.files import PICTURES, About, Picture, picture_size, read_mask, read_picture, write_picture

random = np.random.default_rng(0)
RGB = random.integers(0, 256, (6, 5, 3), np.uint8)
GREY, ALPHA = RGB[..., :1], random.integers(1, 256, (6, 5, 1), np.uint8)
DEEP = random.integers(0, 65536, (6, 5, 4), np.uint16)
REAL = random.normal(size=(6, 5, 3)).astype(np.float32)
SIGNED = random.integers(-100, 100, (6, 5, 1))
BITS = RGB[..., :1] > 127
INDEX = RGB[..., 0] % 8
CMYK = np.concatenate((RGB, ALPHA), -1)


def tiff(pixels, **given):
    return lambda path: tifffile.imwrite(path, pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, **given)


def pillow(pixels, mode=None, **given):
    def make(path):
        image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
        (image.convert(mode) if mode else image).save(path, **given)

    return make


def png(pixels, kind, bits, *chunks, size=None):
    """A PNG written by hand, without a filter; `size` is what its header promises."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    def make(path):
        height, width = size or pixels.shape[:2]
        rows = pixels.astype(">u2" if bits == 16 else np.uint8).reshape(len(pixels), -1)
        data = b"".join(b"\0" + row.tobytes() for row in rows)
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
        body = b"".join(chunk(*pair) for pair in chunks) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)

    return make


def by_ffmpeg(pixels, form, **options):
    """A TIFF by another encoder than those that read it."""

    def make(path):
        height, width = pixels.shape[:2]
        encoder = av.CodecContext.create("tiff", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, form
        encoder.time_base, encoder.options = Fraction(1), options
        frame = av.VideoFrame(width, height, form)
        rows = np.zeros((height, frame.planes[0].line_size // 2), "<u2")
        rows[:, : pixels[0].size] = pixels.reshape(height, -1)
        frame.planes[0].update(rows.tobytes())
        path.write_bytes(b"".join(map(bytes, [*encoder.encode(frame), *encoder.encode(None)])))

    return make


def palette(path):
    image = Image.fromarray(INDEX, "P")
    image.putpalette(RGB.reshape(-1, 3)[:8].tobytes())
    image.save(path)


def turned(mode, orientation):
    """What a camera that was held otherwise writes."""

    def make(path):
        image = Image.fromarray(CMYK if mode == "CMYK" else RGB, mode if mode == "CMYK" else None).convert(mode)
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(path, exif=exif)

    return make


def with_alpha(colours, alpha):
    return np.concatenate((np.broadcast_to(colours, (*colours.shape[:2], 3)), alpha), -1)


def red_green_blue(cmyk):
    return (255 - cmyk[..., :3].astype(float)) * (255 - cmyk[..., 3:].astype(float)) / 255**2


CLEAR = np.where((RGB[2, 3] == RGB).all(-1, keepdims=True), 0.0, 1.0)
DEEP_CLEAR = np.where((DEEP[..., :3] == DEEP[2, 3, :3]).all(-1, keepdims=True), 0.0, 1.0)
KEY, DEEP_KEY = RGB[2, 3].astype(">u2").tobytes(), DEEP[2, 3, :3].astype(">u2").tobytes()

READ = {  # a name: (suffix, maker, values (h, w, c) of colours and opacity)
    "TIFF, planes apart": ("tif", tiff(RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), RGB / 255),
    "TIFF, planes apart, deflate": (
        "tif",
        tiff(DEEP[..., :3].transpose(2, 0, 1), photometric="rgb", planarconfig="separate", compression="zlib"),
        DEEP[..., :3] / 65535,
    ),
    "TIFF, int8": ("tif", tiff(SIGNED.astype(np.int8)), SIGNED),
    "TIFF, int16": ("tif", tiff(SIGNED.astype(np.int16)), SIGNED),
    "TIFF, int32": ("tif", tiff(SIGNED.astype(np.int32)), SIGNED),
    "TIFF, uint32": ("tif", tiff(GREY.astype(np.uint32) * 1000), GREY * 1000.0),
    "TIFF, float16": ("tif", tiff(REAL.astype(np.float16), photometric="rgb"), REAL.astype(np.float16)),
    "TIFF, float32": ("tif", tiff(REAL, photometric="rgb"), REAL),
    "TIFF, float64": ("tif", tiff(REAL.astype(np.float64), photometric="rgb"), REAL),
    "TIFF, RGBA": ("tif", tiff(CMYK, photometric="rgb", extrasamples=["unassalpha"]), CMYK / 255),
    "TIFF, RGBA of 16 bits": ("tif", tiff(DEEP, photometric="rgb", extrasamples=["unassalpha"]), DEEP / 65535),
    "TIFF, grey and opacity": (
        "tif",
        tiff(np.concatenate((GREY, ALPHA), -1), photometric="minisblack", extrasamples=["unassalpha"]),
        with_alpha(GREY / 255, ALPHA / 255),
    ),
    "TIFF, white is zero": ("tif", tiff(GREY, photometric="miniswhite"), 1 - GREY / 255),
    "TIFF, 1 bit": ("tif", pillow(BITS), BITS),
    "TIFF, 1 bit, CCITT": ("tif", pillow(BITS, compression="group4"), BITS),
    "TIFF, palette": ("tif", palette, RGB.reshape(-1, 3)[INDEX] / 255),
    "TIFF, CMYK": ("tif", tiff(CMYK, photometric="separated"), red_green_blue(CMYK)),
    "TIFF, LZW": ("tif", pillow(RGB, compression="tiff_lzw"), RGB / 255),
    "TIFF, LZW of 16 bits": (
        "tif",
        by_ffmpeg(DEEP[..., :3], "rgb48le", compression_algo="lzw"),
        DEEP[..., :3] / 65535,
    ),
    "TIFF, grey, LZW of 16 bits": (
        "tif",
        by_ffmpeg(DEEP[..., :1], "gray16le", compression_algo="lzw"),
        DEEP[..., :1] / 65535,
    ),
    "TIFF, big-endian": ("tif", tiff(DEEP[..., :3], photometric="rgb", byteorder=">"), DEEP[..., :3] / 65535),
    "TIFF, BigTIFF": ("tif", tiff(RGB, photometric="rgb", bigtiff=True), RGB / 255),
    "TIFF, tiles": ("tif", tiff(RGB, photometric="rgb", tile=(16, 16)), RGB / 255),
    "PNG, key colour": ("png", png(RGB, 2, 8, (b"tRNS", KEY)), np.concatenate((RGB / 255, CLEAR), -1)),
    "PNG, key colour of 16 bits": (
        "png",
        png(DEEP[..., :3], 2, 16, (b"tRNS", DEEP_KEY)),
        np.concatenate((DEEP[..., :3] / 65535, DEEP_CLEAR), -1),
    ),
    "PNG, grey key": (
        "png",
        png(GREY, 0, 8, (b"tRNS", GREY[2, 3].astype(">u2").tobytes())),
        with_alpha(GREY / 255, GREY[2, 3] != GREY),
    ),
    "PNG, palette": ("png", palette, RGB.reshape(-1, 3)[INDEX] / 255),
    "PNG, 1 bit": ("png", pillow(BITS), BITS),
    "PNG, grey and opacity": ("png", png(CMYK[..., 2:], 4, 8), with_alpha(RGB[..., 2:] / 255, ALPHA / 255)),
    "PNG, grey of 16 bits": ("png", png(DEEP[..., :1], 0, 16), DEEP[..., :1] / 65535),
    "PNG, grey and opacity of 16 bits": (
        "png",
        png(DEEP[..., 2:], 4, 16),
        with_alpha(DEEP[..., 2:3] / 65535, DEEP[..., 3:] / 65535),
    ),
    "PNG, RGB of 16 bits": ("png", png(DEEP[..., :3], 2, 16), DEEP[..., :3] / 65535),
    "PNG, RGBA of 16 bits": ("png", png(DEEP, 6, 16), DEEP / 65535),
    "WebP": ("webp", pillow(RGB, lossless=True), RGB / 255),
    "WebP, RGBA": ("webp", pillow(CMYK, lossless=True, exact=True), CMYK / 255),
    "BMP": ("bmp", pillow(RGB), RGB / 255),
    "GIF of one frame": ("gif", pillow(GREY), np.repeat(GREY / 255, 3, -1)),
    "TIFF named PNG": ("png", lambda path: path.write_bytes(in_memory(tiff(RGB, photometric="rgb"))), RGB / 255),
    "PNG named JPEG": ("jpg", lambda path: path.write_bytes(in_memory(png(RGB, 2, 8))), RGB / 255),
}

REFUSED = {  # a name: (suffix, maker, what the message says)
    "TIFF, two pages": ("tif", tiff(np.stack((RGB, RGB)), photometric="rgb"), "holds 2 pages; save the one"),
    "TIFF, a stack of ImageJ": ("tif", tiff(np.stack((DEEP[..., 0],) * 3), imagej=True), "holds 3 pages"),
    "TIFF, five channels": ("tif", tiff(np.concatenate((RGB, RGB), -1), photometric="rgb"), "3 more channels"),
    "TIFF, Lab": ("tif", tiff(RGB, photometric="cielab"), "CIELAB .* is not read"),
    "TIFF, complex": ("tif", tiff(REAL[..., 0] + 1j), "complex64, that is not read"),
    "GIF, two frames": ("gif", pillow(RGB, save_all=True, append_images=[Image.new("RGB", (5, 6))]), "2 frames"),
    "PNG, two frames": ("png", pillow(RGB, save_all=True, append_images=[Image.new("RGB", (5, 6))]), "2 frames"),
    "PNG, absurdly large": ("png", png(RGB, 2, 8, size=(2**20, 2**20)), "1048576 × 1048576 pixels"),
    "BMP, absurdly large": (
        "bmp",
        lambda path: path.write_bytes(
            b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**20, 2**20, 1, 24, 0, 0, 0, 0, 0, 0)
        ),
        "1048576 × 1048576 pixels",
    ),
    "a name without a file": ("png", lambda path: None, "no such file"),
}


def in_memory(maker):
    memory = io.BytesIO()
    memory.write_bytes = memory.write
    maker(memory)
    return memory.getvalue()


@pytest.fixture
def make(tmp_path):
    def make(suffix, maker):
        path = tmp_path / f"picture.{suffix}"
        maker(path)
        return path

    return make


@pytest.mark.parametrize("name", READ)
def test_read_as_it_is(make, name):
    suffix, maker, expected = READ[name]
    picture = read_picture(make(suffix, maker))
    read = picture.image if picture.alpha is None else torch.cat((picture.image, picture.alpha))
    np.testing.assert_allclose(read.movedim(0, -1).numpy(), expected, atol=0.51 / 255 if "CMYK" in name else 1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_its_reason(make, name):
    suffix, maker, message = REFUSED[name]
    path = make(suffix, maker)
    with pytest.raises(ValueError, match=message):
        read_picture(path)
    picture_size(path)


HOLE = np.zeros((6, 5, 1), bool)
HOLE[2:4, 1:3] = True
BLUE = np.concatenate((0 * HOLE, 0 * HOLE, HOLE), -1).astype(np.uint8) * 255
MASKS = {  # a name: (suffix, maker)
    "white": ("png", pillow(HOLE.astype(np.uint8) * 255)),
    "1 bit": ("png", pillow(HOLE)),
    "the numbers 0 and 1": ("png", pillow(HOLE.astype(np.uint8))),
    "the numbers 0 and 1 of 16 bits": ("png", png(HOLE, 0, 16)),
    "the numbers 0 and 1 in int32": ("tif", tiff(HOLE.astype(np.int32))),
    "the numbers 0 and 1 in float32": ("tif", tiff(HOLE.astype(np.float32))),
    "0 and 255 in float32": ("tif", tiff(HOLE * np.float32(255))),
    "blue": ("png", pillow(BLUE)),
    "blue, opaque": ("png", png(np.concatenate((BLUE, np.full_like(GREY, 255)), -1), 6, 8)),
    "blue on a transparent layer": ("png", png(np.concatenate((BLUE, HOLE * 255), -1), 6, 8)),
    "white everywhere on a transparent layer": ("png", png(np.concatenate((0 * RGB + 255, HOLE * 255), -1), 6, 8)),
}


@pytest.mark.parametrize("name", MASKS)
def test_what_a_mask_marks(make, name):
    np.testing.assert_array_equal(read_mask(make(*MASKS[name])).movedim(0, -1).numpy(), HOLE)


def test_a_mask_that_marks_nothing(make):
    with pytest.raises(ValueError, match="picture.png: the mask marks no pixel"):
        read_mask(make("png", pillow(0 * GREY)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        *[("tif", mode) for mode in ("P", "1", "L", "LA", "RGB", "RGBA", "CMYK")],
        *[("png", mode) for mode in ("P", "1", "L", "LA", "RGB", "RGBA")],
        *[("jpg", "RGB"), ("jpg", "CMYK"), ("webp", "RGB")],
    ],
)
def test_turned_exactly_once(make, suffix, mode, orientation):
    picture = read_picture(make(suffix, turned(mode, orientation)))
    flat = read_picture(make(suffix, turned(mode, 1))).image
    flat = flat.mT if orientation > 4 else flat
    flat = flat.flip(-1) if orientation in (2, 3, 6, 7) else flat
    flat = flat.flip(-2) if orientation in (3, 4, 7, 8) else flat
    assert picture.image.shape == flat.shape and (picture.image - flat).abs().max() < (0.2 if suffix == "jpg" else 1e-6)
    path = make(suffix, lambda path: write_picture(path, picture))
    assert read_picture(path).image.shape == flat.shape  # once more would lay it down again


@pytest.mark.slow
def test_a_photo_of_200_megapixels(make):
    path = make("png", lambda path: Image.new("1", (20000, 10000)).save(path))
    assert picture_size(path)[0] == (20000, 10000)
    assert read_picture(path).image.shape == (1, 10000, 20000)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "float16", "float32", "float64"])
def test_the_type_of_a_tiff_comes_back(make, dtype):
    path = make("tif", tiff(np.abs(SIGNED).astype(dtype)))
    write_picture(path, read_picture(path))
    assert tifffile.imread(path).dtype == dtype
    np.testing.assert_array_equal(tifffile.imread(path), np.abs(SIGNED[..., 0]).astype(dtype))


EXIF = Image.Exif()
EXIF[0x010F] = "maker"
EXIF[0x0112] = 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("levels", [255, 65535])
def test_profile_exif_and_dpi_come_back(make, suffix, levels):
    path = make(suffix, lambda path: Image.fromarray(RGB).save(path, icc_profile=b"profile", exif=EXIF, dpi=(300, 300)))
    write_picture(path, read_picture(path)._replace(levels=levels))
    with Image.open(path) as file:
        assert file.info["icc_profile"] == b"profile" and file.getexif()[0x010F] == "maker"
        assert suffix == "webp" or file.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("levels", [255, 65535])
def test_texts_of_a_png_come_back(make, levels):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "me")
    texts.add_itxt("Title", "étude")
    path = make("png", lambda path: Image.fromarray(RGB).save(path, pnginfo=texts))
    write_picture(path, read_picture(path)._replace(levels=levels))
    with Image.open(path) as file:
        assert file.text == {"Author": "me", "Title": "étude"}


@pytest.mark.parametrize(("asked", "kept"), [(None, 1), ("zlib", 8), ("lzma", 34925), ("tiff_lzw", 8)])
def test_compression_and_tags_of_a_tiff_come_back(make, asked, kept):
    given = {"description": "a hill, 300 m", "resolution": (200, 200), "resolutionunit": 2, "iccprofile": b"profile"}
    given["extratags"] = [(33550, 12, 3, (1.0, 1.0, 0.0), True), (315, 2, 0, "me", True)]
    maker = tiff(DEEP[..., :1], compression=asked, metadata=None, **given)
    if asked == "tiff_lzw":
        maker = pillow(RGB, compression="tiff_lzw", description="a hill, 300 m", dpi=(200, 200), icc_profile=b"profile")
    path = make("tif", maker)
    write_picture(path, read_picture(path))
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert page.compression == kept and page.description == "a hill, 300 m"
        assert page.tags.valueof(34675) == b"profile" and page.get_resolution("inch") == (200, 200)
        assert asked == "tiff_lzw" or (page.tags.valueof(33550) == (1.0, 1.0, 0.0) and page.tags.valueof(315) == "me")


@pytest.mark.parametrize(
    ("suffix", "levels"), [("png", 255), ("png", 65535), ("tif", 255), ("tif", 65535), ("webp", 255)]
)
def test_opacity_comes_back(make, suffix, levels):
    picture = Picture(torch.rand(3, 6, 5), torch.rand(1, 6, 5), levels)
    path = make(suffix, lambda path: write_picture(path, picture))
    read = read_picture(path)
    assert read.levels == levels and (read.alpha - picture.alpha).abs().max() < 0.51 / levels
    assert (read.image - picture.image).abs().max() < 0.51 / levels


@pytest.mark.parametrize("levels", [255, 65535])
def test_grey_with_opacity_stays_grey(make, levels):
    grey = torch.rand(1, 6, 5).expand(3, -1, -1)
    path = make("png", lambda path: write_picture(path, Picture(grey, grey[:1], levels, About(mode="LA"))))
    assert path.read_bytes()[25] == 4  # the kind of a PNG: grey and opacity
    assert read_picture(path).image.shape == (3, 6, 5)


def test_a_file_that_may_not_be_read(make, monkeypatch):
    def forbidden(path):
        raise PermissionError(13, "Permission denied")

    path = make("png", pillow(RGB))
    monkeypatch.setattr(picture_files, "is_tiff", forbidden)
    with pytest.raises(ValueError, match="picture.png: the file may not be read .*permissions"):
        read_picture(path)


@pytest.mark.parametrize("suffix", PICTURES)
def test_numbers_that_stand_for_themselves_are_not_cut_off(tmp_path, suffix):
    path, heights = tmp_path / f"a{suffix}", Picture(torch.tensor([[[-500.0, 2050.0]]]), None, None)
    if suffix in (".tif", ".tiff"):
        write_picture(path, heights)
        assert torch.equal(read_picture(path).image, heights.image)
    else:
        with pytest.raises(ValueError, match="holds numbers from 0 to 1, and these are -500 to 2050; write .tif"):
            write_picture(path, heights)


@pytest.mark.parametrize("suffix", PICTURES)
def test_results_that_are_not_finite_are_refused(tmp_path, suffix):
    with pytest.raises(ValueError, match="NaN or infinite"):
        write_picture(tmp_path / f"a{suffix}", Picture(torch.full((3, 4, 4), torch.inf), None, None))
    assert list(tmp_path.iterdir()) == []
