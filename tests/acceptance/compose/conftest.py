"""The cluster of containers that `make test-compose` has brought up: HARVESTER_TEST_COMPOSE is its compose command.

Without that these tests are not collected (tests/acceptance/conftest.py): a machine without a Docker engine has nothing
to run them on.
"""

import os
import shlex
from collections.abc import Iterator

import pytest
from support.containers import Containers, Site, until


@pytest.fixture
def site() -> Iterator[Site]:
    """Yield the cluster with all its nodes in use and no prime batch job, and leave it so."""
    site = Site(Containers(shlex.split(os.environ["HARVESTER_TEST_COMPOSE"])))
    yield site
    site.containers.start_all()
    until(site.node_states, "the controller to answer")
    site.slurm("scancel", "--quiet", "--name=prime", user="root")
    until(site.is_in_use, "all nodes to be in use again")
    until(lambda: site.containers.ask("login", "harvester", "whoami")[0] == 0, "the gateway to answer")
