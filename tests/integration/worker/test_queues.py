"""Short functions that are queued at a real slot, and what becomes of them when something happens to it."""

import asyncio
import os
import pickle
import signal

import psutil
import pytest

from harvester.domain.model.invocations import ActivationEnd, FailureKind
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import wire

ONE_SLOT = Resources(cpus=1)


def value_of(finished):
    assert finished.failure is None, finished.failure
    return pickle.loads(finished.value)  # noqa: S301 - made by our own pilot


def noted():
    """A function that is short, except when told otherwise; it leaves a line for each run, whatever becomes of it."""

    def run(path, number, seconds=0.0, deadly=False):
        import os
        import signal
        import time

        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{number}\n".encode())
        os.close(descriptor)
        time.sleep(seconds)
        if deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return number, os.getpid()

    return run


@pytest.fixture
def notes(tmp_path):
    return tmp_path / "notes"


@pytest.fixture
async def lease_many(gateway, pilots, order, notes):
    """Start a pilot with one slot that knows its function as a short one; then lease runs, all in one frame."""
    function = noted()
    process = await pilots.start(capacity=ONE_SLOT, finish_s=10.0)
    for number in range(3):
        await gateway.send(*order(function, str(notes), "warm", invocation_id=f"warm-{number}"))
        await gateway.wait_for(wire.Finished, f"warm-{number}")

    async def lease(*runs, **more):
        messages = [order(function, str(notes), f"i-{n}", *run, invocation_id=f"i-{n}") for n, run in enumerate(runs)]
        await gateway.send(*[message for each in messages for message in each[1:]], *more.get("then", ()))
        return process

    return lease


def begun(notes):
    return [line for line in notes.read_text().split() if line != "warm"]


async def test_short_functions_follow_one_another_and_are_told_of_by_their_ends(gateway, lease_many, notes):
    await lease_many(*[()] * 500)
    await gateway.wait_for(wire.Finished, count=503)
    assert begun(notes) == [f"i-{number}" for number in range(500)]
    values = [value_of(m) for m in gateway.of(wire.Finished) if m.invocation_id.startswith("i-")]
    assert [number for number, _ in values] == [f"i-{number}" for number in range(500)]
    assert len({pid for _, pid in values}) == 1
    assert len(gateway.of(wire.Started)) < 250, "a run that is over at once has no beginning to tell"


async def test_the_end_of_a_short_function_does_not_wait_for_the_long_one_behind_it(gateway, lease_many):
    await lease_many((), (), (), (2.0,))
    await gateway.wait_for(wire.Finished, "i-0")
    await gateway.wait_for(wire.Finished, "i-2")
    await gateway.wait_for(wire.Started, "i-3")
    assert not gateway.of(wire.Finished, "i-3")
    await gateway.wait_for(wire.Finished, "i-3")


async def test_a_run_that_kills_its_slot_is_blamed_alone_and_the_others_run(gateway, lease_many, notes):
    await lease_many((), (), (0.0, True), (), (), (0.0, True), ())
    await gateway.wait_for(wire.GivenBack, count=2)
    await gateway.wait_for(wire.Finished, count=3 + 5)
    assert {m.invocation_id: m.end for m in gateway.of(wire.GivenBack)} == dict.fromkeys(
        ("i-2", "i-5"), ActivationEnd.SLOT_DIED
    )
    finished = [m.invocation_id for m in gateway.of(wire.Finished) if m.invocation_id.startswith("i-")]
    assert sorted(finished) == ["i-0", "i-1", "i-3", "i-4", "i-6"]
    assert begun(notes).count("i-2") == 1


async def test_a_slot_that_is_killed_again_and_again_loses_nothing(gateway, lease_many):
    process = await lease_many(*[(0.0005,)] * 400)
    killed = 0
    while len(gateway.of(wire.Finished)) + len(gateway.of(wire.GivenBack)) < 400:
        await asyncio.sleep(0.05)
        for slot in psutil.Process(process.pid).children()[0].children():
            slot.kill()
            killed += 1
    await asyncio.sleep(0.5)
    ended = {m.invocation_id for m in (*gateway.of(wire.Finished), *gateway.of(wire.GivenBack))}
    assert {f"i-{number}" for number in range(400)} <= ended
    assert len(ended) == len(gateway.of(wire.Finished)) + len(gateway.of(wire.GivenBack)), "two ends of one"
    assert killed >= 2
    assert len(gateway.of(wire.GivenBack)) <= killed, "a death is blamed on one run at most"


