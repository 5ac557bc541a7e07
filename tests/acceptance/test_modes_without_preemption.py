"""A site where nobody evicts pilots: strict and yielding mode make way for prime jobs by themselves."""

import re
import time

import pytest
from support.running import Running

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]

EVERYTHING = ("--partition", "harvest", "--set", "harvest.policy=gap", "--set", "harvest.everything=true")


@pytest.fixture
def up(site, tmp_path):
    """Return a function that starts a harvester in a mode on four nodes without preemption, and returns both."""
    started = []

    def start(mode: str, *options: str):
        slurm = site("no-preemption")
        running = Running(
            tmp_path / "state",
            "--scheduler",
            "slurm",
            "--port",
            "0",
            *EVERYTHING,
            "--set",
            f"harvest.mode={mode}",
            *options,
        )
        running.start()
        started.append(running)
        return slurm, running

    yield start
    for running in started:
        running.stop()
        running.kill_pilots()


def prime(slurm, nodes: int, minutes: int, seconds: float, *more: str) -> str:
    return slurm.run(
        "sbatch", "--parsable", "--partition=prime", f"--nodes={nodes}", "--exclusive", f"--time={minutes}",
        "--output=/dev/null", *more, f"--wrap=sleep {seconds}",
    )  # fmt: skip


def waits(slurm, batch_job: str, at_most_s: float) -> float:
    """Return the seconds from now until a batch job does not pend any more."""
    begun_at = time.monotonic()
    while slurm.run("squeue", "--noheader", "--states=all", f"--jobs={batch_job}", "--format=%T") == "PENDING":
        assert time.monotonic() - begun_at < at_most_s, slurm.run("squeue")
        time.sleep(0.05)
    return time.monotonic() - begun_at


def ready(client, count: int):
    return len([pilot for pilot in client.pilots() if pilot["state"] == "ready"]) >= count


def note(client) -> dict:
    return client.daemon()["note"]


def test_in_strict_mode_prime_jobs_that_could_start_without_pilots_do(up, figures):
    slurm, running = up("strict", "--set", "harvest.window_margin_s=10", "--set", "harvest.cycle_s=2")
    first = prime(slurm, 1, 5, 280)
    whole = prime(slurm, 4, 1, 1)
    with running.client() as client:
        running.wait_for(lambda: ready(client, 3), "pilots in the windows before the prime job over all nodes", 60)
        short = prime(slurm, 1, 1, 5)
        figures.add(
            "strict: a prime job that fits before another one, submitted until it runs, s", waits(slurm, short, 15)
        )
        running.wait_for(lambda: ready(client, 2), "pilots again", 60)
        slurm.run("scancel", first)  # long before its limit, so the one over all nodes could start now
        figures.add("strict: a prime job whose nodes are free early, until it runs, s", waits(slurm, whole, 15))


def test_in_yielding_mode_pilots_use_windows_without_an_end_and_make_way(up, figures):
    slurm, running = up("yielding")
    with running.client() as client:
        for nodes in (1, 3, 4):
            running.wait_for(lambda: ready(client, 4), "pilots on all nodes", 60)
            figures.add("yielding: a prime job submitted until it runs, s", waits(slurm, prime(slurm, nodes, 1, 1), 15))
        said = note(client)
        assert said["mode"] == "yielding"
        assert said["worst_delay_s"] < 15
        running.wait_for(lambda: ready(client, 4), "pilots on all nodes again", 60)
        waiting = ("squeue", "--noheader", "--partition=harvest", "--states=PENDING", "--format=%r")
        running.wait_for(lambda: "JobHeld" not in slurm.run(*waiting), "who was held to be released", 15)


def test_a_prime_job_that_can_never_start_does_not_end_the_harvest(up):
    slurm, running = up("yielding")
    slurm.run("scontrol", "update", "partitionname=prime", "maxnodes=2")
    try:
        slurm.run(
            "sbatch", "--partition=prime", "--nodes=3", "--exclusive", "--time=1", "--output=/dev/null", "--wrap=true"
        )
        prime(slurm, 1, 1, 1, "--hold")
        with running.client() as client:
            running.wait_for(lambda: ready(client, 4), "pilots on all nodes", 60)
    finally:
        slurm.run("scontrol", "update", "partitionname=prime", "maxnodes=UNLIMITED")


def test_in_yielding_mode_pilots_leave_by_themselves_when_the_daemon_is_dead(up, figures):
    slurm, running = up("yielding", "--set", "harvest.orphan_s=6")
    with running.client() as client:
        running.wait_for(lambda: ready(client, 4), "pilots on all nodes", 60)
    time.sleep(8)
    assert len(slurm.run("squeue", "--noheader", "--partition=harvest", "--states=RUNNING").splitlines()) == 4
    running.kill()
    killed_at = time.monotonic()
    while slurm.run("squeue", "--noheader", "--partition=harvest", "--states=RUNNING"):
        assert time.monotonic() - killed_at < 40
        time.sleep(0.2)
    figures.add(
        "yielding: kill -9 of daemon and gateway until no pilot runs (orphan_s = 6), s", time.monotonic() - killed_at
    )


def test_a_delay_beyond_the_bound_ends_yielding_until_an_admin_resumes(up):
    slurm, running = up("yielding", "--set", "harvest.max_delay_s=0.05")
    with running.client() as client:
        running.wait_for(lambda: ready(client, 4), "pilots on all nodes", 60)
        waits(slurm, prime(slurm, 4, 1, 20), 30)
        running.wait_for(lambda: note(client)["mode"] == "strict", "the way back to strict", 30)
        (why,) = [words for words in note(client)["notes"] if "yielding fell back to strict" in words]
        assert re.search(
            r"batch job \d+ .*waited .* for pilots, and harvest.max_delay_s is 0.05; .*harvester resume", why
        )
        client.resume()
        running.wait_for(lambda: note(client)["mode"] == "yielding", "another try", 30)
