"""Unit tests see no setting of the tests' services, whichever tests ran before them in the same process."""

import os

import pytest


@pytest.fixture(autouse=True)
def _no_settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "_environment" in request.fixturenames:
        return  # it asks for the services
    for name in [name for name in os.environ if name.startswith(("POSEMILL_", "AWS_"))]:
        monkeypatch.delenv(name)
