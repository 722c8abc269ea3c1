"""What the user's shell and current folder hold changes nothing: a run on this machine completes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from producer.local.services import EmbeddedServices

PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "astronaut.png"
RECIPE = {
    "sources": "photos", "prompts": ["a cook"], "detect": {"detector": "openpose-thin"},
    "generate": {"model": "embedded", "num_inference_steps": 1},
}  # fmt: skip
AWS_FILE = "[default]\nendpoint_url = http://127.0.0.1:9\ns3 =\n  addressing_style = virtual\n"
HOSTILE_MODULE = "raise SystemExit('a module of the current folder was run')\n"
HOSTILE_SHELL = {
    "AWS_SESSION_TOKEN": "stale",
    "AWS_PROFILE": "missing",
    "AWS_DEFAULT_PROFILE": "missing",
    "AWS_ENDPOINT_URL": "no address",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    "AWS_CONFIG_FILE": "config",
    "AWS_SHARED_CREDENTIALS_FILE": "config",
    "AWS_CA_BUNDLE": "/nowhere.pem",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AWS_REGION": "no region",
    "AWS_ALLOW_HTTP": "false",
    "AWS_PROXY_URL": "http://127.0.0.1:9",
    "AWS_MAX_ATTEMPTS": "many",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "never",
    "CELERY_BROKER_URL": "redis://127.0.0.1:9/0",
    "CELERY_BROKER_READ_URL": "amqp://127.0.0.1:9//",
    "CELERY_LOADER": "nothing",
    "WEED_JWT_SIGNING_KEY": "x",
    "S3_BUCKET": "another",
    "POSEMILL_REDIS_URL": "redis://127.0.0.1:9/0",
    "POSEMILL_STORE": "s3://another",
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"),
                    "http://127.0.0.1:9"),
}  # fmt: skip


@pytest.fixture
def hostile_folder(tmp_path: Path) -> Path:
    """A current folder that holds modules named like ours and like those of libraries, and AWS's own file."""
    for package in ("workers", "posemill", "producer", "redis"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(HOSTILE_MODULE)
    for module in ("random", "yaml", "json", "celeryconfig", "sitecustomize"):
        (tmp_path / f"{module}.py").write_text(HOSTILE_MODULE)
    (tmp_path / "config").write_text(
        "[default]\nendpoint_url = http://127.0.0.1:9\ns3 =\n  addressing_style = virtual\n"
    )
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(PHOTO.read_bytes())
    (tmp_path / "recipe.yaml").write_text(json.dumps(RECIPE))
    return tmp_path


def posemill(folder: Path, *words: str, shell: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The console command's own start, in that folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "POSEMILL_"))}
    command = [sys.executable, "-P", "-c", "from producer.cli.main import main; main()", *words]
    return subprocess.run(
        command, cwd=folder, env={**kept, **shell}, capture_output=True, text=True, timeout=170, check=False
    )


def test_a_demo_completes_whatever_shell_and_folder_hold(hostile_folder: Path) -> None:
    done = posemill(hostile_folder, "demo", "recipe.yaml", "--out", "out", shell=HOSTILE_SHELL)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Checked: complete and unchanged. 1 samples" in done.stdout
    assert "restart" not in done.stderr


def test_commands_beside_posemill_up_find_its_services_whatever_the_shell_says(hostile_folder: Path) -> None:
    shell = {name: value for name, value in HOSTILE_SHELL.items() if not name.startswith("POSEMILL_")}
    with EmbeddedServices(hostile_folder / ".posemill"):
        for words in (["runs"], ["doctor"]):
            done = posemill(hostile_folder, *words, shell=shell)
            assert done.returncode == 0, done.stdout + done.stderr


def test_a_preview_runs_no_module_of_the_current_folder(hostile_folder: Path) -> None:
    done = posemill(hostile_folder, "preview", "recipe.yaml", "-n", "1", "--out", "out", shell={})
    assert done.returncode == 0, done.stderr[-3000:]


def test_workers_run_no_module_of_the_current_folder(hostile_folder: Path) -> None:
    shell = {"POSEMILL_STORE": "s3://bucket", "POSEMILL_REDIS_URL": "redis://127.0.0.1:9/0"}
    done = posemill(hostile_folder, "worker", "detect", shell=shell)
    assert done.returncode == 3
    assert "Redis does not answer" in done.stderr
    assert "current folder" not in done.stderr
