"""As the conftest.py of a project that uses the harvester; but the harvester ends with the tests of this folder."""

import pytest

from harvester.testing import InProcessHarvester
from harvester.testing.fixtures import harvester_client

__all__ = ["harvester_client", "in_process_harvester"]


@pytest.fixture(scope="module")
def in_process_harvester():
    """As the one that it takes the place of, which lives for the whole session: its threads would meet other tests."""
    with InProcessHarvester() as system:
        yield system
