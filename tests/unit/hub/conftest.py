"""A loopback hub, and a cache of its own for this process."""

import pytest
from huggingface_hub import constants

from tests.loopback_hub import LoopbackHub, loopback_hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """huggingface_hub reads its variables once, when it is imported: here they are set as if that were now."""
    with loopback_hub() as running:
        lead_to(running, tmp_path / "home", monkeypatch)
        yield running


def lead_to(hub: LoopbackHub, home, monkeypatch) -> None:
    for name, value in hub.environment(home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr("posemill.hub.downloads.PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("posemill.hub.fetching.LOOK_SECONDS", 0.02)
