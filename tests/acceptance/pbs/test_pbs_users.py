"""What a user's commands say and do on a real PBS: check, windows, and the demo."""

import json
import subprocess
import sys

import pytest
from support.pbs import PILOTS, being

pytestmark = [pytest.mark.pbs, pytest.mark.timeout(240)]


@pytest.fixture
def harvester(pbs, work, monkeypatch):
    """Return a function that runs the command line as the pilots' user, whose home is a folder of the test's."""
    monkeypatch.setenv("HOME", str(work))
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "harvester.cli", *arguments]
        with being(PILOTS):
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=200, cwd=work)
        sys.stdout.write(done.stdout + done.stderr)
        return done

    return run


def test_the_check_with_a_probe_finds_a_site_that_is_fit(harvester):
    done = harvester("check", "--scheduler", "pbs", "--probe", "--json")
    assert json.loads(done.stdout)
    assert done.returncode == 0


def test_the_check_forbids_a_site_where_nobody_takes_a_pilots_node(pbs, harvester):
    pbs.qmgr("unset queue harvest max_run_soft")
    done = harvester("check", "--scheduler", "pbs", "--partition", "harvest")
    assert done.returncode == 1
    assert "max_run_soft" in done.stdout


def test_windows_tells_which_nodes_are_free(pbs, harvester):
    pbs.qsub("-q", "prime", "-l", "select=1:ncpus=2:host=n3")
    done = harvester("windows", "--scheduler", "pbs")
    assert done.returncode == 0
    assert [name for name in pbs.nodes if name in done.stdout] == ["n1", "n2", "n4"]


def test_the_demo_shows_an_eviction_and_a_resumed_function(harvester):
    assert harvester("demo", "--scheduler", "pbs").returncode == 0
