"""Settings for commands: the environment, or the services that `posemill up` keeps in this folder."""

import os
from pathlib import Path

from posemill.settings import Settings, load_settings
from producer.local.sealed_environment import sealed

FOLDER = Path(".posemill")


def local_settings() -> Settings:
    """What POSEMILL_STORE says; without it, the services of `.posemill/`, which may be up right now.

    The latter also seals the environment of this process and its children: it leads to these services alone.

    Returns:
        The settings to hand to `submit`, `open_run` and the others.

    Raises:
        BadInput: A variable of the environment is wrong.
        ServiceError: `.posemill/` belongs to another user, or others can write to it.
    """
    if not os.environ.get("POSEMILL_STORE") and (FOLDER / "services.json").is_file():
        from producer.local.service_state import read_state, require_own
        from producer.local.services import environment_of

        require_own(FOLDER)
        environment = sealed(os.environ, environment_of(read_state(FOLDER / "services.json")))
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
    return load_settings()
