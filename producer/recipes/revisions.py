"""Pins a model to the bytes it has now: a commit of the hub, or the digest of a local folder."""

import hashlib
import logging
import re
from pathlib import Path

from posemill.catalogue.models import EMBEDDED, SHIPPED, local_path
from posemill.catalogue.pairing import SINGLE_FILE
from posemill.errors import HubAway, RecipeError, RunFault, in_words
from posemill.hub.listings import cached_commit, is_offline, look_up

log = logging.getLogger(__name__)

COMMIT = re.compile(r"[0-9a-f]{40}")
CHUNK_BYTES = 1 << 20


def pinned(model: str, revision: str | None) -> str | None:
    """The commit, or the folder's or file's digest; the revision as given where neither can be learnt from here.

    Workers note the commit they loaded in every record, so an unpinned run can be told afterwards.
    """
    if model in SHIPPED:
        return SHIPPED[model]
    folder = Path(local_path(model))
    if exists(folder):
        return folder_digest(folder) if folder.is_dir() else _single_file_digest(folder)
    if model.startswith(EMBEDDED):
        raise RecipeError(f"{model} is not at {folder}, where shipped models lie; there are {', '.join(SHIPPED)}")
    if revision and COMMIT.fullmatch(revision):
        return revision
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise RecipeError(f"{model!r} is neither a folder on this machine nor a hub id such as owner/name")
    return _hub_commit(model, revision) or revision


def exists(path: Path) -> bool:
    """Whether something lies there."""
    try:
        return path.exists()
    except OSError:  # a name too long for a file
        return False


def _single_file_digest(file: Path) -> str:
    """Digest over a file's content. Raises RecipeError for pickles, which could run code where they are loaded."""
    if file.suffix != SINGLE_FILE:
        raise RecipeError(f"{file} is no {SINGLE_FILE} file; convert it, pickled checkpoints are not loaded")
    return _file_digest(file).hex()[:40]


def folder_digest(folder: Path) -> str:
    """Digest over the names and contents of a folder's files."""
    whole = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(f"{file.relative_to(folder)}\0".encode())
        whole.update(_file_digest(file))
    return whole.hexdigest()[:40]


def _file_digest(file: Path) -> bytes:
    content = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            content.update(chunk)
    return content.digest()


def _hub_commit(model: str, revision: str | None) -> str | None:
    """The commit that the Hub names, or the cache where nobody answers; None where neither does.

    Raises RecipeError where the Hub knows no such model or revision, or will not show it.
    """
    try:
        import huggingface_hub  # noqa: F401  # an extra
    except ImportError:
        mend = "pip install 'posemill[hub]', or give the recipe a `revision`"
        log.warning("The commit of %s is not looked up without huggingface_hub: %s", model, mend)
        return None
    try:
        return look_up(model, revision).commit
    except HubAway as error:
        held = cached_commit(model, revision)
        taken = f"{held[:12]} is taken, which the cache holds" if held else "the first worker's is taken for the run"
        log.warning("Cannot look up the commit of %s (%s); %s", model, in_words(error), taken)
        return held
    except RunFault as error:
        if is_offline():
            log.warning("The commit of %s is not looked up (HF_HUB_OFFLINE) and not in the cache here", model)
            return None
        raise RecipeError(
            f"{error}; or give the recipe its `revision` (a commit of 40 digits), which is not looked up"
        ) from error
