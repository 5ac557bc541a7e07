"""Fixtures for pytest. A project's conftest.py takes them in with `from harvester.testing.fixtures import *`.

Owns how long a harvester lives: one for all tests, because starting it takes longer than using it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harvester.sdk.client import Client
from harvester.sdk.registration import default
from harvester.testing.in_process import InProcessHarvester

__all__ = ["harvester_client", "in_process_harvester"]


@pytest.fixture(scope="session")
def in_process_harvester() -> Iterator[InProcessHarvester]:
    """A harvester in this process, for all tests of the session."""
    with InProcessHarvester() as system:
        yield system


@pytest.fixture
def harvester_client(in_process_harvester: InProcessHarvester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of it. During the test decorated functions, and `harvester.Client()`, find the same harvester."""
    for name, value in in_process_harvester.environment.items():
        monkeypatch.setenv(name, value)
    with in_process_harvester.client() as client, default.replaced_by(client):
        yield client
