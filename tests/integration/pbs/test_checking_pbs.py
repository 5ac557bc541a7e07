"""`harvester check` and `harvester init` on a PBS's recorded answers."""

import os
import subprocess
import sys

import msgspec
import pytest
from support.running import free_port

from harvester.config_file import load_config

COMMAND = (sys.executable, "-m", "harvester.cli")


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def run(*words):
    return subprocess.run((*COMMAND, *words), capture_output=True, text=True, timeout=90, check=False)


def check(state, *words):
    where = ("--scheduler", "pbs", "--state", str(state), "--port", str(free_port()))
    done = run("check", *where, "--json", *words)
    document = msgspec.json.decode(done.stdout)
    assert document["exit_code"] == done.returncode, done.stderr
    return document["findings"]


def told(findings, topic):
    return "\n".join(f"{each['severity']}: {each['text']}" for each in findings if each["topic"] == topic)


def test_a_site_is_told_in_pbs_s_own_words(fake_pbs, state):
    found = check(state)
    assert "pbs 23.06.06 answers, read from qstat and pbsnodes" in told(found, "scheduler")
    assert "started as the leader of its session" in told(found, "eviction")
    assert "ok: who is evicted is deleted (preempt_order = D)" in told(found, "eviction")
    assert 'ok: "harvest" (pilots go here) can be harvested' in told(found, "partitions")
    assert ("error: this is root" in told(found, "rights")) is (os.geteuid() == 0)
    assert "not to be seen from here: $usecp" in told(found, "visibility")
    calls = fake_pbs.log.read_text()
    assert not any(verb in calls for verb in ("qsub", "qdel", "qhold", "qrls"))


def test_hidden_batch_jobs_and_suspension_are_told(fake_pbs, state):
    fake_pbs.change("qmgr", "*server) cat", "*server) sed 's/query_other_jobs = True/query_other_jobs = False/'")
    fake_pbs.sched.write_text(fake_pbs.sched.read_text().replace("preempt_order = D", "preempt_order = SCR"))
    found = check(state, "--partition", "harvest")
    assert "error: harvest.mode" in told(found, "configuration")
    assert "hidden" in told(found, "visibility")
    assert "is suspended (preempt_order = SCR)" in told(found, "eviction")
    refused = run("init", "--scheduler", "pbs", "--output", "-")
    assert refused.returncode == 1
    assert "hidden from you" in refused.stderr


def test_init_writes_what_config_file_reads(fake_pbs, state, tmp_path):
    config = tmp_path / "site.toml"
    made = run("init", "--scheduler", "pbs", "--state", str(state), "--output", str(config))
    assert made.returncode == 0, made.stderr
    read = load_config(config)
    assert (read.scheduler.kind, read.harvest.mode) == ("pbs", "preemptible")
    assert {pilot.partition for pilot in read.pilot} == {"harvest"}
    assert not state.exists()


def test_a_pbs_that_is_away_is_an_error(fake_pbs, state):
    fake_pbs.answers("qmgr", "echo Connection refused >&2; exit 3")
    found = check(state)
    assert "error: the scheduler does not answer" in told(found, "scheduler")
