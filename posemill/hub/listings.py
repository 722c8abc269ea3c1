"""What a hub repository holds at a commit: asked for once and remembered, or told by the cache where no hub is."""

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

import msgspec

from posemill.errors import HubAway, RunFault
from posemill.hub.troubles import asking

log = logging.getLogger(__name__)

COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
ASK_SECONDS = 10  # for one answer about a repository


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A repository's files at one commit, which never change."""

    commit: str
    files: dict[str, int | None]  # bytes, where they are told


def is_hub_id(model: str) -> bool:
    """Whether a name that is no file or folder here can be a repository's."""
    return bool(HUB_ID.fullmatch(model)) and ".." not in model


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids asking the Hub."""
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def look_up(model: str, revision: str | None) -> Listing:
    """The commit that a revision means now, and its files.

    Raises HubAway when nobody answers, RunFault for a refusal, and offline for what the cache does not hold.
    """
    if revision and COMMIT.fullmatch(revision) and (known := _remembered(model, revision)):
        return known
    if is_offline():
        return cached_listing(model, revision) or _raise_missing(model, revision)
    from huggingface_hub import HfApi

    with asking(model, revision):
        found = HfApi().model_info(model, revision=revision, files_metadata=True, timeout=ASK_SECONDS)
    files = {sibling.rfilename: sibling.size for sibling in found.siblings or []}
    if found.sha is None:
        raise HubAway(f"the Hub names no commit of {model}")
    listing = Listing(commit=found.sha, files=files)
    _remember(model, revision, listing)
    return listing


def cached_listing(model: str, revision: str | None) -> Listing | None:
    """As `look_up` found it last, or as far as the cache's folder tells; None where nothing was fetched."""
    commit = cached_commit(model, revision)
    if commit is None:
        return None
    folder = snapshot(model, commit)
    files = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return _remembered(model, commit) or Listing(commit=commit, files=dict(files))


def cached_commit(model: str, revision: str | None) -> str | None:
    """The commit in the cache that a revision means: as it was looked up last, or the only one there."""
    if revision and COMMIT.fullmatch(revision):
        return revision if snapshot(model, revision).is_dir() else None
    name = revision or "main"
    for reference in (_notes(model) / _file_name(name), repository_folder(model) / "refs" / name):
        with suppress(OSError):
            commit = reference.read_text(encoding="utf-8").strip()
            if COMMIT.fullmatch(commit) and snapshot(model, commit).is_dir():
                return commit
    held = [path.name for path in (repository_folder(model) / "snapshots").glob("*") if path.is_dir()]
    return held[0] if revision is None and len(held) == 1 else None


def repository_folder(model: str) -> Path:
    """Where huggingface_hub keeps a repository in its cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}"


def snapshot(model: str, commit: str) -> Path:
    """The folder in the cache that shows a repository as it is at a commit."""
    return repository_folder(model) / "snapshots" / commit


def cached_file(model: str, commit: str, name: str) -> Path | None:
    """A file of a repository that was fetched to the end."""
    path = snapshot(model, commit) / name
    return path if path.is_file() else None


def missing_words(model: str, revision: str | None) -> str:
    """What to do about a model that is not in the cache while the Hub must not be asked."""
    at = f" at {revision}" if revision else ""
    return (
        f"{model}{at} is not, or not all of it, in the Hub's cache ({repository_folder(model).parent}),"
        " and HF_HUB_OFFLINE is set: fetch it with `posemill models pull RECIPE` where there is a network, copy HF_HOME"
    )


def _raise_missing(model: str, revision: str | None) -> Listing:
    raise RunFault(missing_words(model, revision))


def _notes(model: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "posemill" / "listings" / model.replace("/", "--")


def _file_name(revision: str) -> str:
    return revision.replace("/", "--")


def _remembered(model: str, commit: str) -> Listing | None:
    try:
        return msgspec.json.decode((_notes(model) / f"{commit}.json").read_bytes(), type=Listing)
    except (OSError, msgspec.DecodeError):
        return None


def _remember(model: str, revision: str | None, listing: Listing) -> None:
    """What is not remembered, on a full disk or where nothing may be written, is asked for again."""
    notes = {f"{listing.commit}.json": msgspec.json.encode(listing)}
    if revision != listing.commit:
        notes[_file_name(revision or "main")] = listing.commit.encode()
    for name, content in notes.items():
        try:
            _notes(model).mkdir(parents=True, exist_ok=True)
            part = _notes(model) / f".{token_hex(4)}"
            part.write_bytes(content)
            part.replace(_notes(model) / name)
        except OSError as error:
            log.info("What %s holds is not remembered: %s", model, error)
            return


def parts_of(model: str) -> Iterator[Path]:
    """Files of a repository that are being fetched, by whichever process."""
    yield from (repository_folder(model) / "blobs").glob("*.incomplete")
