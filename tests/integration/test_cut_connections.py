"""A network that cuts and stalls the pilots' connections at random: every result right, and once.

HARVESTER_CHAOS_SEED repeats the choices of a run; their moments still depend on the machine.
"""

import os
import random
import time
from concurrent.futures import wait

import pytest
from support.proxy import Proxy
from support.running import Running, free_port

import harvester

INVOCATIONS = 200
SEED = int(os.environ.get("HARVESTER_CHAOS_SEED", "1"))
LEASE_S = 1.5

pytestmark = pytest.mark.timeout(120)


@harvester.function(ship_module=True, checkpoints=True)
def square_in_steps(number, payload, steps=4):
    """Square a number in 0.2 s, with a checkpoint and a result that take more than one packet."""
    import time

    import harvester

    ctx = harvester.context()
    mine, done, _ = ctx.restore((number, 0, b""))
    while done < steps:
        time.sleep(0.05)
        done += 1
        ctx.checkpoint((mine, done, payload))
    return mine * mine, payload


@pytest.fixture
def running(tmp_path):
    """A system whose pilots call through the proxy's port, and its users not."""
    config = tmp_path / "site.toml"
    url = f"http://127.0.0.1:{free_port()}"
    config.write_text(
        f'[gateway]\nurl = "{url}"\nlease_s = {LEASE_S}\n'
        '[[pilot]]\nname = "whole"\npartition = "harvest"\ncpus = 3\ncheckpoint_interval_s = 0.05\n'
    )
    options = ("--scheduler", "local", "--nodes", "2", "--cpus", "3", "--config", str(config))
    running = Running(tmp_path / "state", *options, "--port", "0", "--ready", "2")
    running.start()
    with Proxy(int(url.rpartition(":")[2]), int(running.url.rpartition(":")[2])) as proxy:
        yield running, proxy
        running.stop()
    running.kill_pilots()


def disturb(proxy, choose, done):
    """Do one bad thing to one connection."""
    kind = choose.choice(["cut", "cut in the middle", "stall", "stall", "silence"])
    if kind == "silence" and done.count(kind) < 3:
        proxy.stall(choose, choose.uniform(1.5, 3.0) * LEASE_S)  # the pilot is given up meanwhile
    elif kind.startswith("cut"):
        proxy.cut(choose, in_the_middle="middle" in kind)
    else:
        proxy.stall(choose, choose.uniform(0.05, 0.5) * LEASE_S)
    done.append(kind)


def test_200_invocations_survive_cut_and_stalled_connections(running):
    running, proxy = running
    choose = random.Random(SEED)  # noqa: S311 - to be repeated, not a secret
    payload = choose.randbytes(50_000)
    done = []
    with running.client("user") as client:
        futures = [client.submit(square_in_steps, number, payload) for number in range(INVOCATIONS)]
        deadline = time.monotonic() + 75
        while wait(futures, choose.uniform(0.05, 0.4)).not_done:
            waiting = [future for future in futures if not future.done()]
            assert time.monotonic() < deadline, f"{done}: {len(waiting)} {client.explain(waiting[0].invocation_id)}"
            disturb(proxy, choose, done)
        assert [future.result() for future in futures] == [(number**2, payload) for number in range(INVOCATIONS)]
        documents = [client.invocation(future.invocation_id) for future in futures]
    for document in documents:
        ends = [activation["end"] for activation in document["activations"]]
        assert ends.count("succeeded") == 1, document
        saved = 0
        for activation in document["activations"]:
            assert activation["resumed"] == (saved > 0), f"started fresh although it had a checkpoint: {document}"
            saved += activation["checkpoints"]
    assert len(done) > 10
