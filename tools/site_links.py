"""A hook of mkdocs: links out of docs/ lead to files of the repository, which the site does not hold."""

import re
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Their text without the link."""
    return OUTSIDE.sub(r"\1", markdown)
