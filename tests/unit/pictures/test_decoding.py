"""Every rule in the table of posemill/pictures/decoding.py, on really encoded pictures."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from posemill.pictures.decoding import PictureError, decode_picture, is_black, picture_format

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


def test_sixteen_bits_go_to_the_nearest_of_256_steps():
    values = np.full((16, 16), 257 * 3 + 129, dtype="uint16")
    values[0, 0], values[0, 15] = 257 * 3 + 128, 257 * 3 - 128
    assert corners(decode(encoded(Image.fromarray(values)))) == [(3, 3, 3), (3, 3, 3), (4, 4, 4)]


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


# What stands beside the pixels decides nothing.

CASES = Path(__file__).parents[1] / "cases"


def chunk(kind, data, *, crc=None):
    checksum = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png_with(*chunks, picture=None, at=33):
    """A PNG with more chunks behind its header."""
    content = encoded(picture or turned_picture())
    return content[:at] + b"".join(chunks) + content[at:]


def turned_picture():
    picture = Image.new("RGB", (48, 32), "blue")
    picture.paste("red", (0, 0, 24, 16))
    return picture


def exif_of(orientation, **more):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for tag, value in more.items():
        exif[int(tag.removeprefix("tag"))] = value
    return exif.tobytes()


def is_turned(picture):
    """As orientation 6 says: the corner that was at the top left is at the top right."""
    red, blue = picture.getpixel((picture.width - 3, 2)), picture.getpixel((2, 2))
    return picture.size == (32, 48) and near(red, (254, 0, 0), 30) and near(blue, (0, 0, 254), 30)


@pytest.mark.parametrize("name", ["neg_rational.jpg", "date_long.jpg"])
def test_an_exif_tag_of_a_wrong_type_costs_nothing(name):
    sound, wrong = (decode((CASES / file).read_bytes()) for file in ("good6.jpg", name))
    assert (sound.size, sound.tobytes()) == (wrong.size, wrong.tobytes())


def test_a_compressed_text_of_a_megabyte_costs_nothing():
    assert decode((CASES / "ztxt_big.png").read_bytes()).size[0] > 0


BIG = zlib.compress(bytes(2_000_000))
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
RAW_EXIF = b"\nexif\n" + b"%8d\n" % 0 + exif_of(6).hex().encode()


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([chunk(b"zTXt", b"workflow\0\0" + BIG)], id="zTXt"),
        pytest.param([chunk(b"iTXt", b"workflow\0\1\0\0\0" + BIG)], id="iTXt"),
        pytest.param([chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BIG)], id="XMP"),
        pytest.param([chunk(b"zTXt", b"Raw profile type exif\0\0" + BIG)], id="ImageMagick's EXIF"),
        pytest.param([chunk(b"iCCP", b"profile\0\0" + BIG)], id="profile"),
        pytest.param([chunk(b"iCCP", b"profile\0\7" + BIG)], id="profile, unknown compression"),
        pytest.param([chunk(b"iCCP", b"")], id="empty profile"),
        pytest.param([chunk(b"tEXt", b"k\0" + bytes(70_000_000))], id="70 MB of text"),
        pytest.param([chunk(b"zTXt", b"k\0\7x")], id="unknown compression"),
        pytest.param([chunk(b"pHYs", b"\0")], id="resolution cut short"),
        pytest.param([chunk(b"gAMA", b"")], id="gamma cut short"),
        pytest.param([chunk(b"cHRM", b"\0")], id="chromaticity cut short"),
        pytest.param([chunk(b"tEXt", b"k\0v", crc=7)], id="wrong checksum"),
        pytest.param([chunk(b"eXIf", b"nonsense")], id="no EXIF"),
        pytest.param([chunk(b"acTL", b"")], id="animation cut short"),
    ],
)
@pytest.mark.parametrize("orientation", [[], [chunk(b"eXIf", exif_of(6)[6:])]], ids=["", "turned"])
def test_a_png_s_chunks_beside_its_pixels_cost_nothing(chunks, orientation):
    picture = decode(png_with(*orientation, *chunks))
    assert is_turned(picture) if orientation and chunks[0][4:8] != b"eXIf" else picture.size in ((48, 32), (32, 48))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP), id="XMP"),
        pytest.param(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)), id="XMP, compressed"),
        pytest.param(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(RAW_EXIF)), id="ImageMagick's EXIF"),
    ],
)
@pytest.mark.parametrize("more", [b"", chunk(b"zTXt", b"k\0\0" + BIG)], ids=["sound", "beside what is too large"])
def test_a_png_is_turned_by_what_its_texts_say(text, more):
    assert is_turned(decode(png_with(text, more)))


@pytest.mark.parametrize("bare", [False, True], ids=["as it is", "read without its metadata"])
def test_a_png_whose_pixels_were_damaged_is_refused_though_they_can_be_drawn(bare):
    content = bytearray(encoded(Image.effect_noise((64, 64), 50).convert("RGB")))
    content[-200] ^= 1
    broken_text = struct.pack(">I4s", 4, b"zTXt") + b"a\0\0x" + bytes(4) if bare else b""
    with pytest.raises(PictureError, match="the checksum of its pixels is wrong"):
        decode(bytes(content[:33]) + broken_text + bytes(content[33:]))


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0" + bytes(9), b"\x89PNG\r\n\x1a\n" + bytes(30), b"GIF89a"])
def test_a_header_that_cannot_be_read_is_said_without_an_address_in_memory(content):
    with pytest.raises(PictureError, match="header cannot be read") as caught:
        decode(content)
    assert "0x" not in str(caught.value)


def test_metadata_that_pillow_warns_of_is_not_spoken_of():
    exif = b"\xff\xe1" + struct.pack(">H", 18) + b"Exif\0\0MM\0*\0\0\0\x08\0\5"
    content = encoded(Image.new("RGB", (16, 16)), "JPEG")
    code = (
        f"from posemill.pictures.decoding import decode_picture; decode_picture({content[:2] + exif + content[2:]!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr == b""


def test_pixels_that_are_broken_stay_refused():
    content = bytearray(encoded(turned_picture()))
    content[content.index(b"IDAT") + 12] ^= 0xFF
    with pytest.raises(PictureError, match="broken"):
        decode(bytes(content))
    with pytest.raises(PictureError, match="broken"):
        decode(png_with(chunk(b"zTXt", b"k\0\0" + BIG))[:-40])


def segment(marker, data):
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


@pytest.mark.parametrize(
    "segments",
    [
        pytest.param(segment(0xE1, b"Exif\0\0" + b"II*\0\xff\xff\xff\xff"), id="EXIF that leads nowhere"),
        pytest.param(segment(0xE1, b"Exif\0\0nonsense"), id="EXIF that is none"),
        pytest.param(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='"), id="XMP cut short"),
        pytest.param(segment(0xE2, b"ICC_PROFILE\0\7\1nonsense"), id="profile"),
        pytest.param(segment(0xE2, b"ICC_PROFILE\0"), id="profile cut short"),
        pytest.param(segment(0xE2, b"MPF\0nonsense"), id="pages"),
        pytest.param(segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0"), id="Photoshop"),
        pytest.param(segment(0xED, b"Photoshop 3.0\x008BIM\x03"), id="Photoshop cut short"),
        pytest.param(segment(0xE0, b"JFIF\0"), id="JFIF cut short"),
        pytest.param(segment(0xE0, b"JFIF\0\1\1\2\0\0\0\0"), id="no resolution"),
    ],
)
def test_a_jpeg_s_segments_beside_its_pixels_cost_nothing(segments):
    sound = encoded(turned_picture(), "JPEG", quality=95)
    assert decode(sound[:2] + segments + sound[2:]).tobytes() == decode(sound).tobytes()
    turned = encoded(turned_picture(), "JPEG", quality=95, exif=exif_of(6), subsampling=0)
    place = turned.index(b"\xff\xdb")
    if b"Exif" not in segments:
        assert is_turned(decode(turned[:place] + segments + turned[place:]))


def tiff_with(tag, type_, count, value, *, orientation=None):
    """A TIFF whose tag of that number says something else."""
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    content = bytearray(encoded(turned_picture(), "TIFF", resolution=72, resolution_unit="cm", exif=exif))
    (place,) = struct.unpack_from("<I", content, 4)
    for entry in range(place + 2, place + 2 + 12 * struct.unpack_from("<H", content, place)[0], 12):
        if struct.unpack_from("<H", content, entry)[0] == tag:
            struct.pack_into("<HHI4s", content, entry, tag, type_, count, value)
            return bytes(content)
    raise AssertionError(f"no tag {tag}")


@pytest.mark.parametrize("orientation", [None, 6])
@pytest.mark.parametrize(
    ("tag", "type_", "count", "value"),
    [
        pytest.param(282, 2, 4, b"abc\0", id="resolution as text"),
        pytest.param(282, 5, 1, b"\xff\xff\xff\xff", id="resolution nowhere"),
        pytest.param(282, 99, 1, bytes(4), id="resolution of no type"),
        pytest.param(296, 2, 4, b"abc\0", id="unit as text"),
        pytest.param(296, 7, 10**9, bytes(4), id="unit of a gigabyte"),
    ],
)
def test_a_tiff_s_tags_beside_its_pixels_cost_nothing(tag, type_, count, value, orientation):
    picture = decode(tiff_with(tag, type_, count, value, orientation=orientation))
    assert is_turned(picture) if orientation else picture.tobytes() == turned_picture().tobytes()


@pytest.mark.parametrize(
    ("type_", "count", "value"),
    [
        pytest.param(3, 1, b"\0\0\0\0", id="0"),
        pytest.param(3, 1, b"\x09\0\0\0", id="9"),
        pytest.param(2, 2, b"6\0\0\0", id="text"),
        pytest.param(11, 1, struct.pack("<f", 6.5), id="a broken number"),
        pytest.param(3, 0, b"\6\0\0\0", id="none"),
        pytest.param(5, 1, b"\xff\xff\xff\x7f", id="elsewhere"),
    ],
)
def test_an_orientation_that_is_none_turns_nothing(type_, count, value):
    exif = b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHI4s", 0x0112, type_, count, value) + bytes(4)
    assert decode(png_with(chunk(b"eXIf", exif))).size == (48, 32)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_every_format_s_orientation_is_applied(format_):
    options = {"quality": 95} if format_ in ("JPEG", "WEBP", "AVIF") else {}
    assert is_turned(decode(encoded(turned_picture(), format_, exif=exif_of(6), **options)))


# Transparency, HEIC, black.


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
def test_a_control_image_s_transparency_is_black(mode):
    skeleton = Image.new("RGBA", (16, 16), (255, 255, 255, 0))
    skeleton.paste((255, 255, 255, 255), (4, 4, 8, 8))
    source = encoded(skeleton.convert(mode), "TIFF" if mode == "PA" else "PNG")
    control = decode_picture(source, over="black")
    assert (control.getpixel((0, 0)), control.getpixel((5, 5))) == ((0, 0, 0), (255, 255, 255))


def test_a_transparent_control_image_is_the_opaque_one():
    transparent, opaque = (decode_picture((CASES / name).read_bytes(), over="black")
                           for name in ("transparent.png", "black.png"))  # fmt: skip
    assert transparent.tobytes() == opaque.tobytes()


def test_heic_is_read_upright():
    pytest.importorskip("pillow_heif").register_heif_opener()
    content = encoded(turned_picture().resize((480, 320)), "HEIF", quality=95, exif=exif_of(6))
    picture = decode(content)
    assert picture.size == (320, 480)
    assert near(picture.getpixel((300, 20)), (254, 0, 0), 40)
    assert picture_format(content[:4096]) == "HEIF"


def test_heic_without_its_library_is_refused_with_the_mend():
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from posemill.pictures.decoding import decode_picture\n"
        "decode_picture(bytes.fromhex('00000018667479706865696300000000') + b'mif1heic')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "PictureError: HEIC pictures are read by pillow-heif" in done.stderr
    assert "pip install 'posemill[heic]'" in done.stderr


@pytest.mark.parametrize(
    ("brands", "format_"),
    [
        (b"heic", "HEIF"),
        (b"mif1\0\0\0\0mif1heic", "HEIF"),
        (b"mif1\0\0\0\0mif1avif", "AVIF"),
        (b"avif", "AVIF"),
        (b"isom", None),
    ],
)
def test_heif_and_avif_are_told_apart(brands, format_):
    box = b"ftyp" + brands.ljust(8, b"\0")
    assert picture_format(struct.pack(">I", len(box) + 4) + box) == format_


@pytest.mark.parametrize(
    ("colour", "black"), [((0, 0, 0), True), ((2, 2, 2), True), ((0, 0, 3), False), ((255, 255, 255), False)]
)
def test_black_is_what_has_no_channel_brighter_than_two(colour, black):
    picture = Image.new("RGB", (8, 8))
    picture.putpixel((3, 3), colour)
    assert is_black(picture) is black


def test_a_draft_has_the_pictures_shape():
    content = encoded(Image.new("RGB", (800, 400), "red"), "JPEG")
    draft = decode_picture(content, draft=(100, 100))
    assert draft.size == (200, 100)
    assert near(draft.getpixel((5, 5)), (255, 0, 0))


def samples():
    """A small picture in every format, with metadata."""
    made = [encoded(turned_picture(), "PNG", exif=exif_of(6), dpi=(72, 72)), (CASES / "good6.jpg").read_bytes()]
    made += [encoded(turned_picture(), name, exif=exif_of(6)) for name in ("TIFF", "WEBP", "JPEG", "AVIF")]
    return made + [encoded(turned_picture(), name) for name in ("GIF", "BMP", "PPM", "JPEG2000")]


SAMPLES = samples()


@st.composite
def mutated(draw):
    """A sample with bytes changed, cut out or put in; most of them near its beginning."""
    content = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, min(len(content), draw(st.sampled_from([64, 400, 10_000])))))
        end = place + draw(st.integers(0, 8))
        content[place:end] = draw(st.binary(max_size=8))
    return bytes(content)


@given(mutated() | st.binary(max_size=100))
@settings(max_examples=600, deadline=None)
def test_any_bytes_are_an_rgb_picture_or_a_picture_error(content):
    picture_format(content[:4096])
    try:
        picture = decode_picture(content, limit_pixels=LIMIT)
    except PictureError:
        return
    assert (picture.mode, picture.width * picture.height <= LIMIT) == ("RGB", True)
