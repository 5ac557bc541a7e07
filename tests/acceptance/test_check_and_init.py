"""`harvester check` and `harvester init` on real Slurms, good ones and bad ones, as an admin runs them."""

import os
import subprocess
import sys
import time

import msgspec
import pytest
from support.running import Running, free_port

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(180)]

IN_MEMORY = "is in memory ("
PILOT = '[scheduler]\nkind = "slurm"\n[[pilot]]\nname = "cpu"\npartition = "harvest"\npython = "{python}"\n'


def run(*words):
    argv = [sys.executable, "-m", "harvester.cli", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=150, check=False)


def check(state, *words):
    """Return the exit code and the findings."""
    done = run("check", "--state", str(state), "--port", str(free_port()), "--json", *words)
    document = msgspec.json.decode(done.stdout)
    assert document["exit_code"] == done.returncode, done.stderr
    return done.returncode, document["findings"]


def bad(findings):
    """Return what is bad, but for the test's own folder in memory: it lies where this machine has its /tmp."""
    return [
        (each["topic"], each["severity"])
        for each in findings
        if each["severity"] in {"warning", "error"}
        and not (each["topic"] == "state folder" and IN_MEMORY in each["text"])
    ]


def texts(findings, topic=""):
    return "\n".join(f"{each['text']} -> {each['remedy']}" for each in findings if topic in {"", each["topic"]})


@pytest.fixture
def clean(slurm):
    """The usual site, idle."""
    slurm.clear()
    yield slurm
    assert slurm.run("squeue", "--noheader") == "", "a check leaves no batch job behind"


def test_a_good_site_is_found_good_by_a_probe_that_leaves_nothing_behind(clean, tmp_path, figures):
    begun = time.monotonic()
    code, found = check(tmp_path / "state", "--scheduler", "slurm", "--probe")
    figures.add("harvester check --probe on an idle site, s", time.monotonic() - begun)
    assert (code, bad(found)) == (0, [])
    assert '"harvest" (pilots go here) can be harvested: pilots are evicted from it' in texts(found, "partitions")
    assert '"prime" is not harvested: its batch jobs are never preempted' in texts(found, "partitions")
    assert f"grace time of {clean.grace_s // 60} min" in texts(found, "eviction")
    assert "the probe ran as a step of its batch job" in texts(found, "eviction")
    assert 'may submit pilot "harvest": it would start at' in texts(found, "rights")
    assert "within 1.5 s" in texts(found, "clock")
    assert "the clock of node n" in texts(found, "clock")
    assert "reaches this check at" in texts(found, "gateway")
    assert "sees the state folder" in texts(found, "nodes")
    assert "8 windows now, 32.0 node-hours within 4 h; strict could use 0.0" in texts(found, "windows")
    assert not (tmp_path / "state").exists()


def test_an_address_that_nodes_do_not_reach_is_an_error(clean, tmp_path):
    unreached = ("--set", "gateway.url=http://127.0.0.1:1")
    code, found = check(tmp_path / "state", "--scheduler", "slurm", "--probe", *unreached)
    assert (code, bad(found)) == (1, [("gateway", "error")])
    assert "Connection refused -> set gateway.url" in texts(found, "gateway")


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("/no/such/python", "set `python` in [[pilot]] to an interpreter that compute nodes have"),
        ("/usr/bin/python3", "install harvester for that Python"),
    ],
)
def test_a_python_that_cannot_run_pilots_is_an_error(clean, tmp_path, python, said):
    config = tmp_path / "site.toml"
    config.write_text(PILOT.format(python=python))
    code, found = check(tmp_path / "state", "--config", str(config), "--probe")
    assert (code, bad(found)) == (1, [("nodes", "error")])
    assert said in texts(found, "nodes")


def test_a_probe_that_finds_no_free_node_says_what_slurm_says(clean, tmp_path):
    all_of_them = ("--partition=prime", f"--nodes={len(clean.nodes)}", "--exclusive", "--time=5", "--output=/dev/null")
    clean.run("sbatch", "--parsable", *all_of_them, "--wrap=sleep 100")
    code, found = check(tmp_path / "state", "--scheduler", "slurm", "--probe", "--wait", "6")
    clean.clear()
    assert (code, bad(found)) == (0, [("nodes", "warning")])
    assert 'did not start in "harvest" within 6 s (it says: ' in texts(found, "nodes")
    assert "no node is free for pilots now" in texts(found, "windows")


