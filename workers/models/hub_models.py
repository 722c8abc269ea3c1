"""A run's models on this machine: one commit of each for the whole run, fetched before the device is taken."""

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from posemill.contract.records import Run, VerifySpec
from posemill.contract.specs import DetectSpec, GenerateSpec, LoraSpec
from posemill.errors import HubAway
from posemill.hub.downloads import without_bars_of_the_client
from posemill.hub.fetching import fetch
from posemill.hub.listings import COMMIT, cached_commit, is_hub_id, look_up
from posemill.hub.needs import (
    Layout,
    Need,
    detect_at_commits,
    generate_at_commits,
    needs_of_detect,
    needs_of_generate,
    needs_of_verify,
    verify_at_commits,
)
from posemill.storage.pins import read_pin, write_pin
from posemill.storage.store import Store
from workers.models.model_folders import ModelFolders

log = logging.getLogger(__name__)

Watch = Callable[[], None]
"""Called again and again while a model is fetched; raises what is to end the waiting."""


class HubModels:
    """Hub ids as commits and as folders; what lies on this machine is left alone."""

    def __init__(self, store: Store, folders: ModelFolders, *, half: bool = False) -> None:
        """`half`: the networks run in half precision."""
        self._store = store
        self._folders = folders
        self._half = half
        without_bars_of_the_client()
        self._commits: dict[tuple[str, str, str, str | None], str] = {}

    def pinned_detects(self, run: Run) -> Run:
        """The run with a commit for all weights. Raises HubAway, and RunFault where the Hub refuses."""
        detects = tuple(
            detect_at_commits(spec, lambda model, revision: self._commit(run, model, revision)) for spec in run.detects
        )
        return run if detects == run.detects else msgspec.structs.replace(run, detects=detects)

    def pinned_generate(self, run: Run) -> Run:
        """The run with a commit for the base and all that it is used with. Raises as `pinned_detects`."""
        generate = generate_at_commits(run.generate, lambda model, revision: self._commit(run, model, revision))
        return run if generate == run.generate else msgspec.structs.replace(run, generate=generate)

    def pinned_verify(self, run: Run) -> Run:
        """The run with a commit for all that its checks load. Raises as `pinned_detects`."""
        assert run.verify is not None
        verify = verify_at_commits(run.verify, lambda model, revision: self._commit(run, model, revision))
        return run if verify == run.verify else msgspec.structs.replace(run, verify=verify)

    def fetch_verify(self, verify: VerifySpec, watch: Watch) -> None:
        """Fetch what the checks load. Raises as `posemill.hub.fetching.fetch`."""
        for need in needs_of_verify(verify):
            self._fetch(need, watch)

    def fetch_detects(self, specs: Iterable[DetectSpec], watch: Watch) -> None:
        """Fetch the detectors' weights. Raises as `posemill.hub.fetching.fetch`."""
        for spec in specs:
            for need in needs_of_detect(spec):
                self._fetch(need, watch)

    def fetch_generate(self, spec: GenerateSpec, watch: Watch) -> None:
        """Fetch what the pipeline is made of. Raises as `posemill.hub.fetching.fetch`."""
        for need in needs_of_generate(spec):
            self._fetch(need, watch)

    def _fetch(self, need: Need, watch: Watch) -> None:
        if is_on_hub(self._folders.place(need.model)):
            fetch(need, half=self._half, watch=lambda _: watch())

    def _commit(self, run: Run, model: str, revision: str | None) -> str | None:
        """The commit that this run uses, which its first worker writes down unless the submission knew it."""
        if (revision and COMMIT.fullmatch(revision)) or not is_on_hub(self._folders.place(model)):
            return revision
        key = (run.id, run.created_at, model, revision)
        if key not in self._commits:
            self._commits[key] = self._agreed(run, model, revision)
        return self._commits[key]

    def _agreed(self, run: Run, model: str, revision: str | None) -> str:
        if standing := read_pin(self._store, run.id, model, revision):
            return standing
        commit = write_pin(self._store, run.id, model, revision, _commit_now(model, revision))
        log.info("%s is taken at %s for the whole run", model, commit, extra={"run_id": run.id})
        return commit


def is_on_hub(place: str) -> bool:
    """Whether a model's place, as ModelFolders gives it, is a hub id and nothing on this machine."""
    return not os.path.lexists(place) and is_hub_id(place)


def on_disk(spec: GenerateSpec, *, half: bool) -> GenerateSpec:
    """The spec of places with the cache's folders for hub ids, fetched where they are not. Raises as `fetch`."""
    found = {
        (need.model, need.revision, need.files): fetch(need, half=half)
        for need in needs_of_generate(spec)
        if is_on_hub(need.model)
    }

    def place(model: str, revision: str | None) -> str:
        held = found.get((model, revision, ()))
        return str(held.folder) if held else model

    def placed(lora: LoraSpec) -> LoraSpec:
        held = found.get((lora.lora, lora.revision, (lora.file,) if lora.file else ()))
        return msgspec.structs.replace(lora, lora=str(held.folder), file=held.choice.files[0]) if held else lora

    nets = (
        msgspec.structs.replace(net, controlnet=place(net.controlnet, net.controlnet_revision))
        for net in spec.controlnets
    )
    return msgspec.structs.replace(
        spec,
        base=place(spec.base, spec.base_revision),
        controlnets=tuple(nets),
        vae=place(spec.vae, spec.vae_revision) if spec.vae else None,
        base_config=place(spec.base_config, spec.base_config_revision) if spec.base_config else None,
        loras=tuple(placed(lora) for lora in spec.loras),
    )


def fetched_file(model: str, name: str, revision: str | None) -> Path:
    """One file of a repository. Raises as `fetch`."""
    need = Need(model=model, revision=revision, layout=Layout.FILES, files=(name,))
    return fetch(need, half=False).folder / name


def _commit_now(model: str, revision: str | None) -> str:
    try:
        return look_up(model, revision).commit
    except HubAway:
        if held := cached_commit(model, revision):
            return held
        raise
