"""Templates of pages and cards."""

import hashlib
from base64 import b64encode
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

SCRIPT = "enlarge.js.j2"


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
    found.globals["script"] = Markup(found.get_template(SCRIPT).render())
    return found


def script_digest() -> str:
    """By which a page's policy knows its one script; any other is not run."""
    script = str(environment().globals["script"])
    return f"sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
