"""A row of a manifest as it was read, and what all formats of text share."""

import codecs
import re
from pathlib import Path
from typing import Any

import msgspec

from posemill.errors import RowError

LIMIT_LINE_BYTES = 1_000_000
SURROGATE = re.compile("[\ud800-\udfff]")  # stands for a byte that is not UTF-8


class ManifestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row as it was read; `error` instead of values where it could not be."""

    place: str  # file:line
    values: dict[str, Any] = {}
    error: RowError | None = None


def text_encoding(path: Path) -> str:
    """UTF-16 where the file's first bytes say so, as table programs and PowerShell write it; else UTF-8."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
