"""Train, validation and test: drawn by the source's content, so that no source is in two of them."""

import hashlib

SPLITS = ("train", "validation", "test")


def split_of(source: str, *, validation: float, test: float) -> str:
    """The split of a source, by its identity. The same in every export with the same shares, whatever the filter."""
    place = int.from_bytes(hashlib.sha256(f"split:{source}".encode()).digest()[:8], "big") / 2**64
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"
