"""Libraries that the light installation lacks, and the extras that bring them."""

from importlib.util import find_spec

from posemill.errors import BadInput

LIBRARIES = {
    "export": ("imagehash", "matplotlib", "pyarrow", "scipy", "webdataset"),
    "parquet": ("pyarrow",),
}


def require_extra(extra: str, what: str) -> None:
    """Raises BadInput with the command that installs what `what` needs and is missing."""
    missing = [library for library in LIBRARIES[extra] if not _is_installed(library)]
    if missing:
        raise BadInput(f"{what} needs {', '.join(missing)}; install them with: pip install 'posemill[{extra}]'")


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ValueError:  # None stands in sys.modules
        return False
