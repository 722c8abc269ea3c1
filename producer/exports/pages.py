"""Templates of pages and cards."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


@cache
def environment() -> Environment:
    """HTML is escaped; a name that a template misspells is an error."""
    found = Environment(
        loader=PackageLoader("producer"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["grouped"] = lambda number: f"{number:,}"
    found.filters["cell"] = lambda text: " ".join(str(text).split()).replace("|", "\\|")  # of a Markdown table
    return found
