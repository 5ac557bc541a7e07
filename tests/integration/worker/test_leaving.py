"""How a real pilot leaves: in order, fast, with its functions' states, and leaving nothing behind."""

import asyncio
import pickle
import signal
import time
from pathlib import Path

import psutil
import pytest

from harvester.domain.model.invocations import ActivationEnd
from harvester.domain.model.pilots import DrainReason
from harvester.domain.protocol import wire


def family_of(pid):
    return psutil.Process(pid).children(recursive=True)


async def leaves(process, within_s=20):
    """Wait until the pilot has left; return how long it took."""
    began_at = time.monotonic()
    async with asyncio.timeout(within_s):
        assert await process.wait() == 0
    return time.monotonic() - began_at


def stepwise():
    """A function that checkpoints every 10 ms; in quiet times only its first checkpoint travels soon."""

    def steps(state=None):
        import time

        number = state or 0
        while number < 100_000:
            time.sleep(0.01)
            number += 1
            yield number

    return steps


def sleeper():
    def sleep(seconds):
        import time

        time.sleep(seconds)

    return sleep


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
async def test_a_pilot_without_work_leaves_at_once_on_any_signal(gateway, pilots, number):
    process = await pilots.start(finish_s=60.0, handover_s=60.0)
    await gateway.wait_for(wire.Hello)
    await asyncio.sleep(0.1)
    process.send_signal(number)
    await leaves(process)
    assert gateway.heard[-1] == wire.Goodbye(reason=DrainReason.EVICTED)


async def test_a_checkpointing_function_hands_its_fresh_state_over_and_the_pilot_leaves_at_once(gateway, pilots, order):
    process = await pilots.start(finish_s=60.0, handover_s=60.0)
    await gateway.send(*order(stepwise()))
    await gateway.wait_for(wire.Checkpoint)
    await asyncio.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    await leaves(process)
    states = [pickle.loads(message.state) for message in gateway.of(wire.Checkpoint)]  # noqa: S301
    assert states[0] == 1
    assert states[-1] > 5, "the newest state, not the one that was sent half a second ago"
    assert states == sorted(states)
    assert [m.end for m in gateway.of(wire.GivenBack)] == [ActivationEnd.EVICTED]
    assert type(gateway.heard[-1]) is wire.Goodbye
    kinds = [type(m) for m in gateway.heard]
    assert kinds.index(wire.GivenBack) > len(kinds) - 1 - kinds[::-1].index(wire.Checkpoint)


async def test_a_function_without_checkpoints_is_given_back_after_finish_s(gateway, pilots, order):
    process = await pilots.start(finish_s=0.5)
    await gateway.send(*order(sleeper(), 30))
    await gateway.wait_for(wire.Started)
    process.send_signal(signal.SIGTERM)
    assert await leaves(process) > 0.4
    assert gateway.of(wire.GivenBack)[0].end is ActivationEnd.EVICTED


async def test_a_function_that_ends_within_finish_s_is_not_lost(gateway, pilots, order):
    process = await pilots.start(finish_s=10.0)
    await gateway.send(*order(sleeper(), 0.4))
    await gateway.wait_for(wire.Started)
    process.send_signal(signal.SIGTERM)
    await leaves(process)
    assert gateway.of(wire.Finished)[0].failure is None
    assert not gateway.of(wire.GivenBack)


async def test_leases_that_have_not_begun_are_given_back_at_once(gateway, pilots, order):
    process = await pilots.start(finish_s=2.0)
    for number in range(4):
        await gateway.send(*order(sleeper(), 30, invocation_id=f"i-{number}"))
    await gateway.wait_for(wire.Started, count=2)
    process.send_signal(signal.SIGTERM)
    await gateway.wait_for(wire.GivenBack, count=2)
    assert {m.end for m in gateway.of(wire.GivenBack)} == {ActivationEnd.UNSTARTED}, "the others still run"
    await leaves(process)
    ends = {m.invocation_id: m.end for m in gateway.of(wire.GivenBack)}
    assert ends == {
        "i-0": ActivationEnd.EVICTED,
        "i-1": ActivationEnd.EVICTED,
        "i-2": ActivationEnd.UNSTARTED,
        "i-3": ActivationEnd.UNSTARTED,
    }


async def test_a_program_that_dies_of_the_schedulers_signal_is_no_failure_of_the_function(gateway, pilots, order):
    def run():
        import subprocess

        subprocess.run(["sleep", "60"], check=True)

    process = await pilots.start()
    await gateway.send(*order(run))
    await gateway.wait_for(wire.Started)
    await asyncio.sleep(0.3)
    for each in [*family_of(process.pid), psutil.Process(process.pid)]:  # as Slurm signals a step
        each.send_signal(signal.SIGTERM)
    await leaves(process)
    assert [m.end for m in gateway.of(wire.GivenBack)] == [ActivationEnd.EVICTED]


