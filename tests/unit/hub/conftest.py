"""Waits are short here."""

import pytest


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posemill.hub.downloads.PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("posemill.hub.fetching.LOOK_SECONDS", 0.02)
