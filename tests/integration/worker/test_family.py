"""Real functions with processes of their own, and a signal that reaches these before it reaches the agent."""

import asyncio
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harvester.domain.model.invocations import ActivationEnd
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import wire
from harvester_worker.isolation.descendants import Descendants


def value_of(finished):
    return pickle.loads(finished.value)  # noqa: S301 - made by this very test


def waits_for_a_child():
    def run():
        import subprocess

        return subprocess.run(["sleep", "60"]).returncode  # noqa: PLW1510 - its end is what is looked at

    return run


def ignores_the_ends_of_its_children():
    def run():
        import signal
        import subprocess
        import time

        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "60"])
        while child.poll() is None:
            time.sleep(0.005)
        return child.returncode

    return run


def saves_what_a_child_returned():
    def run(state=None):
        import subprocess
        import time

        yield "before"
        if state is None:
            yield subprocess.run(["sleep", "60"]).returncode  # noqa: PLW1510 - as above
            time.sleep(60)

    return run


async def signalled_late(process, *, late_s):
    """Signal the pilot's processes, the functions' ones first, as Slurm may do it."""
    agent = psutil.Process(process.pid)
    family = agent.children(recursive=True)
    for each in reversed(family):
        if each.is_running():
            each.send_signal(signal.SIGTERM)
    await asyncio.sleep(late_s)
    agent.send_signal(signal.SIGTERM)


async def has_child(process, name="sleep"):
    async with asyncio.timeout(20):
        while True:
            for each in psutil.Process(process.pid).children(recursive=True):
                if each.name() == name:
                    return each
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("function", [waits_for_a_child, ignores_the_ends_of_its_children])
@pytest.mark.parametrize("late_s", [0.0, 0.1])
async def test_what_a_function_returns_of_a_child_that_the_signal_hit_is_not_told(
    gateway, pilots, order, function, late_s
):
    process = await pilots.start()
    await gateway.send(*order(function()))
    await has_child(process)
    await signalled_late(process, late_s=late_s)
    async with asyncio.timeout(20):
        assert await process.wait() == 0
    assert [m.end for m in gateway.of(wire.GivenBack)] == [ActivationEnd.EVICTED]
    assert not gateway.of(wire.Finished)


async def test_a_checkpoint_that_the_signal_has_damaged_is_not_told(gateway, pilots, order):
    process = await pilots.start(checkpoint_interval_s=0.01, handover_s=0.5)
    await gateway.send(*order(saves_what_a_child_returned()))
    await has_child(process)
    await gateway.wait_for(wire.Checkpoint)
    await signalled_late(process, late_s=0.1)
    async with asyncio.timeout(20):
        assert await process.wait() == 0
    assert [pickle.loads(m.state) for m in gateway.of(wire.Checkpoint)] == ["before"]  # noqa: S301 - as above
    assert [m.end for m in gateway.of(wire.GivenBack)] == [ActivationEnd.EVICTED]


async def test_a_function_may_end_its_own_children_and_say_so(gateway, pilots, order):
    def run():
        import subprocess

        child = subprocess.Popen(["sleep", "60"])
        child.terminate()
        return child.wait()

    await pilots.start()
    await gateway.send(*order(run))
    assert value_of(await gateway.wait_for(wire.Finished)) == -signal.SIGTERM
    assert not gateway.of(wire.GivenBack)


def gone(pid, *, within_s=1.0):
    """Wait for the end of a process that is not ours to wait for."""
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=within_s)
    return not psutil.pid_exists(pid)


def starts(how):
    def run():
        import multiprocessing
        import os
        import subprocess
        import time

        if how == "program":
            return subprocess.Popen(["sleep", "60"], start_new_session=True).pid
        if how == "pool":
            pool = multiprocessing.get_context("fork").Pool(1)
            return pool.apply(os.getpid)
        pid, to = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.write(to, str(os.getpid()).encode())
                time.sleep(60)
            os._exit(0)
        return int(os.read(pid, 20))

    return run


@pytest.mark.parametrize("how", ["program", "pool", "daemon"])
async def test_what_a_run_leaves_running_ends_with_it_and_costs_nobody_a_result(gateway, pilots, order, how):
    def here():
        import os

        return os.getpid()

    await pilots.start(capacity=Resources(cpus=1))
    function = starts(how)
    await gateway.send(*order(function, invocation_id="i-1", name="starts"))
    left = value_of(await gateway.wait_for(wire.Finished, "i-1"))
    assert await asyncio.to_thread(gone, left)
    await gateway.send(*order(function, invocation_id="i-2", name="starts"))
    assert value_of(await gateway.wait_for(wire.Finished, "i-2")) != left
    await gateway.send(*order(here, invocation_id="i-3"))
    await gateway.wait_for(wire.Finished, "i-3")
    assert not gateway.of(wire.GivenBack)


