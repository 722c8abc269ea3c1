"""Pictures without what stands beside their pixels: for those whose metadata Pillow stumbles over.

Orientation, transparency, palettes and colour profiles of inks stay where they can be read; JPEG, PNG and TIFF.
"""

import struct
import zlib
from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
PNG_TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt"))
PNG_ORIENTATION = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # texts in which programs write EXIF and XMP
LIMIT_TEXT_BYTES = 100_000  # of a text that may say how a picture is turned

JPEG = b"\xff\xd8"
JPEG_KEPT = ((0xE1, b"Exif\0"), (0xE1, b"http://ns.adobe.com/xap/1.0/"), (0xE2, b"ICC_PROFILE\0"), (0xEE, b"Adobe"))
JPEG_ICC, JPEG_ICC_HEADER = 0xE2, 14  # bytes before a part of a profile
JPEG_COMMENT, JPEG_SCAN, JPEG_END = 0xFE, 0xDA, 0xD9

TIFF_KEPT = frozenset((
    254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332,
    338, 339, 347, 529, 530, 531, 532, 34675,
))  # fmt: skip  # what pixels are made of, the orientation, and the profile of inks


def without_metadata(content: bytes) -> bytes | None:
    """The same pixels with less beside them; None where nothing is known to leave out."""
    try:
        if content.startswith(PNG):
            return _bare_png(content)
        if content.startswith(JPEG):
            return _bare_jpeg(content)
        if content[:4] in (b"II*\0", b"MM\0*"):
            return _bare_tiff(content)
    except (struct.error, IndexError):  # it ends where a number should stand
        return None
    return None


def has_damaged_pixels(content: bytes) -> bool:
    """Whether these are a PNG's bytes, and a chunk of its pixels is whole but not what its checksum says."""
    if not content.startswith(PNG):
        return False
    view = memoryview(content)
    return any(
        zlib.crc32(view[place + 4 : place + 8 + length]) != int.from_bytes(view[place + 8 + length :][:4], "big")
        for place, length, kind in _png_chunks(content)
        if kind in PNG_PIXELS and place + 12 + length <= len(content)
    )


def _png_chunks(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Each chunk's place, the length of what it holds, and its kind."""
    place = len(PNG)
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        yield place, length, kind
        place += 12 + length


def _bare_png(content: bytes) -> bytes:
    chunks = ((kind, content[place : place + 12 + length]) for place, length, kind in _png_chunks(content))
    return PNG + b"".join(chunk for kind, chunk in chunks if _keeps_chunk(kind, chunk))


def _keeps_chunk(kind: bytes, chunk: bytes) -> bool:
    if kind in PNG_PIXELS:
        return True
    data = chunk[8:-4]
    if zlib.crc32(kind + data) != int.from_bytes(chunk[-4:], "big"):
        return False
    if kind in PNG_TEXTS:
        return data.startswith(PNG_ORIENTATION) and _length_of_text(kind, data) <= LIMIT_TEXT_BYTES
    return kind == b"eXIf"


def _length_of_text(kind: bytes, data: bytes) -> int:
    """In bytes, unpacked; no more is unpacked than it takes to see that it is too much."""
    _, _, text = data.partition(b"\0")
    packed = text[1:] if kind == b"zTXt" else text
    if kind == b"tEXt" or (kind == b"iTXt" and text[:1] != b"\1"):
        return len(packed)
    if kind == b"iTXt":
        packed = text[2:].split(b"\0", 2)[-1]
    try:
        return len(zlib.decompressobj().decompress(packed, LIMIT_TEXT_BYTES + 1))
    except zlib.error:
        return LIMIT_TEXT_BYTES + 1


def _bare_jpeg(content: bytes) -> bytes:
    kept = [JPEG]
    place = len(JPEG)
    while content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker in (JPEG_SCAN, JPEG_END) or 0xD0 <= marker <= 0xD7:
            break
        (length,) = struct.unpack_from(">H", content, place + 2)
        segment = content[place : place + 2 + length]
        if _keeps_segment(marker, segment[4:]):
            kept.append(segment)
        place += 2 + length
    return b"".join(kept) + content[place:]


def _keeps_segment(marker: int, data: bytes) -> bool:
    is_metadata = 0xE0 <= marker <= 0xEF or marker == JPEG_COMMENT
    if marker == JPEG_ICC and len(data) < JPEG_ICC_HEADER:
        return False
    return not is_metadata or any(marker == kept and data.startswith(begins) for kept, begins in JPEG_KEPT)


def _bare_tiff(content: bytes) -> bytes:
    """The first page's tags in their place, fewer of them, and no other page."""
    order = "<" if content[:2] == b"II" else ">"
    (place,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, place)
    entries = [content[start : start + 12] for start in range(place + 2, place + 2 + 12 * count, 12)]
    kept = [entry for entry in entries if struct.unpack_from(f"{order}H", entry)[0] in TIFF_KEPT]
    page = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return content[:place] + page + content[place + len(page) :]
