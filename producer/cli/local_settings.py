"""Settings for commands: the environment, or the services that `posemill up` keeps in this folder."""

import os
from pathlib import Path

from posemill.errors import BadInput
from posemill.settings import Settings, load_settings
from producer.local.sealed_environment import sealed

FOLDER = Path(".posemill")


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
    named = [name for name in ("POSEMILL_STORE", "POSEMILL_REDIS_URL") if os.environ.get(name)]
    if not (FOLDER / "services.json").is_file():
        return load_settings()
    if named == ["POSEMILL_REDIS_URL"]:
        raise BadInput(
            f"POSEMILL_REDIS_URL is set, so the services of {FOLDER}/ are not used, but POSEMILL_STORE is not: set "
            f"it to that fleet's s3://bucket/prefix, or unset POSEMILL_REDIS_URL to use {FOLDER}/"
        )
    if not named:
        from producer.local.service_state import read_state, require_own
        from producer.local.services import environment_of

        require_own(FOLDER)
        environment = sealed(os.environ, environment_of(read_state(FOLDER / "services.json")))
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
    return load_settings()