async def test_a_drain_gives_back_at_once_what_is_queued_at_a_slot(gateway, lease_many, notes):
    process = await lease_many(*[(2.0,)] * 20)
    await gateway.wait_for(wire.Started, "i-0")
    process.send_signal(signal.SIGTERM)
    await gateway.wait_for(wire.GivenBack, count=19)
    assert not gateway.of(wire.Finished, "i-0"), "they do not wait for the run before them"
    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert begun(notes) == ["i-0"]
    assert {m.end for m in gateway.of(wire.GivenBack)} == {ActivationEnd.UNSTARTED}
    assert value_of(gateway.of(wire.Finished, "i-0")[0])[0] == "i-0"


async def test_what_is_queued_can_be_cancelled_and_recalled_without_ever_running(gateway, lease_many, notes):
    await lease_many(
        (2.0,), (), (), (),
        then=[wire.Cancel(invocation_id="i-1", fence=1), wire.Recall(invocation_id="i-2", fence=1)],
    )  # fmt: skip
    assert (await gateway.wait_for(wire.GivenBack, "i-1")).end is ActivationEnd.CANCELLED
    assert (await gateway.wait_for(wire.GivenBack, "i-2")).end is ActivationEnd.UNSTARTED
    assert not gateway.of(wire.Finished, "i-0"), "they do not wait for the run before them"
    await gateway.send(wire.Recall(invocation_id="i-0", fence=1))
    await gateway.wait_for(wire.Finished, "i-3")
    assert value_of(gateway.of(wire.Finished, "i-0")[0])[0] == "i-0", "what has begun runs on"
    assert begun(notes) == ["i-0", "i-3"]


async def test_what_is_queued_behind_a_long_run_finds_another_slot(gateway, pilots, order, notes):
    function = noted()
    await pilots.start()
    for number in range(4):
        await gateway.send(*order(function, str(notes), "warm", invocation_id=f"warm-{number}"))
        await gateway.wait_for(wire.Finished, f"warm-{number}")
    runs = [(30.0,), (), (), (), (), (), (), ()]
    messages = [order(function, str(notes), f"i-{n}", *run, invocation_id=f"i-{n}") for n, run in enumerate(runs)]
    await gateway.send(*[message for each in messages for message in each[1:]])
    await gateway.wait_for(wire.Finished, count=4 + 7)
    assert not gateway.of(wire.Finished, "i-0")


async def test_the_walltime_counts_from_the_real_beginning(gateway, pilots, order):
    def sleep(seconds):
        import time

        time.sleep(seconds)

    await pilots.start(capacity=ONE_SLOT)
    for number in range(3):
        await gateway.send(*order(sleep, 0, invocation_id=f"warm-{number}", walltime_s=0.3))
        await gateway.wait_for(wire.Finished, f"warm-{number}")
    runs = [0.2, 0.2, 0.2, 1]
    leases = [order(sleep, s, invocation_id=f"i-{n}", walltime_s=0.3)[1] for n, s in enumerate(runs)]
    await gateway.send(*leases)
    failure = (await gateway.wait_for(wire.Finished, "i-3")).failure
    assert failure.kind is FailureKind.WALLTIME
    assert all(gateway.of(wire.Finished, f"i-{number}")[0].failure is None for number in range(3))


async def test_a_word_to_a_run_that_comes_with_it_is_not_lost(gateway, pilots, order):
    def sleep(seconds):
        import os
        import time

        time.sleep(seconds)
        return os.getpid()

    await pilots.start(capacity=ONE_SLOT)
    await gateway.send(*order(sleep, 0, invocation_id="warm"))
    pid = value_of(await gateway.wait_for(wire.Finished, "warm"))
    for number in range(20):
        name = f"i-{number}"
        await gateway.send(order(sleep, 60, invocation_id=name)[1], wire.Cancel(invocation_id=name, fence=1))
        assert (await gateway.wait_for(wire.GivenBack, name)).end is ActivationEnd.CANCELLED
    assert os.path.exists(f"/proc/{pid}"), "its slot was not killed for it"  # noqa: PTH110, ASYNC240 - a look at /proc
