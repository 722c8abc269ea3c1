"""Remembers the last keys of a long stream, in memory that is taken at once and never grows."""

from array import array
from collections.abc import Hashable, MutableSequence
from typing import Any


class Recent:
    """The last `size` keys added, each with its position in the stream.

    A table of hash chains over a ring: each bucket knows its newest position, each place in the ring the one before it
    in its bucket. A dict that forgets its oldest key would look through the gaps of those forgotten before.
    """

    def __init__(self, size: int, *, numbers: bool = False) -> None:
        """`numbers`: keys are whole numbers from 0 to 2**64 - 1, and take eight bytes each."""
        self._size = size
        self._mask = (1 << size.bit_length()) - 1
        self._newest = array("q", [-1]) * (self._mask + 1)  # by bucket
        self._before = array("q", [-1]) * size  # by place in the ring
        self._keys: MutableSequence[Any] = array("Q", bytes(8 * size)) if numbers else [None] * size
        self._count = 0

    def add(self, key: Hashable) -> None:
        """Take the key into the stream; the one `size` positions back is forgotten."""
        bucket, place = hash(key) & self._mask, self._count % self._size
        self._keys[place] = key
        self._before[place] = self._newest[bucket]
        self._newest[bucket] = self._count
        self._count += 1

    def find(self, key: Hashable) -> int | None:
        """The key's position in the stream, its newest where it came more than once; None when it is not known."""
        position = self._newest[hash(key) & self._mask]
        oldest = max(0, self._count - self._size)
        while position >= oldest:
            place = position % self._size
            if self._keys[place] == key:
                return position
            position = self._before[place]
        return None
