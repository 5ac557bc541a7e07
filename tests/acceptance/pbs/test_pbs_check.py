"""`harvester check` and `harvester init` on a real PBS, as an admin runs them."""

import subprocess
import sys
import time

import msgspec
import pytest
from support.pbs import PILOTS, being
from support.running import Running, free_port

pytestmark = [pytest.mark.pbs, pytest.mark.timeout(240)]


@pytest.fixture
def work(work):
    """Return a folder that only the pilots' user may write to: of others the check warns."""
    own = work / "own"
    with being(PILOTS):
        own.mkdir(mode=0o755)
    return own


def run(*words):
    argv = [sys.executable, "-m", "harvester.cli", *words]
    with being(PILOTS):
        return subprocess.run(argv, capture_output=True, text=True, timeout=150, check=False, cwd="/")


def check(state, *words):
    """Return the exit code and the findings."""
    where = ("--scheduler", "pbs", "--state", str(state), "--port", str(free_port()))
    done = run("check", *where, "--json", *words)
    document = msgspec.json.decode(done.stdout)
    assert document["exit_code"] == done.returncode, done.stderr
    return done.returncode, document["findings"]


def bad(findings):
    return [(each["topic"], each["severity"]) for each in findings if each["severity"] in {"warning", "error"}]


def told(findings, topic):
    return "\n".join(
        f"{each['severity']}: {each['text']} -> {each['remedy']}" for each in findings if each["topic"] == topic
    )


def test_a_probe_leads_its_session_and_leaves_nothing_behind(pbs, work, figures):
    begun = time.monotonic()
    code, found = check(work / "state", "--probe")
    figures.add("harvester check --probe on an idle PBS, s", time.monotonic() - begun)
    assert (code, bad(found)) == (0, [])
    assert "ok: the probe ran as the leader of its session" in told(found, "eviction")
    assert "ok: who is evicted is deleted (preempt_order = D)" in told(found, "eviction")
    assert 'ok: "harvest" (pilots go here) can be harvested' in told(found, "partitions")
    assert "reaches this check at" in told(found, "gateway")
    assert "sees the state folder" in told(found, "nodes")
    assert not (work / "state").exists()
    give_up_at = time.monotonic() + 15
    while pbs.run("qselect"):
        assert time.monotonic() < give_up_at, "a check leaves no batch job behind"
        time.sleep(0.2)


def test_a_site_that_suspends_or_evicts_for_express_alone_is_told_with_the_command_to_set_it(pbs, work):
    pbs.set("sched preempt_order", "SCR")
    code, found = check(work / "state")
    assert (code, bad(found)) == (1, [("configuration", "error")])
    assert "note: who is evicted is suspended (preempt_order = SCR)" in told(found, "eviction")
    assert 'qmgr -c "set sched preempt_order = D"' in told(found, "eviction")
    pbs.set("sched preempt_order", "D")
    pbs.set("sched preempt_prio", '"express_queue, normal_jobs"')
    _, found = check(work / "state")
    assert "note: only express queues evict anybody" in told(found, "eviction")


def test_a_long_kill_delay_is_a_warning(pbs, work):
    pbs.set("queue harvest kill_delay", "600")
    code, found = check(work / "state")
    assert (code, bad(found)) == (0, [("eviction", "warning")])
    assert "stops the scheduler for 10 min" in told(found, "eviction")


def test_an_address_that_nodes_do_not_reach_and_a_python_that_is_not_there_are_errors(pbs, work):
    code, found = check(work / "state", "--probe", "--set", "gateway.url=http://127.0.0.1:1")
    assert (code, bad(found)) == (1, [("gateway", "error")])
    config = work / "site.toml"
    config.write_text('[[pilot]]\nname = "cpu"\npartition = "harvest"\npython = "/no/such/python"\n')
    code, found = check(work / "state", "--config", str(config), "--probe", "--wait", "40")
    assert (code, bad(found)) == (1, [("nodes", "error")])
    assert "/no/such/python" in told(found, "nodes")
    assert "set `python` in [[pilot]]" in told(found, "nodes")


def test_init_writes_a_configuration_with_which_up_runs_a_function(pbs, work):
    config, state = work / "site.toml", work / "state"
    made = run("init", "--scheduler", "pbs", "--state", str(state), "--output", str(config))
    assert made.returncode == 0, made.stderr
    code, found = check(state, "--config", str(config))
    assert (code, bad(found)) == (0, [])
    running = Running(state, "--config", str(config), "--port", str(free_port()))
    with being(PILOTS):
        running.start()
    try:
        with running.client("user") as client:
            assert client.submit(abs, -7).result(60) == 7
    finally:
        running.stop()
