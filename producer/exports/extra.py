"""What an export needs beyond the light installation, and how to get it."""

from importlib.util import find_spec

from posemill.errors import BadInput

LIBRARIES = ("imagehash", "matplotlib", "scipy", "webdataset")


def require_extra() -> None:
    """Raises BadInput with the command that installs what is missing."""
    missing = [library for library in LIBRARIES if find_spec(library) is None]
    if missing:
        raise BadInput(f"export needs {', '.join(missing)}; install them with: pip install 'posemill[export]'")
