"""What a recipe may hold, wherever it comes from: values that JSON carries unchanged."""

import math
import os
import re
from typing import Any

from posemill.errors import RecipeError

LIMIT_DEPTH = 32  # a recipe needs five
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # control characters, halves of letters


def plain_values(value: Any, where: str, keys: tuple[str, ...] = ()) -> Any:
    """The same as mappings, lists, texts, numbers, truth values and None, which JSON can carry.

    Raises RecipeError that names the key of anything else.
    """
    place = f"{where}: {'.'.join(keys)}" if keys else where
    if len(keys) > LIMIT_DEPTH:
        raise RecipeError(f"{where}: nested more than {LIMIT_DEPTH} levels deep")
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        if found := UNPRINTABLE.search(value):
            raise RecipeError(f"{printable(place)}: the character {found[0]!a} cannot stand in a text")
        return str(value)
    if isinstance(value, dict):
        return {plain_values(_key(name, place), where): plain_values(inner, where, (*keys, str(name)))
                for name, inner in value.items()}  # fmt: skip
    if isinstance(value, list | tuple):
        return [plain_values(inner, where, (*keys, str(number))) for number, inner in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    shown = "a number" if isinstance(value, int | float) else f"a {type(value).__name__}"
    raise RecipeError(f"{printable(place)}: {shown} that no recipe can hold")


def _key(name: Any, place: str) -> str:
    if not isinstance(name, str):
        raise RecipeError(f"{printable(place)}: the key {name!r} is no text")
    return name


def printable(text: str, limit: int = 200) -> str:
    """The text as a part of one line that any output takes; cut where it is long."""
    cut = text if len(text) <= limit else f"{text[:limit]}…"
    return cut if cut.isprintable() else cut.encode("unicode_escape").decode()
