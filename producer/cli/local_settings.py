"""Settings for commands: the environment, or the services that `posemill up` keeps in this folder."""

import os
from pathlib import Path

from posemill.errors import BadInput
from posemill.settings import Settings, load_settings
from producer.local.sealed_environment import sealed

DIRECTORY = "POSEMILL_DIR"  # the folder in which `posemill up` runs; the current one where it is not set


def services_folder() -> Path:
    """Where `posemill up` keeps its services and their data: `.posemill/` here, or in POSEMILL_DIR."""
    return Path(os.environ.get(DIRECTORY) or ".") / ".posemill"


def lead_to(directory: str) -> None:
    """Let this process and its children find the services of `posemill up` in another folder."""
    os.environ[DIRECTORY] = str(Path(directory).resolve())


def local_settings() -> Settings:
    """What the environment says of storage and Redis; where it says nothing, the services of `.posemill/`.

    The latter, which may be up right now, also seal the environment of this process and its children: it leads to them
    alone.

    Returns:
        The settings to hand to `submit`, `open_run` and the others.

    Raises:
        BadInput: A variable of the environment is wrong, or Redis is named and storage is not: half of each would be
            nobody's wish.
        ServiceError: `.posemill/` belongs to another user, or others can write to it.
    """
    folder = services_folder()
    named = [name for name in ("POSEMILL_STORE", "POSEMILL_REDIS_URL") if _is_named(name)]
    if not (folder / "services.json").is_file():
        return load_settings()
    if named == ["POSEMILL_REDIS_URL"]:
        raise BadInput(
            f"POSEMILL_REDIS_URL is set, so the services of {folder}/ are not used, but POSEMILL_STORE is not: set "
            f"it to that fleet's s3://bucket/prefix, or unset POSEMILL_REDIS_URL to use {folder}/"
        )
    if not named:
        from producer.local.service_state import read_state, require_own
        from producer.local.services import environment_of

        require_own(folder)
        environment = sealed(os.environ, environment_of(read_state(folder / "services.json")))
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
    return load_settings()


def _is_named(name: str) -> bool:
    """Whether a variable is set, or the file that holds it."""
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))