def test_a_shape_that_slurm_would_refuse_is_an_error(clean, tmp_path):
    config = tmp_path / "site.toml"
    config.write_text(PILOT.format(python=sys.executable) + "cpus = 64\n")
    code, found = check(tmp_path / "state", "--config", str(config))
    assert (code, bad(found)) == (1, [("limits", "error"), ("rights", "error")])
    assert "the largest has 2 CPUs" in texts(found, "limits")


def test_a_slurm_that_is_away_is_an_error(clean, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", "/no/such/slurm.conf")
    code, found = check(tmp_path / "state", "--scheduler", "slurm", "--set", "scheduler.timeout_s=5")
    assert (code, bad(found)) == (1, [("scheduler", "error")])


def test_the_text_fits_a_terminal(clean, tmp_path):
    done = run("check", "--scheduler", "slurm", "--state", str(tmp_path), "--port", str(free_port()))
    assert max(map(len, done.stdout.splitlines())) <= 80
    verdict = "nothing is in the way of `harvester up`"
    if IN_MEMORY in " ".join(done.stdout.split()):
        verdict = "1 warning: `harvester up` starts here, but see the remedies"
    assert done.stdout.endswith(f"{verdict}\n")


@pytest.mark.parametrize(
    ("kind", "why"), [("no-preemption", "PreemptType is preempt/none"), ("suspend", "would be suspended, not ended")]
)
def test_a_site_that_does_not_evict_is_told_and_init_proposes_to_yield(site, tmp_path, kind, why):
    site(kind, nodes=2)
    code, found = check(tmp_path / "state", "--scheduler", "slurm")
    assert (code, bad(found)) == (1, [("configuration", "error")])
    assert why in texts(found, "partitions")
    config = tmp_path / "site.toml"
    made = run("init", "--scheduler", "slurm", "--state", str(tmp_path / "state"), "--output", str(config))
    assert made.returncode == 0, made.stderr
    assert 'mode = "yielding"' in config.read_text()
    code, found = check(tmp_path / "state", "--config", str(config))
    assert (code, bad(found)) == (0, [])
    code, found = check(tmp_path / "state", "--config", str(config), "--set", "harvest.mode=strict")
    assert (code, bad(found)) == (0, [("windows", "warning")])


def test_pilots_that_may_not_be_evicted_at_once_are_told(site, tmp_path):
    site("tiers", nodes=2, settings={"PreemptExemptTime": "00:00:30", "PrivateData": "jobs", "MinJobAge": "10"})
    code, found = check(tmp_path / "state", "--scheduler", "slurm")
    assert (code, bad(found)) == (0, [("scheduler", "warning"), ("eviction", "warning")])
    assert "in their first 30 s" in texts(found, "eviction")
    if os.geteuid() == 0:  # PrivateData is not for root
        assert "can be seen" in texts(found, "visibility")


def test_where_qualities_decide_init_takes_one_that_others_evict(site, tmp_path):
    site("qos", nodes=2)
    config = tmp_path / "site.toml"
    made = run("init", "--scheduler", "slurm", "--state", str(tmp_path / "state"), "--output", str(config))
    assert made.returncode == 0, made.stderr
    assert 'qos = "scavenger"' in config.read_text()
    code, found = check(tmp_path / "state", "--config", str(config), "--probe")
    assert (code, bad(found)) == (0, [])
    code, found = check(tmp_path / "state", "--config", str(config), "--set", "scheduler.slurm.account=nobodys")
    assert (code, {each for each in bad(found) if each[0] == "rights"}) == (1, {("rights", "error")})


def test_init_writes_a_configuration_with_which_up_runs_a_function(clean, tmp_path):
    config, state = tmp_path / "site.toml", tmp_path / "state"
    made = run("init", "--scheduler", "slurm", "--state", str(state), "--output", str(config))
    assert made.returncode == 0, made.stderr
    assert "the lowest partition from which they are evicted" in " ".join(made.stdout.split())
    code, found = check(state, "--config", str(config), "--probe")
    assert (code, bad(found)) == (0, [])
    running = Running(state, "--config", str(config), "--port", str(free_port())).start()
    try:
        with running.client("user") as client:
            assert client.submit(abs, -7).result(60) == 7
    finally:
        running.stop()
        clean.clear()
