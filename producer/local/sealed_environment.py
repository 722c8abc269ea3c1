"""The environment of what runs on this machine alone: nothing in the shell leads it to another server.

boto3, obstore and Celery obey dozens of variables, files in the home folder, and proxies. For services of our own all
of them go; what the services say takes their place. Proxies stay for what is fetched from elsewhere, such as models.
"""

import os
from collections.abc import Mapping

LOOPBACK_HOSTS = ("127.0.0.1", "localhost")
FOREIGN = ("AWS_", "CELERY_", "WEED_")  # how the names of variables begin that could lead elsewhere
HARMFUL = (
    "PYTHONWARNINGS",  # `error` would end each worker with the first warning of a library
    "POSEMILL_REDIS_URL_FILE",  # of another Redis than ours
)
NO_FILES = {  # ~/.aws may name another server, a profile, or a way of addressing
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
NO_PROXY = ("NO_PROXY", "no_proxy")  # libraries differ in which they read first


def sealed(environment: Mapping[str, str], services: Mapping[str, str]) -> dict[str, str]:
    """`environment` without what could lead to other services, and with the variables of ours."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.upper().startswith(FOREIGN) and name not in HARMFUL
    }
    return {**kept, **NO_FILES, **dict.fromkeys(NO_PROXY, _unproxied(environment)), **services}


def _unproxied(environment: Mapping[str, str]) -> str:
    """The hosts that no proxy serves: those of the shell and this machine's own."""
    named = [host.strip() for name in NO_PROXY for host in environment.get(name, "").split(",")]
    if "*" in named:
        return "*"
    return ",".join(dict.fromkeys(host for host in (*named, *LOOPBACK_HOSTS) if host))
