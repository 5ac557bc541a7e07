"""kill -9 everywhere, at random, while 300 checkpointing invocations run: all right, each once, none from the start.

HARVESTER_CHAOS_SEED repeats the choices of a run; their moments still depend on the machine.
"""

import contextlib
import os
import random
import time
from concurrent.futures import wait

import psutil
import pytest
from support.running import Running, free_port

import harvester

INVOCATIONS, STEPS, STEP_S = 300, 6, 0.05
SEED = int(os.environ.get("HARVESTER_CHAOS_SEED", "1"))
CONFIG = """
[harvest]
tick_s = 0.25

[[pilot]]
name = "whole"
partition = "harvest"
cpus = 3
checkpoint_interval_s = 0.05
"""
# What is killed. Slots most often; not so often that one invocation loses three and counts as poison.
VICTIMS = ["slot"] * 4 + ["agent"] * 3 + ["zygote", "zygote", "up"]
MOST = {"slot": 12, "agent": 8, "zygote": 4, "up": 2}

pytestmark = pytest.mark.timeout(120)


@harvester.function(ship_module=True, checkpoints=True)
def step_by_step(number, marker, steps=STEPS, step_s=STEP_S):
    """Count to `steps`; every tenth invocation leaves a process behind, which nobody but the pilot can end."""
    import subprocess
    import time

    import harvester

    ctx = harvester.context()
    mine, done = ctx.restore((number, 0))
    if number % 10 == 0 and done == 0:
        subprocess.Popen(["sleep", marker], start_new_session=number % 20 == 0)
    while done < steps:
        time.sleep(step_s)
        done += 1
        ctx.checkpoint((mine, done))
    return number, mine, done


@pytest.fixture
def running(tmp_path):
    config = tmp_path / "site.toml"
    config.write_text(CONFIG)
    options = ("--scheduler", "local", "--nodes", "2", "--cpus", "3", "--config", str(config))
    running = Running(tmp_path / "state", *options, "--port", str(free_port()), "--ready", "2")
    running.start()
    yield running
    running.stop()
    running.kill_pilots()


class Chaos:
    """Kills one thing after the other."""

    def __init__(self, running, seed):
        self.running = running
        self.random = random.Random(seed)  # noqa: S311 - to be repeated, not a secret
        self.killed = dict.fromkeys(VICTIMS, 0)

    def strike(self):
        left = [victim for victim in VICTIMS if self.killed[victim] < MOST[victim]]
        victim = self.random.choice(left) if left else ""
        if victim == "up":
            self.running.kill()
            time.sleep(self.random.uniform(0.0, 0.5))
            self.running.start()
            self.killed[victim] += 1
        elif victim and (process := self._pick(victim)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                self.killed[victim] += 1

    def _pick(self, victim):
        agents = self.running.agents()
        found = {"agent": agents, "zygote": [], "slot": []}
        for process in self.running.below(agents):
            with contextlib.suppress(psutil.NoSuchProcess):
                kind = "zygote" if process.name() == "harvester-zyg" else "slot"
                found[kind] += [process] if process.name().startswith("harvester-") else []
        candidates = sorted(found[victim], key=lambda process: process.pid)
        return self.random.choice(candidates) if candidates else None


def test_300_invocations_survive_kill_minus_nine_of_everything(running):
    marker = f"98765.{running.url.rpartition(':')[2]}"
    chaos = Chaos(running, SEED)
    with running.client("user") as client:
        futures = [client.submit(step_by_step, number, marker) for number in range(INVOCATIONS)]
        deadline = time.monotonic() + 75
        while wait(futures, chaos.random.uniform(0.2, 0.9)).not_done:
            assert time.monotonic() < deadline, f"{chaos.killed}: {still_open(client, futures)}\n{running.tail()}"
            chaos.strike()
        results = [future.result() for future in futures]
        assert results == [(number, number, STEPS) for number in range(INVOCATIONS)]
        documents = [client.invocation(future.invocation_id) for future in futures]
    assert len({document["invocation_id"] for document in documents}) == INVOCATIONS
    for document in documents:
        check(document)
    assert all(chaos.killed.values()), f"something was never hit: {chaos.killed}"
    assert sum(len(document["activations"]) > 1 for document in documents) >= chaos.killed["slot"] // 2
    assert running.stop() == 0
    running.wait_for(lambda: not leftovers(running, marker), "every process to be gone", 5)


def check(document):
    """One right end, and no activation from the start after a checkpoint was acknowledged."""
    assert document["state"] == "succeeded", document
    saved = 0
    for activation in document["activations"]:
        assert activation["resumed"] == (saved > 0), f"started fresh although it had a checkpoint: {document}"
        saved += activation["checkpoints"]
    assert [each["end"] for each in document["activations"]].count("succeeded") == 1, document


def still_open(client, futures):
    first = next(future for future in futures if not future.done())
    return sum(not future.done() for future in futures), client.explain(first.invocation_id)


def leftovers(running, marker):
    """The processes of this system, and what its functions started."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        if marker in line or any(str(running.state) in word for word in line):
            found.append(process)
    return found
