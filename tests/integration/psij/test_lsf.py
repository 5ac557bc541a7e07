"""`harvester up` on a scheduler that is reached through PSI/J alone: a tiny LSF of files."""

import json
import signal
import subprocess
import sys

import pytest
from support import fake_lsf
from support.running import Running

import harvester

CONFIG = """
[gateway]
lease_s = 1.0

[scheduler]
kind = "psij"
timeout_s = 3.0

[scheduler.psij]
executor = "lsf"
preemptible = true
grace_s = 10
options = ["-app", "harvest"]

[harvest]
look_s = 0.5
rest_look_s = 0.5
commands_per_min = 10000

[[pilot]]
name = "two"
partition = "idle"
cpus = 2
checkpoint_interval_s = 0.1
"""


@harvester.function(ship_module=True, checkpoints=True)
def count(steps):
    """Count to `steps` in 20 steps a second."""
    import time

    import harvester

    ctx = harvester.context()
    done = ctx.restore(0)
    while done < steps:
        time.sleep(0.05)
        done += 1
        ctx.checkpoint(done)
    return ctx.attempt, done


@pytest.fixture
def lsf(tmp_path, monkeypatch):
    folder = tmp_path / "lsf"
    for name, value in fake_lsf.install(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HARVESTER_SECRET", "the daemon's own")
    return folder


@pytest.fixture
def running(tmp_path, lsf):
    config = tmp_path / "site.toml"
    config.write_text(CONFIG)
    running = Running(tmp_path / "the state", "--config", str(config), "--port", "0", "--ready", "0")
    running.start()
    yield running
    running.stop()
    running.kill_pilots()


def names(lsf):
    return [record["JOB_NAME"] for record in fake_lsf.records(lsf)]


def test_a_function_runs_and_is_resumed_on_another_pilot_when_its_own_is_killed(running, lsf):
    with running.client() as client:
        future = client.submit(count, 60)

        def activations():
            return client.invocation(future.invocation_id)["activations"]

        running.wait_for(lambda: activations() and activations()[0]["checkpoints"], "a checkpoint")
        (agent,) = running.agents()
        assert "HARVESTER_SECRET" not in agent.environ(), "the daemon's environment reached the pilot"
        agent.send_signal(signal.SIGKILL)
        attempt, done = future.result(timeout=30)
        assert (attempt, done) == (2, 60)
        assert [each["end"] for each in activations()] == ["pilot lost", "succeeded"]
    first, *_ = fake_lsf.records(lsf)
    options = first["OPTIONS"]
    for words in ("-q idle", "-n 2", "-R span[hosts=1]", "-W 1:30", "-rn", "-app harvest"):
        assert words in options, options
    assert len(set(names(lsf))) == 2


def test_a_pilot_that_leaves_at_a_signal_hands_its_work_over(running, lsf):
    with running.client() as client:
        future = client.submit(count, 60)

        def activations():
            return client.invocation(future.invocation_id)["activations"]

        running.wait_for(lambda: activations() and activations()[0]["checkpoints"], "a checkpoint")
        (record,) = fake_lsf.records(lsf)
        subprocess.run(["bkill", record["JOBID"]], check=True, capture_output=True)
        assert future.result(timeout=30) == (2, 60)
        assert activations()[0]["end"] == "evicted"
        assert client.daemon()["note"]["paused"] is False, "an eviction is no failure"


def test_a_submission_whose_answer_is_lost_is_found_by_its_name_and_not_doubled(running, lsf):
    (lsf / "bsub.lost").touch()
    (lsf / "hold").touch()
    with running.client() as client:
        future = client.submit(count, 10)

        def found():
            return [(pilot["state"], pilot["batch_job_id"]) for pilot in client.pilots()] == [("queued", "1")]

        running.wait_for(found, "the pilot to be found by its name", 30)
        (lsf / "hold").unlink()
        assert future.result(timeout=30) == (1, 10)
    assert len(names(lsf)) == 1, names(lsf)


def test_a_pilot_that_calls_before_its_lost_submission_is_looked_for_is_known_by_what_it_tells(running, lsf):
    (lsf / "bsub.lost").touch()
    with running.client() as client:
        assert client.submit(count, 10).result(timeout=40) == (1, 10)
        (pilot,) = client.pilots()
        assert (pilot["state"], pilot["batch_job_id"]) == ("ready", "1")
    assert len(names(lsf)) == 1, names(lsf)


def test_an_answer_that_cannot_be_read_ends_no_pilot_and_doubles_none(running, lsf):
    with running.client() as client:
        future = client.submit(count, 100)
        running.wait_for(lambda: client.invocation(future.invocation_id)["activations"], "its start")
        (lsf / "bjobs.garbage").touch()
        assert future.result(timeout=30) == (1, 100)
        errors = running.wait_for(lambda: client.daemon()["note"]["errors"], "the daemon to say so")
        assert any("cannot be read" in error for error in errors), errors
        (lsf / "bjobs.garbage").unlink()
    assert len(names(lsf)) == 1


def test_it_says_what_it_cannot_see(running, monkeypatch):
    monkeypatch.setenv("HARVESTER_URL", running.url)
    monkeypatch.setenv("HARVESTER_TOKEN", running.token())
    with running.client() as client:
        running.wait_for(lambda: client.daemon()["note"].get("looked_at"), "a look")

    def told(*words):
        command = [sys.executable, "-m", "harvester.cli", *words]
        found = subprocess.run(command, check=False, capture_output=True, text=True)
        return found.returncode, " ".join((found.stdout + found.stderr).split())

    code, words = told("windows")
    assert code == 1, words
    assert "LSF is reached through PSI/J alone, which shows no nodes: there are no windows" in words
    code, words = told("status")
    assert code == 0
    for expected in ("lsf through PSI/J", "shows no nodes", "Prime jobs are not seen", "is a hint"):
        assert expected in words, words


def test_check_says_what_is_not_seen_and_refuses_what_needs_it(tmp_path, lsf):
    config = tmp_path / "site.toml"
    config.write_text(f'state = "{tmp_path / "state"}"\n' + CONFIG)

    def checked(*words):
        command = [sys.executable, "-m", "harvester.cli", "check", "--json", "--config", str(config), *words]
        found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        return found.returncode, {each["text"]: each["severity"] for each in json.loads(found.stdout)["findings"]}

    code, told = checked()
    assert code == 0, told
    texts = " ".join(told)
    for words in ("shows no nodes: there are no windows", "Prime jobs are not seen", "state in the queue is a hint"):
        assert words in texts
    assert "0 nodes" not in texts
    assert "has no nodes" not in texts
    config.write_text(config.read_text().replace("[harvest]", '[harvest]\npolicy = "fib"'))
    code, told = checked()
    assert code == 1
    assert any("needs windows" in text and severity == "error" for text, severity in told.items()), told


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('harvest.policy="gap"', 'harvest.policy: "gap" needs windows'),
        ('harvest.mode="strict"', 'harvest.mode: "strict" needs windows'),
        ('harvest.mode="yielding"', 'harvest.mode: "yielding" needs windows'),
        ('harvest.excluded_nodes=["n1"]', "harvest.excluded_nodes: pilots cannot be kept off a node"),
        ("harvest.max_share=0.5", "harvest.max_share: the share is unknown"),
        ("pilot=[]", "pilot: it is missing"),
        ("scheduler.psij.preemptible=false", "scheduler.psij.preemptible: it is not true"),
        ("scheduler.psij.executor=slurm", 'scheduler.psij.executor: PSI/J\'s executor "slurm" cannot be used here'),
    ],
)
def test_settings_that_need_what_it_cannot_see_are_refused_at_the_start(tmp_path, lsf, setting, words):
    config = tmp_path / "site.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "harvester.cli", "up", "--state", str(tmp_path / "state"), "--port", "0"]
    command += ["--config", str(config), "--set", setting]
    found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert found.returncode == 2, found
    assert found.stderr.startswith(f"harvester up: {words}"), found.stderr


def test_flux_without_its_python_package_is_told(tmp_path, lsf):
    config = tmp_path / "site.toml"
    config.write_text(CONFIG.replace('"lsf"', '"flux"'))
    command = [sys.executable, "-m", "harvester.cli", "up", "--state", str(tmp_path / "state"), "--port", "0"]
    found = subprocess.run([*command, "--config", str(config)], check=False, capture_output=True, text=True, timeout=30)
    assert found.returncode == 1, found
    assert "Flux's own Python package" in found.stderr
