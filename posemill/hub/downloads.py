"""One file of a repository, into the Hub's cache: fetched once a machine, and resumed where it broke off.

huggingface_hub keeps the cache and speaks to the Hub; but it begins a file anew whenever the process that fetched it
ends, or a connection breaks for the sixth time. So large files are put into its cache's place for them here.
"""

import hashlib
import logging
import time
from pathlib import Path
from typing import Any

from posemill.errors import HubAway
from posemill.hub.listings import cached_file, parts_of, repository_folder
from posemill.hub.troubles import asking

log = logging.getLogger(__name__)

LARGE = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".onnx")
TRIES = 3  # without a byte more; each is some tries of the client
PAUSE_SECONDS = 2.0  # between them; doubles
CHUNK_BYTES = 1 << 16  # what a connection that breaks may cost


def download(model: str, commit: str, name: str) -> Path:
    """The file's place in the cache. Raises HubAway when it does not come, RunFault for a refusal."""
    if found := cached_file(model, commit, name):
        return found
    from huggingface_hub import hf_hub_download

    if name.endswith(LARGE):
        _fetch_blob(model, commit, name)
    with asking(model, commit):
        return Path(hf_hub_download(model, name, revision=commit))


def without_bars_of_the_client() -> None:
    """huggingface_hub draws a bar for every file, in logs as well; progress is told by `fetch`."""
    try:
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]
    except ImportError:
        return
    disable_progress_bars()


def _fetch_blob(model: str, commit: str, name: str) -> None:
    """Try while bytes come; raises what the last try met."""
    tries, before = 0, -1
    while True:
        try:
            with asking(model, commit):
                _try_blob(model, commit, name)
            return
        except HubAway as error:
            size = _part_bytes(model)
            tries = 1 if size != before else tries + 1
            before = size
            if tries >= TRIES:
                raise
            log.warning("%s of %s broke off after %d bytes and is resumed: %s", name, model, size, error)
            time.sleep(PAUSE_SECONDS * 2 ** (tries - 1))


def _try_blob(model: str, commit: str, name: str) -> None:
    """Fetch what is missing of the file, unless another process did so meanwhile."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

    constants.DOWNLOAD_CHUNK_SIZE = min(constants.DOWNLOAD_CHUNK_SIZE, CHUNK_BYTES)  # a chunk that breaks off is lost
    url = hf_hub_url(model, name, revision=commit)
    about = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    if about.etag is None or about.size is None or _comes_in_chunks(about):
        return  # the client's own way
    folder = repository_folder(model)
    blob, part = folder / "blobs" / about.etag, folder / "blobs" / f"{about.etag}.incomplete"
    lock = folder.parent / ".locks" / folder.name / f"{about.etag}.lock"  # the client's own for this file
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists():
            return
        if part.exists() and part.stat().st_size > about.size:
            part.unlink()
        same = about.location.startswith(constants.ENDPOINT)  # a token is for the Hub alone, not for where files lie
        headers = build_hf_headers() if same else build_hf_headers(token=False)
        try:
            with part.open("ab") as stream:
                size = stream.tell()
                http_get(about.location, stream, resume_size=size, headers=headers, expected_size=about.size)
        except RecursionError as error:  # the client calls itself at every connection that breaks
            raise HubAway(f"{name} of {model} broke off too often at a stretch") from error
        _require_content(part, about.etag, f"{name} of {model}")
        part.replace(blob)


def _comes_in_chunks(about: Any) -> bool:
    """Whether the client fetches it by Xet, which keeps the chunks that it has."""
    if getattr(about, "xet_file_data", None) is None:
        return False
    try:
        from huggingface_hub.utils import is_xet_available
    except ImportError:  # of versions that know no Xet
        return False
    return bool(is_xet_available())


def _require_content(part: Path, etag: str, what: str) -> None:
    """A large file's ETag is its digest; raises HubAway, and forgets the file, when it has another."""
    if len(etag) != 64:
        return
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != etag:
        part.unlink()
        raise HubAway(f"{what} did not arrive as it is there; it is fetched again")


def _part_bytes(model: str) -> int:
    return sum(path.stat().st_size for path in parts_of(model) if path.exists())
