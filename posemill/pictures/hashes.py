"""Perceptual hashes: pictures that look alike have hashes that differ in few bits."""

from PIL import Image


def perceptual_hash(picture: Image.Image) -> int:
    """The 64 bits of imagehash's phash, over the picture in grey; 0 for a black one."""
    import imagehash

    return int(str(imagehash.phash(picture)), 16)
