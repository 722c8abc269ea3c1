"""Near-duplicates: images whose perceptual hashes differ in few bits, found in a table of fixed size.

Each of a hash's four 16-bit parts leads to the images that share it; two hashes that differ in at most three bits
share a part for certain. The table remembers the last REMEMBERED images, some 16 MB, and looks at no more than
LOOKED_AT of them for each part, so neither memory nor time grows with the run.
"""

from array import array

REMEMBERED = 1 << 18  # images
LOOKED_AT = 256  # images that share one part, the latest first
NEAR = 3  # bits of 64
PARTS, PART_BITS = 4, 16
NONE = -1


class Duplicates:
    """The images seen so far."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._count = 0
        self._hashes = array("Q", bytes(8 * remembered))
        self._ids = bytearray(16 * remembered)
        self._latest = [array("q", [NONE]) * (1 << PART_BITS) for _ in range(PARTS)]  # by part: number of an image
        self._earlier = [array("q", [NONE]) * remembered for _ in range(PARTS)]  # by place: the one before it

    def add(self, item_id: str, hash_bits: int) -> str:
        """Remember an image; gives the id of the nearest earlier one when it is near, else nothing."""
        near = self.nearest(hash_bits)
        place = self._count % self._remembered
        self._hashes[place] = hash_bits
        self._ids[16 * place : 16 * place + 16] = bytes.fromhex(item_id)
        for part in range(PARTS):
            bits = _part(hash_bits, part)
            self._earlier[part][place] = self._latest[part][bits]
            self._latest[part][bits] = self._count
        self._count += 1
        return near

    def nearest(self, hash_bits: int) -> str:
        """The id of the nearest image that was added and is near; nothing where there is none."""
        best, best_number = NEAR + 1, NONE
        for part in range(PARTS):
            number, looked = self._latest[part][_part(hash_bits, part)], 0
            while number > self._count - 1 - self._remembered and number != NONE and looked < LOOKED_AT:
                place = number % self._remembered
                distance = (self._hashes[place] ^ hash_bits).bit_count()
                if (distance, number) < (best, best_number) and distance <= NEAR:
                    best, best_number = distance, number
                number, looked = self._earlier[part][place], looked + 1
        if best_number == NONE:
            return ""
        place = best_number % self._remembered
        return self._ids[16 * place : 16 * place + 16].hex()


def _part(hash_bits: int, part: int) -> int:
    return hash_bits >> (PART_BITS * part) & ((1 << PART_BITS) - 1)