async def test_what_a_dead_slot_has_started_does_not_outlive_it(gateway, pilots, order, tmp_path):
    def dies(path):
        import os
        import signal
        import subprocess
        from pathlib import Path

        child = subprocess.Popen(["sleep", "61"], start_new_session=True)
        Path(path).write_text(str(child.pid))
        os.kill(os.getpid(), signal.SIGKILL)

    await pilots.start()
    await gateway.send(*order(dies, str(tmp_path / "pid")))
    assert (await gateway.wait_for(wire.GivenBack)).end is ActivationEnd.SLOT_DIED
    assert await asyncio.to_thread(gone, int((tmp_path / "pid").read_text()))


LOOK = """
import os, signal, subprocess, sys
from harvester_worker.isolation.descendants import Descendants
family = Descendants()
seen = []
def say():
    seen.append(family.look())
    family.begin()
{}
say()
print(seen)
"""


@pytest.mark.parametrize(
    ("does", "seen"),
    [
        ("pass", [False]),
        ("subprocess.run(['true']); say()", [True, False]),
        ("child = subprocess.Popen(['sleep', '60']); say(); say(); child.kill(); child.wait(); say()",
         [True, True, True, False]),
        ("child = subprocess.Popen(['true']); os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT); say()", [True, True]),
        ("os.system('true')", [True]),
        ("os.posix_spawnp('true', ['true'], os.environ); os.wait()", [True]),
        ("signal.signal(signal.SIGCHLD, signal.SIG_IGN)", [True]),
        ("signal.signal(17, signal.SIG_IGN); os.fork() or os._exit(0); signal.signal(17, signal.SIG_DFL)", [True]),
        ("import ctypes; ctypes.CDLL(None).system(b'true')", [True]),
        ("import multiprocessing as m; m.get_context('spawn').Process().run(); say()", [False, False]),
        ("__import__('threading').Thread(target=int).start()", [False]),
    ],
)  # fmt: skip
def test_every_way_to_start_a_process_is_seen_and_nothing_else(does, seen):
    done = subprocess.run([sys.executable, "-c", LOOK.format(does)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(seen)


def test_looking_for_descendants_costs_a_few_microseconds():
    family = Descendants()
    import time

    best_s = 1.0
    for _ in range(20):
        begun_at = time.perf_counter()
        for _ in range(100):
            family.begin()
            family.look()
        best_s = min(best_s, (time.perf_counter() - begun_at) / 100)
    assert best_s < 30e-6


def sockets_of(process):
    """The sockets that a process has open, each by its inode."""
    links = (link for link in Path(f"/proc/{process.pid}/fd").glob("*"))
    return {target for link in links if (target := str(link.readlink())).startswith("socket:")}


def lives(process):
    """Whether it runs still; the agent, which is stopped, reaps nobody."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def processes_below(agent):
    """The zygote and the slots of a pilot."""
    (zygote,) = [each for each in agent.children() if each.name() == "harvester-zyg"]
    return zygote, [each for each in zygote.children() if each.name().startswith("harvester-")]


async def test_a_slot_has_no_socket_but_its_own_and_dies_with_its_zygote(gateway, pilots, order):
    def waits():
        import time

        time.sleep(60)

    agent = psutil.Process((await pilots.start()).pid)
    for number in range(2):
        await gateway.send(*order(waits, invocation_id=f"i-{number}"))
        await gateway.wait_for(wire.Started, f"i-{number}")
    zygote, slots = processes_below(agent)
    async with asyncio.timeout(10):
        while len(slots) < 2:  # a third one may be nobody's yet
            await asyncio.sleep(0.01)
            zygote, slots = processes_below(agent)
    found = [sockets_of(process) for process in (agent, zygote, *slots)]
    assert all(found)
    assert sum(map(len, found)) == len(set().union(*found)), "a socket is open in two processes"
    agent.suspend()  # who would have ended the slots
    try:
        zygote.kill()
        async with asyncio.timeout(30):
            while any(map(lives, slots)):  # noqa: ASYNC110 - a process's end is no event of the loop
                await asyncio.sleep(0.01)
    finally:
        agent.resume()
