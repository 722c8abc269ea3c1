"""Brings what is needed of a repository into the Hub's cache, and says where it lies; whoever waits is kept awake."""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from posemill.errors import HubAway, RunFault
from posemill.hub.choosing import (
    MODEL_INDEX,
    Choice,
    Wishes,
    choose_adapter,
    choose_configurations,
    choose_named,
    choose_network,
    choose_pipeline,
)
from posemill.hub.downloads import download
from posemill.hub.listings import (
    Listing,
    cached_file,
    cached_listing,
    is_offline,
    look_up,
    missing_words,
    parts_of,
    snapshot,
)
from posemill.hub.needs import Layout, Need

log = logging.getLogger(__name__)

T = TypeVar("T")
LOOK_SECONDS = 0.5
LOG_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a repository has come."""

    model: str
    done_bytes: int
    total_bytes: int | None = None

    def __str__(self) -> str:
        total = f" of {self.total_bytes / 1e6:,.0f}" if self.total_bytes else ""
        return f"{self.model}: {self.done_bytes / 1e6:,.0f}{total} MB"


Watch = Callable[[Progress], None]
"""Called again and again while somebody waits; raises what is to end the waiting."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A repository's files in the cache."""

    folder: Path
    commit: str
    choice: Choice


def fetch(need: Need, *, half: bool, watch: Watch = lambda _: None) -> Fetched:
    """All of a repository that is loaded, in the cache. The downloading goes on if `watch` ends the waiting.

    Raises HubAway while the Hub does not answer, RunFault when it refuses or the model cannot be used as it is.
    """
    work = _Fetching(need, Wishes(half=half, variant=need.variant, allow_pickle=need.allow_pickle))
    return _in_background(work.run, lambda: watch(work.progress), _Reporter(work))


def choose(need: Need, folder: Path, *, half: bool) -> Choice:
    """What is loaded of a folder on this machine. Raises RunFault when the model cannot be used as it is."""
    if not folder.is_dir():
        raise RunFault(f"{need.model} cannot be loaded: it is no folder on this machine, and no hub id")
    files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    wishes = Wishes(half=half, variant=need.variant, allow_pickle=need.allow_pickle)
    return _choice(need, files, wishes, lambda name: folder / name)


class _Fetching:
    def __init__(self, need: Need, wishes: Wishes) -> None:
        self._need = need
        self._wishes = wishes
        self._wanted: dict[str, int | None] = {}
        self._commit = ""

    @property
    def progress(self) -> Progress:
        """Whichever process fetches: what the cache holds by now."""
        model = self._need.model
        held = [path for name in list(self._wanted) if (path := cached_file(model, self._commit, name))]
        sizes = [_size(path) for path in [*held, *(parts_of(model) if self._wanted else ())]]
        total = sum(size or 0 for size in self._wanted.values())
        return Progress(model=model, done_bytes=sum(sizes), total_bytes=total or None)

    def run(self) -> Fetched:
        """Look up, choose, fetch what is missing."""
        need = self._need
        try:
            listing = look_up(need.model, need.revision)
        except HubAway:
            known = cached_listing(need.model, need.revision)
            if known is None or (found := self._all_held(known)) is None:
                raise
            return found
        if is_offline():
            found = self._all_held(listing)
            if found is None:
                raise RunFault(missing_words(need.model, need.revision))
            return found
        choice = self._choose(listing)
        self._commit = listing.commit
        self._wanted = {name: listing.files.get(name) for name in choice.files}
        for name in choice.files:
            download(need.model, listing.commit, name)
        return Fetched(folder=snapshot(need.model, listing.commit), commit=listing.commit, choice=choice)

    def _all_held(self, listing: Listing) -> Fetched | None:
        """As `run`, if the cache has all; None if not."""
        model, commit = self._need.model, listing.commit
        if self._need.layout is Layout.PIPELINE and cached_file(model, commit, MODEL_INDEX) is None:
            return None
        folder = snapshot(model, commit)
        try:
            choice = _choice(self._need, list(listing.files), self._wishes, lambda name: folder / name)
            if not all(cached_file(model, commit, name) for name in choice.files):  # other files than these may do
                held = [name for name in listing.files if cached_file(model, commit, name)]
                choice = _choice(self._need, held, self._wishes, lambda name: folder / name)
        except RunFault:
            return None
        return Fetched(folder=folder, commit=commit, choice=choice)

    def _choose(self, listing: Listing) -> Choice:
        model, commit = self._need.model, listing.commit
        return _choice(self._need, list(listing.files), self._wishes, lambda name: download(model, commit, name))


def _choice(need: Need, files: list[str], wishes: Wishes, read: Callable[[str], Path]) -> Choice:
    if need.layout is Layout.NETWORK:
        return choose_network(need.model, files, wishes)
    if need.layout is Layout.ADAPTER:
        return choose_adapter(need.model, files, need.files[0] if need.files else None)
    if need.layout is Layout.FILES:
        return choose_named(need.model, files, need.files)
    if need.layout is Layout.CONFIGURATIONS:
        return choose_configurations(files)
    if MODEL_INDEX not in files:
        raise RunFault(f"{need.model} has no {MODEL_INDEX}: it is no base in diffusers' layout")
    return choose_pipeline(need.model, files, _index(need.model, read(MODEL_INDEX)), wishes, need.without)


def _index(model: str, path: Path) -> dict[str, Any]:
    try:
        index = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RunFault(f"{model}: its {MODEL_INDEX} cannot be read ({type(error).__name__})") from error
    if not isinstance(index, dict):
        raise RunFault(f"{model}: its {MODEL_INDEX} is no mapping")
    return index


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # gone meanwhile
        return 0


class _Reporter:
    """Says every few seconds how far it is."""

    def __init__(self, work: _Fetching) -> None:
        self._work = work
        self._said = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._said >= LOG_SECONDS:
            self._said = time.monotonic()
            log.info("Fetching %s", self._work.progress)


@dataclass
class _Outcome(Generic[T]):
    values: list[T] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)


def _in_background(work: Callable[[], T], *each: Callable[[], None]) -> T:
    """What `work` gives; `each` is called meanwhile. A daemon thread, so that a process can end while it downloads."""
    outcome = _Outcome[T]()

    def run() -> None:
        try:
            outcome.values.append(work())
        except BaseException as error:  # noqa: BLE001  # raised below, in the thread that waits
            outcome.errors.append(error)

    thread = threading.Thread(target=run, name="hub", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_SECONDS)
        if thread.is_alive():
            for call in each:
                call()
    if outcome.errors:
        raise outcome.errors[0]
    return outcome.values[0]
