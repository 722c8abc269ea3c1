"""Every rule in the table of posemill/pictures.py, on really encoded pictures."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from posemill.pictures import PictureError, decode_picture

LIMIT = 1_000_000


def encoded(picture, format_="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def decode(source):
    picture = decode_picture(source, limit_pixels=LIMIT)
    assert picture.mode == "RGB"
    return picture


def corners(picture):
    width, height = picture.size
    return [picture.getpixel(place) for place in ((0, 0), (width - 1, 0), (0, height - 1))]


def near(pixel, expected, tolerance=12):
    return all(abs(value - wanted) <= tolerance for value, wanted in zip(pixel, expected, strict=True))


def png_header_of(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checked = b"IHDR" + header
    chunk = struct.pack(">I", 13) + checked + struct.pack(">I", zlib.crc32(checked))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 4) + b"IDAT" + bytes(8)


def profile_that_makes_all_inks_grey():
    """A CMYK profile whose table has Lab (50, 0, 0), 119 in sRGB, for every mixture of C, M and Y."""
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0))
    table += struct.pack(">9i", *(65536 if place in (0, 4, 8) else 0 for place in range(9)))
    paper, black, inks = (bytes((lightness, 128, 128)) for lightness in (255, 0, 128))
    table += bytes(range(256)) * 4 + paper + black + (inks + black) * 7 + bytes(range(256)) * 3
    size = 128 + 4 + 12 + len(table)
    header = struct.pack(">I4xI", size, 0x02400000) + b"prtrCMYKLab " + bytes(12) + b"acsp" + bytes(28)
    header += struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    return header.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF"])
def test_the_usual_formats_are_read(format_):
    picture = decode(encoded(Image.new("RGB", (40, 30), (200, 100, 50)), format_))
    assert picture.size == (40, 30)
    assert near(picture.getpixel((20, 15)), (200, 100, 50))


def test_too_many_pixels_are_refused_from_the_header_alone():
    with pytest.raises(PictureError, match=r"20000x5000 pixels, over the limit of 1,000,000"):
        decode(png_header_of(20_000, 5_000))


def test_more_than_pillow_takes_is_refused_too():
    with pytest.raises(PictureError, match="too large for Pillow"):
        decode_picture(png_header_of(60_000, 60_000), limit_pixels=10**12)


def test_a_ribbon_is_refused():
    with pytest.raises(PictureError, match="10x81"):
        decode(encoded(Image.new("RGB", (10, 81))))


def truncated():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return encoded(Image.fromarray(noise), "JPEG")[:-900]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"<html>not found</html>", "not a picture", id="html"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture", id="postscript"),
        pytest.param(truncated(), "broken", id="truncated"),
        pytest.param(png_header_of(9, 9), "broken", id="header only"),
        pytest.param(encoded(Image.new("F", (9, 9)), "TIFF"), "export it as 8-bit RGB", id="floating point"),
        pytest.param(encoded(Image.new("LAB", (9, 9)), "TIFF"), "export it as 8-bit RGB", id="lab"),
    ],
)
def test_what_is_no_usable_picture_is_refused_in_one_sentence(source, says):
    with pytest.raises(PictureError, match=says) as caught:
        decode(source)
    assert caught.value.code == "bad_picture"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("orientation", "red_corner"),
    [(1, "left top"), (3, "right bottom"), (6, "right top"), (8, "left bottom"), (2, "right top"), (4, "left bottom")],
)
def test_exif_orientation_is_applied(orientation, red_corner):
    picture = Image.new("RGB", (48, 32), "blue")
    picture.paste("red", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = decode(encoded(picture, "JPEG", exif=exif, quality=95, subsampling=0))
    assert upright.size == ((32, 48) if orientation in (6, 8) else (48, 32))
    x = 2 if "left" in red_corner else upright.width - 3
    y = 2 if "top" in red_corner else upright.height - 3
    assert near(upright.getpixel((x, y)), (255, 0, 0), 30)


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(format_):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if format_ == "WEBP" else {}
    source = encoded(frames[0], format_, save_all=True, append_images=frames[1:], **options)
    assert near(decode(source).getpixel((8, 8)), (255, 0, 0))


def test_transparency_is_laid_over_white():
    rgba = Image.new("RGBA", (16, 16), (255, 0, 0, 128))
    grey = Image.new("LA", (16, 16), (0, 0))
    assert near(decode(encoded(rgba)).getpixel((0, 0)), (255, 127, 127), 1)
    assert decode(encoded(grey)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_becomes_white(mode):
    picture = Image.new(mode, (16, 16), 0)
    transparent = (0, 0, 0) if mode == "RGB" else 0
    assert decode(encoded(picture, transparency=transparent)).getpixel((0, 0)) == (255, 255, 255)


def test_a_palette_keeps_its_colours():
    picture = Image.new("P", (16, 16), 1)
    picture.putpalette([0, 0, 0, 10, 200, 30])
    assert decode(encoded(picture)).getpixel((0, 0)) == (10, 200, 30)


def test_one_bit_is_black_and_white():
    picture = Image.new("1", (16, 16), 1)
    picture.putpixel((0, 0), 0)
    assert corners(decode(encoded(picture))) == [(0, 0, 0), (255, 255, 255), (255, 255, 255)]


@pytest.mark.parametrize(
    ("format_", "dtype"), [("PNG", "uint16"), ("TIFF", "uint16"), ("TIFF", ">u2"), ("TIFF", "int32"), ("PPM", "uint16")]
)
def test_sixteen_bit_grey_is_divided_by_257(format_, dtype):
    values = np.full((16, 16), 257 * 100, dtype=dtype)
    values[0, 0], values[0, 15], values[15, 0] = 0, 65535, 257 * 3
    picture = decode(encoded(Image.fromarray(values), format_))
    assert corners(picture) == [(0, 0, 0), (255, 255, 255), (3, 3, 3)]
    assert picture.getpixel((8, 8)) == (100, 100, 100)


@pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile_goes_by_the_plain_formula(format_):
    source = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), format_)
    assert near(decode(source).getpixel((8, 8)), (255, 0, 0))


def test_ycck_is_read_as_cmyk():
    # Red as ink is C 0, M 255, Y 255, whose luma and chroma are 179, 171 and 0; Pillow stores CMYK inverted.
    source = encoded(Image.new("CMYK", (16, 16), (255 - 179, 255 - 171, 255 - 0, 0)), "JPEG", quality=95)
    place = source.index(b"Adobe") + 11  # the marker's transform byte: 2 is YCCK
    ycck = source[:place] + b"\x02" + source[place + 1 :]
    assert near(decode(ycck).getpixel((8, 8)), (255, 0, 0))


@pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
def test_cmyk_goes_by_its_embedded_profile(format_):
    picture = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    source = encoded(picture, format_, icc_profile=profile_that_makes_all_inks_grey())
    assert near(decode(source).getpixel((8, 8)), (119, 119, 119), 3)


def test_a_broken_cmyk_profile_falls_back_to_the_plain_formula():
    picture = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert near(decode(encoded(picture, "JPEG", icc_profile=b"no profile")).getpixel((8, 8)), (255, 0, 0))


def test_a_profile_of_another_colour_space_falls_back_too():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert near(decode(encoded(picture, "JPEG", icc_profile=profile)).getpixel((8, 8)), (255, 0, 0))
