"""Settings for commands: the environment, or the services that `posemill up` keeps in this folder."""

import os
from pathlib import Path

from pydantic import ValidationError

from posemill.errors import BadInput
from posemill.settings import Settings

FOLDER = Path(".posemill")


def local_settings() -> Settings:
    """What POSEMILL_STORE says; without it, the services of `.posemill/`, which may be up right now.

    The latter also sets boto3's variables, for this process and its children.
    """
    if "POSEMILL_STORE" not in os.environ and (FOLDER / "services.json").is_file():
        from producer.service_state import read_state
        from producer.services import environment_of

        os.environ.update(environment_of(read_state(FOLDER / "services.json")))
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"POSEMILL_{str(problem['loc'][0]).upper()}: {problem['msg']}" for problem in error.errors())
        raise BadInput(f"the environment is wrong: {wrong}") from error
