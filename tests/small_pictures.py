"""Bytes of small pictures, for tests in which a file must be one and nothing more is asked of it."""

GIF = bytes.fromhex("474946383961 0100 0100 800000 000000 ffffff 2c 0000 0000 0100 0100 00 02 02 4401 00 3b")


def picture(number: int = 0) -> bytes:
    """A GIF of one pixel; another number gives other bytes."""
    return GIF[:13] + number.to_bytes(3, "big") + GIF[16:]
