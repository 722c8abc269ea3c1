"""Which sizes of pictures and canvases can be used; no library is needed to say so."""

LIMIT_PIXELS = 100_000_000  # where nothing else is asked for
LARGEST_ASPECT = 8  # the longer side to the shorter


def why_unusable_size(
    width: int, height: int, limit_pixels: float = LIMIT_PIXELS, largest_aspect: float = LARGEST_ASPECT
) -> str:
    """What is wrong with a picture's size, or a canvas's, as the end of a sentence; nothing when it can be used."""
    if width * height > limit_pixels:
        return f"has {width}x{height} pixels, over the limit of {limit_pixels:,}; scale it down or raise limit_pixels"
    if max(width, height) > largest_aspect * min(width, height):
        return f"is {width}x{height}, one side over {largest_aspect:g} times the other; crop it"
    return ""