async def test_a_run_with_processes_does_not_keep_an_evicted_pilot_since_nothing_of_it_would_count(
    gateway, pilots, order
):
    def run():
        import subprocess
        import time

        subprocess.run(["true"], check=True)
        time.sleep(30)

    process = await pilots.start(finish_s=10)
    await gateway.send(*order(run), *order(sleeper(), 3, invocation_id="without"))
    await gateway.wait_for(wire.Started, count=2)
    await asyncio.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    back = await gateway.wait_for(wire.GivenBack)
    assert not gateway.of(wire.Finished)
    assert (back.invocation_id, back.end) == ("i-1", ActivationEnd.EVICTED)
    await leaves(process)
    assert [m.invocation_id for m in gateway.of(wire.Finished)] == ["without"], "another one may end within finish_s"


async def test_the_gateways_word_lets_a_run_with_processes_go_on(gateway, pilots, order):
    def run():
        import subprocess

        return subprocess.run(["sleep", "1"], check=False).returncode

    process = await pilots.start(finish_s=5)
    await gateway.send(*order(run))
    await gateway.wait_for(wire.Started)
    await gateway.send(wire.Drain(reason=DrainReason.ASKED))
    await leaves(process)
    assert [m.failure for m in gateway.of(wire.Finished)] == [None], "nobody has signalled its processes"


async def test_the_gateways_word_starts_a_drain(gateway, pilots, order):
    process = await pilots.start()
    await gateway.send(*order(stepwise()))
    await gateway.wait_for(wire.Checkpoint)
    await gateway.send(wire.Drain(reason=DrainReason.ASKED))
    await leaves(process)
    assert gateway.of(wire.Draining) == [wire.Draining(reason=DrainReason.ASKED)]


async def test_the_end_of_the_walltime_starts_a_drain(gateway, pilots, order):
    process = await pilots.start(walltime_s=6.0, leave_before_s=3.0)
    await gateway.send(*order(stepwise()))
    await gateway.wait_for(wire.Draining)
    await leaves(process)
    await gateway.wait_for(wire.Goodbye)  # it may be on its way when the process is gone
    assert gateway.heard[-1] == wire.Goodbye(reason=DrainReason.WALLTIME)
    assert gateway.of(wire.GivenBack)[0].end is ActivationEnd.EVICTED


async def test_everything_that_functions_started_is_gone_with_the_pilot(gateway, pilots, order, tmp_path):
    def start(path):
        import pathlib
        import subprocess
        import time

        child = subprocess.Popen(["sleep", "60"], start_new_session=True)
        pathlib.Path(path).write_text(str(child.pid))
        time.sleep(60)

    process = await pilots.start(finish_s=0.2)
    await gateway.send(*order(start, str(tmp_path / "pid")))
    await gateway.wait_for(wire.Started)
    await asyncio.sleep(0.3)
    family = family_of(process.pid)
    assert int((tmp_path / "pid").read_text()) in {each.pid for each in family}
    process.send_signal(signal.SIGTERM)
    await leaves(process)
    assert not any(each.is_running() for each in family)


async def test_kill_minus_nine_of_the_agent_leaves_no_process(gateway, pilots, order):
    def start():
        import subprocess
        import time

        subprocess.Popen(["sleep", "60"])
        time.sleep(60)

    process = await pilots.start()
    await gateway.send(*order(start))
    await gateway.wait_for(wire.Started)
    await asyncio.sleep(0.3)
    family = family_of(process.pid)
    assert len(family) >= 3  # the zygote, a slot, and its program
    process.kill()
    await process.wait()
    await asyncio.sleep(0.8)
    # A zombie is gone; only whoever became its parent has not looked yet.
    assert not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


async def test_slots_stay_in_the_session_of_the_pilot(gateway, pilots, order):
    def session():
        import os

        return os.getsid(0)

    process = await pilots.start()
    await gateway.send(*order(session))
    finished = await gateway.wait_for(wire.Finished)
    stat = await asyncio.to_thread(Path(f"/proc/{process.pid}/stat").read_text)
    assert pickle.loads(finished.value) == int(stat.rpartition(")")[2].split()[3])  # noqa: S301


async def test_a_pilot_whose_zygote_dies_gives_its_work_back_as_evicted_and_leaves_as_broken(gateway, pilots, order):
    process = await pilots.start()
    await gateway.send(*order(sleeper(), 60))
    await gateway.wait_for(wire.Started)
    psutil.Process(process.pid).children()[0].kill()
    async with asyncio.timeout(20):
        assert await process.wait() == 4
    assert [m.end for m in gateway.of(wire.GivenBack)] == [ActivationEnd.EVICTED]
    assert gateway.of(wire.Goodbye) == [wire.Goodbye(reason=DrainReason.BROKEN)]
