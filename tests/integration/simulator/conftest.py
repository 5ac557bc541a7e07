"""Small traces, made up for the tests, and the traces of others where they are present."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def idle_nodes():
    return Path(__file__).parent / "idle-nodes.txt"


@pytest.fixture
def traces():
    folder = Path(os.environ.get("HARVESTER_TRACES", ROOT.parent / "shared/traces"))
    if not folder.is_dir():
        pytest.skip("the public traces are not here (HARVESTER_TRACES names their folder)")
    return folder
