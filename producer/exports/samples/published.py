"""What an export tells others: no clock, no worker and no address of anything, unless provenance is asked for.

So two runs of one recipe export the same bytes; `posemill.json` and `index.json` alone name the run.
"""

import re
from functools import lru_cache
from typing import Any

import msgspec

from posemill.contract.records import Run

PROVENANCE = frozenset(  # columns: who made a sample, when, in how many tries, and where it lies in storage
    (
        "image_key",
        "control_key",
        "control_keys",
        "attempt",
        "worker",
        "finished_at",
        "seconds",
        "detect_seconds",
        "call_images",
    )
)
TEXTS = frozenset(("name", "prompts", "matrix", "negative_prompt"))  # of a recipe: words, which no address is
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/|[/~]|[A-Za-z]:\\")  # how a URI or absolute path begins

AUTHORITY = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/]*")  # host or bucket, with whatever stands before it
UNNAMED = "(an address)"


def published_name(name: str, sources: str = "") -> str:
    """A relative name as it is; of an address what lies below the recipe's `sources`, or else its last part."""
    if not ADDRESS.match(name):
        return name
    folder = sources if sources.endswith("/") else f"{sources}/"
    if sources and name.startswith(folder):
        return name.removeprefix(folder)
    path = AUTHORITY.sub("", re.split(r"[?#]", name, maxsplit=1)[0])
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1] or UNNAMED


def published_values(values: Any) -> Any:
    """The same value with every address in it shortened to its last part; texts for models stay as they are."""
    if isinstance(values, dict):
        return {name: value if name in TEXTS else published_values(value) for name, value in values.items()}
    if isinstance(values, list):
        return [published_values(value) for value in values]
    return published_name(values) if isinstance(values, str) else values


@lru_cache(maxsize=64)
def published_json(text: str) -> str:
    """The same for values that are JSON already; a batch's samples share theirs."""
    return msgspec.json.encode(published_values(msgspec.json.decode(text)), order="sorted").decode()


def published_run(run: Run) -> Run:
    """The run as cards and columns show it: recipe and settings without addresses."""
    return msgspec.structs.replace(
        run,
        recipe=published_values(run.recipe),
        detects=tuple(_published(spec) for spec in run.detects),
        generate=_published(run.generate),
    )


def sources_of(run: Run) -> str:
    """What the recipe names as its sources."""
    return str(run.recipe.get("sources", ""))


def _published(spec: Any) -> Any:
    return msgspec.convert(published_values(msgspec.to_builtins(spec)), type=type(spec))
