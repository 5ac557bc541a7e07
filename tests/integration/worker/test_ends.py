"""Nothing that a function has started outlives its pilot, however the pilot's parts die."""

import asyncio
import contextlib
import os
import signal

import psutil
import pytest

from harvester.domain.protocol import wire
from harvester_worker.pool import session_guard


def starts_stubborn_processes():
    """A function whose processes have sessions of their own, ignore SIGTERM, and have lost their parents."""

    def run(folder):
        import os
        import subprocess
        import time

        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                line = f"trap '' TERM HUP INT; echo $$ > {folder}/orphan; sleep 1000; sleep 1000"
                os.execlp("sh", "sh", "-c", line)  # noqa: S606 - as daemons do it
            os._exit(0)
        os.wait()
        line = f"trap '' TERM HUP INT; echo $$ > {folder}/child; sleep 1000; sleep 1000"
        subprocess.Popen(["setsid", "sh", "-c", line])
        time.sleep(1000)

    return run


def forks_as_fast_as_it_can():
    def run(folder):
        import os
        import signal
        import time

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for name in ("orphan", "child"):
            if os.fork() == 0:
                os.setsid()
                with open(f"{folder}/{name}", "w") as file:  # noqa: PTH123 - it is shipped to a pilot
                    file.write(str(os.getpid()))
                until = time.monotonic() + 20  # or one that outlives a killed test run would go on for ever
                while time.monotonic() < until:  # one after the other: its parent is gone before it can be looked at
                    time.sleep(0.001)
                    if os.fork():
                        os._exit(0)
                os._exit(0)
        time.sleep(1000)

    return run


@pytest.fixture
async def start(pilots, gateway, order, tmp_path):
    return lambda function, **environ: running(pilots, gateway, order, function, tmp_path, **environ)


async def running(pilots, gateway, order, function, folder, **environ):
    process = await pilots.start(finish_s=0.3, environ={MARK: str(folder)} | environ)
    await gateway.send(*order(function, str(folder)))
    async with asyncio.timeout(20):
        while not all((folder / name).exists() and (folder / name).read_text() for name in ("orphan", "child")):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    agent = psutil.Process(process.pid)
    (zygote,) = [each for each in agent.children() if each.name() == "harvester-zyg"]
    slot = next(each for each in zygote.children() if each.name().startswith("harvester-"))
    family = agent.children(recursive=True)
    return process, agent, zygote, slot, family


def lives(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


async def all_gone(family, within_s):
    async with asyncio.timeout(within_s):
        while any(lives(each) for each in family):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


MARK = "HARVESTER_TEST_MARK"
FUNCTIONS = pytest.mark.parametrize("function", [starts_stubborn_processes, forks_as_fast_as_it_can])


def everybody(folder):
    """Every process of this test's pilot, whoever its parent may be: all inherit the environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == str(folder) and lives(process):
                found.append(process)
    return found


@FUNCTIONS
@pytest.mark.parametrize("part", ["zygote killed", "zygote stopped", "slot killed", "slot stopped", "nothing"])
async def test_a_pilot_that_leaves_takes_all_along(gateway, start, tmp_path, function, part):
    process, agent, zygote, slot, family = await start(function())
    if part != "nothing":
        of, what = part.split()
        {"zygote": zygote, "slot": slot}[of].send_signal(signal.SIGKILL if what == "killed" else signal.SIGSTOP)
        await asyncio.sleep(0.2)
    if part != "zygote killed":
        agent.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        assert await process.wait() == (4 if part == "zygote killed" else 0)
    assert not [each for each in family if lives(each)]
    assert not everybody(tmp_path)
    if part != "slot killed":
        assert gateway.of(wire.GivenBack)


@FUNCTIONS
@pytest.mark.parametrize("also", ["nothing else", "zygote stopped", "slot stopped"])
async def test_a_killed_agent_leaves_nothing_behind(start, tmp_path, function, also):
    process, agent, zygote, slot, family = await start(function())
    if also.endswith("stopped"):
        {"zygote": zygote, "slot": slot}[also.split()[0]].send_signal(signal.SIGSTOP)
    agent.kill()
    await process.wait()
    await all_gone(family, 2)
    await asyncio.sleep(0.3)
    assert not everybody(tmp_path)


@FUNCTIONS
async def test_a_session_that_pbs_kills_as_a_whole_leaves_nothing_behind_in_others(start, tmp_path, function):
    process, agent, zygote, slot, family = await start(function(), PBS_JOBID=f"{os.getpid()}.head")
    session = [each for each in [agent, *family] if os.getsid(each.pid) == os.getsid(agent.pid)]
    assert {zygote, slot} <= set(session)
    assert set(family) - set(session)  # what the function has started
    for each in session:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    await process.wait()
    await all_gone(family, 5)
    async with asyncio.timeout(5):
        while everybody(tmp_path):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
async def test_a_signal_before_the_agent_hears_any_ends_its_zygote_before_it(pilots, number):
    process = await pilots.start(until_ready=False, environ={"PBS_JOBID": f"{os.getpid()}.head"})
    agent = psutil.Process(process.pid)
    async with asyncio.timeout(10):
        while len(children := agent.children()) < 2:  # noqa: ASYNC110 - guard and zygote; nobody tells
            await asyncio.sleep(0.001)
    agent.send_signal(number)
    assert await process.wait() in {0, -number}
    assert not [each for each in children if lives(each)]


async def test_the_guard_of_a_pilots_session_is_ended_by_the_pilot_that_leaves(start, tmp_path):
    process, agent, *_ = await start(starts_stubborn_processes(), PBS_JOBID=f"{os.getpid()}.head")
    (guard,) = [each for each in agent.children() if each.name() == "harvester-grd"]
    agent.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    assert not lives(guard)
    assert not everybody(tmp_path)


async def test_the_guard_spares_a_new_run_of_the_same_batch_job():
    batch_job = f"{os.getpid()}.head"
    died_at = session_guard.now_ticks()
    await asyncio.sleep(0.05)  # start times are told in hundredths of a second
    process = await asyncio.create_subprocess_exec(
        "sleep", "30", env={"PATH": os.environ["PATH"], "PBS_JOBID": batch_job}, start_new_session=True
    )
    try:
        mark = f"PBS_JOBID={batch_job}".encode()
        assert session_guard.marked(mark, died_at) == []
        assert session_guard.marked(mark, session_guard.now_ticks() + 1) == [process.pid]
        assert session_guard.marked(mark + b"x", session_guard.now_ticks() + 1) == []
    finally:
        process.kill()
        await process.wait()
