"""What a result was made with, for its record."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of the libraries that made a result."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def struct_values(spec: msgspec.Struct) -> dict[str, Any]:
    """All settings as JSON has them, defaults included; of the lists, those that hold something."""
    values = msgspec.structs.asdict(spec)
    return {name: msgspec.to_builtins(value) for name, value in values.items() if value != ()}
