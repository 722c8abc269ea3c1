"""The one place that reads the environment. boto3 reads its own variables; they have no second spelling here."""

import os
import socket
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from posemill.addresses import allowed_host, redis_address, store_address
from posemill.errors import BadInput

LONGEST_SECONDS = 1_000_000.0  # eleven days: more is not meant, and Redis takes no number without end
SECRETS = ("POSEMILL_REDIS_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN")
NOT_OF_SETTINGS = tuple(
    f"POSEMILL_{name}"
    for name in ("DIR", "REDIS_URL_FILE", "REDIS_PASSWORD", "DETECT_CONCURRENCY", "RECIPES", "EXPORTS", "USER")
)  # the folder of `posemill up`; what the compose file reads, for an --env-file may hold that too


def _redis_address(url: SecretStr) -> SecretStr:
    return SecretStr(redis_address(url.get_secret_value()))


def _hosts(listed: str) -> str:
    return ",".join(allowed_host(host.strip()) for host in listed.split(",") if host.strip())


Seconds = Annotated[float, Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Settings(BaseSettings):
    """POSEMILL_… variables; a worker and a producer on one queue share redis_url and store."""

    model_config = SettingsConfigDict(env_prefix="POSEMILL_", frozen=True)

    redis_url: Annotated[SecretStr, AfterValidator(_redis_address)] = SecretStr("redis://127.0.0.1:6379/0")
    store: Annotated[str, AfterValidator(store_address)] = ""  # s3://bucket or s3://bucket/prefix
    redis_persistence: Literal["required", "optional"] = "required"
    lease_seconds: Seconds = 30.0  # without a renewal a batch is taken over after that
    window: Count = 256  # messages on the broker for each run and stage
    tick_seconds: Seconds = 0.25  # how often the dispatcher looks
    max_attempts: Count = 2  # charged to a batch as a whole; after that its rows are made alone
    max_row_deaths: Count = 5  # processes in a row that a row ended alone, before it is failed
    max_delays: Count = 60  # of a batch by transient errors, before its rows are failed
    stuck_seconds: Seconds = 900.0  # without a step of work a worker ends itself
    deaf_seconds: Seconds = 60.0  # with messages waiting and none taken it does so too
    drain_seconds: float = Field(default=60.0, ge=0, le=LONGEST_SECONDS, allow_inf_nan=False)
    # after SIGTERM, until what is not finished is handed back
    resend_seconds: Seconds = 20.0  # a message unclaimed that long, with the queue short, is lost
    allowed_hosts: Annotated[str, AfterValidator(_hosts)] = (
        ""  # from which sources may be read by URL; comma-separated, .example.org for subdomains
    )
    model_folders: str = ""  # below which workers may load local models; colon-separated, empty: anywhere
    source_folders: str = ""  # below which a manifest may name files, beside its own folder; colon-separated
    worker_threads: int = Field(default=3, ge=1, le=1000)  # one computes, the others load and save
    device: str = "auto"  # auto, cpu, mps, cuda or cuda:N
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    attention: Literal["auto", "xformers", "sdpa"] = "auto"
    cpu_offload: Literal["auto", "on", "off"] = "auto"
    compile: Literal["off", "on"] = "off"  # of the networks, once for each batch shape; minutes, then quicker
    png_compress_level: int = Field(default=4, ge=0, le=9)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that sources by URL may come from."""
        return tuple(self.allowed_hosts.split(",")) if self.allowed_hosts else ()


def load_settings() -> Settings:
    """The environment's settings. Raises BadInput that names each variable that is wrong, and never its secret."""
    os.environ.update(secrets_in_files(os.environ))
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"POSEMILL_{str(problem['loc'][0]).upper()}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
        )
        raise BadInput(f"the environment is wrong: {wrong}") from error


def secrets_in_files(environment: Mapping[str, str]) -> dict[str, str]:
    """What files hold that `NAME_FILE` names, for each secret; Docker and Kubernetes hand secrets over as files.

    Raises BadInput for a file that cannot be read, and for a secret that is given twice.
    """
    found: dict[str, str] = {}
    for name in SECRETS:
        path = environment.get(f"{name}_FILE")
        if not path:
            continue
        try:
            secret = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise BadInput(f"{name}_FILE: {path} cannot be read ({type(error).__name__})") from error
        if environment.get(name) not in (None, "", secret):
            raise BadInput(f"{name} and {name}_FILE are both set, to different values; unset one of them")
        found[name] = secret
    return found


def unknown_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """POSEMILL_… variables that nothing reads, each with the one that was probably meant, or nothing."""
    known = [*(f"POSEMILL_{name.upper()}" for name in Settings.model_fields), *NOT_OF_SETTINGS]
    ours = [name for name in sorted(environment) if name.upper().startswith("POSEMILL_")]
    return {name: _closest(name) for name in ours if name.upper() not in known}


def _closest(name: str) -> str:
    """By what follows the prefix, which all share."""
    close = get_close_matches(name[len("POSEMILL_") :].lower(), list(Settings.model_fields), n=1)
    return "".join(f"POSEMILL_{found.upper()}" for found in close)


def in_sentences(unknown: Mapping[str, str]) -> list[str]:
    """One for each variable that nothing reads, with the one that was meant."""
    return [
        f"{name} is set, but nothing reads it" + (f"; did you mean {meant}?" if meant else "")
        for name, meant in unknown.items()
    ]


def worker_id(pid: int | None = None) -> str:
    """Names this process, or another one of this machine, among all workers."""
    return f"{socket.gethostname()}:{pid or os.getpid()}"
