"""Fetches what a recipe's workers load, before the run."""

import os
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import msgspec

from posemill.catalogue.models import EMBEDDED
from posemill.contract.records import Run
from posemill.errors import RunFault
from posemill.hub.fetching import Watch, fetch
from posemill.hub.listings import is_hub_id
from posemill.hub.needs import Need, needs_of_detect, needs_of_generate, needs_of_verify
from posemill.settings import Settings
from producer.recipes.resolving import open_recipe


class Pulled(msgspec.Struct, frozen=True, kw_only=True):
    """A repository that is here now, as far as it is loaded."""

    model: str
    commit: str
    files: int
    size_bytes: int
    variant: str | None  # of its weights


def pull(
    recipe: str | Path | dict[str, Any], *, overrides: tuple[str, ...] = (), settings: Settings, watch: Watch
) -> Iterator[Pulled]:
    """Each repository as it comes. Raises RecipeError, HubAway, and RunFault where the Hub refuses."""
    try:
        import huggingface_hub  # noqa: F401  # an extra
    except ImportError as error:
        raise RunFault("models are fetched with huggingface_hub: pip install 'posemill[hub]'") from error
    half = computes_in_half(settings)
    for need in needs_of(open_recipe(recipe, overrides).as_run("pull")):
        found = fetch(need, half=half, watch=watch)
        sizes = [(found.folder / name).stat().st_size for name in found.choice.files]
        yield Pulled(
            model=need.model, commit=found.commit, files=len(sizes), size_bytes=sum(sizes), variant=found.choice.variant
        )


def needs_of(run: Run) -> list[Need]:
    """What a run's workers need of the Hub, each repository's part once."""
    needs = [need for spec in run.detects for need in needs_of_detect(spec)] + list(needs_of_generate(run.generate))
    needs += needs_of_verify(run.verify) if run.verify else []
    on_hub = [need for need in needs if is_hub_id(need.model) and not need.model.startswith(EMBEDDED)]
    return list(dict.fromkeys(need for need in on_hub if not os.path.lexists(need.model)))


def computes_in_half(settings: Settings) -> bool:
    """Whether this machine's workers would compute in half precision, as far as is known without torch."""
    if settings.dtype != "auto":
        return settings.dtype != "float32"
    return settings.device.startswith("cuda") or (settings.device == "auto" and which("nvidia-smi") is not None)
