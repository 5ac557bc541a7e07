"""What callers are told when the write of an acceptance fails is true: refused and never run, or kept and run once."""

import asyncio
import time
from collections import Counter
from concurrent.futures import Future

import pytest

from harvester.domain.model.pilots import PilotState
from harvester.domain.protocol import wire
from harvester.store.store import CommitUnknown, StoreError, Unstorable
from harvester.store.writes.changes import NewInvocation

KEY = {"Idempotency-Key": "k"}


class Outage:
    """A store that takes nothing while there is an error, from the first acceptance on; it may be kept nevertheless.

    A pilot's heartbeat that failed first would have the acceptance refused at once.
    """

    def __init__(self, store, monkeypatch) -> None:
        self.error: StoreError | None = None
        self.is_kept = self._has_begun = False
        self._write = store.write
        monkeypatch.setattr(store, "write", self.write)

    def write(self, writes):
        is_acceptance = any(isinstance(write, NewInvocation) for write in writes)
        self._has_begun = self.error is not None and (self._has_begun or is_acceptance)
        if self.error is None or not self._has_begun:
            return self._write(writes)
        if self.is_kept:
            self._write(writes).result(timeout=5)
        future: Future[None] = Future()
        future.set_exception(self.error)
        return future


@pytest.fixture
def outage(store, monkeypatch):
    return Outage(store, monkeypatch)


async def written_pilot(rig, **hello):
    """A pilot whose coming is on disk: an outage that began before would refuse all new work."""
    pilot = await rig.pilot(**hello)
    await rig.until(lambda: rig.store.pilot("p1").state is PilotState.READY)
    return pilot


def in_doubt(document) -> list[str]:
    assert document["type"] == "urn:harvester:problem:accepted-in-doubt"
    return document["invocation_ids"]


async def test_what_a_pilot_has_is_in_doubt_and_a_repeated_request_finds_it(outage, rig, problem):
    await rig.register()
    pilot = await written_pilot(rig)
    outage.error = StoreError("the disk is gone")
    answer = await rig.invoke("double", 1, headers=KEY)
    document = problem(answer, 503)
    (invocation_id,) = in_doubt(document)
    assert invocation_id in document["detail"]
    assert "the disk is gone" in document["detail"]
    assert answer.headers["retry-after"]
    lease = await pilot.hear(wire.Lease)
    assert lease.invocation_id == invocation_id
    await pilot.finish(lease, 2)
    assert in_doubt(problem(await rig.invoke("double", 1, headers=KEY), 503)) == [invocation_id]
    assert in_doubt(problem(await rig.http.get(f"/v1/invocations/{invocation_id}"), 503)) == [invocation_id]
    problem(await rig.invoke("double", 3, headers={"Idempotency-Key": "other"}), 503)
    outage.error = None
    await pilot.hear(wire.Ack, invocation_id=invocation_id)
    again = await rig.invoke("double", 1, headers=KEY, wait_s=5)
    assert (again.json()["invocation_id"], again.json()["result"]) == (invocation_id, 2)
    assert [record.invocation_id for record in rig.store.invocations()] == [invocation_id]
    assert not [message for message in pilot.heard if isinstance(message, wire.Cancel)]


async def test_who_waits_for_the_end_notices_nothing_of_a_short_outage(outage, rig):
    await rig.register()
    pilot = await written_pilot(rig)
    outage.error = StoreError("the disk is gone")
    calling = asyncio.create_task(rig.invoke("double", 1, wait_s=10))
    await pilot.finish(await pilot.hear(wire.Lease), 2)
    await asyncio.sleep(0.3)
    assert not calling.done()
    outage.error = None
    assert (await calling).json()["result"] == 2


async def test_a_batch_of_which_a_pilot_has_a_part_is_in_doubt_as_a_whole(outage, rig, problem):
    await rig.register()
    pilot = await written_pilot(rig, cpus=1)
    outage.error = StoreError("the disk is gone")
    items = [{"args": [number]} for number in range(50)]
    path = "/v1/functions/double/batches"
    ids = in_doubt(problem(await rig.http.post(path, json=items, headers=KEY), 503))
    assert len(ids) == 50
    await pilot.hear(wire.Lease)
    assert in_doubt(problem(await rig.http.post(path, json=items, headers=KEY), 503)) == ids
    outage.error = None
    await rig.until_ready()
    answer = await rig.http.post(path, json=items, headers=KEY)
    assert answer.json()["invocation_ids"] == ids
    assert len(rig.store.invocations(limit=100)) == 50


async def test_what_no_pilot_has_is_refused_and_never_runs(outage, rig, problem):
    await rig.register()
    outage.error = StoreError("the disk is gone")
    document = problem(await rig.invoke("double", 1, headers=KEY), 503)
    assert document["type"] == "urn:harvester:problem:store-unavailable"
    assert "Nothing new was accepted" in document["remedy"]
    outage.error = None
    await rig.until_ready()
    pilot = await written_pilot(rig)
    after = await rig.accepted("double", 2)
    assert (await pilot.hear(wire.Lease)).invocation_id == after
    assert [record.invocation_id for record in rig.store.invocations()] == [after]


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_commit_of_which_nobody_knows_is_in_doubt_and_happens_once(outage, rig, problem, is_kept):
    await rig.register()
    outage.error, outage.is_kept = CommitUnknown("the connection broke"), is_kept
    ids = in_doubt(problem(await rig.invoke("double", 1, headers=KEY), 503))
    outage.error = None
    await rig.until_ready()
    pilot = await written_pilot(rig)
    assert (await pilot.hear(wire.Lease)).invocation_id == ids[0]
    assert [record.invocation_id for record in rig.store.invocations()] == ids
    assert (await rig.invoke("double", 1, headers=KEY)).json()["invocation_id"] == ids[0]


async def test_what_the_store_can_never_hold_is_refused_and_stopped(outage, rig, problem):
    await rig.register()
    pilot = await written_pilot(rig)
    outage.error = Unstorable("no such text")
    problem(await rig.invoke("double", 1), 500)
    lease = await pilot.hear(wire.Lease)
    await pilot.hear(wire.Cancel, invocation_id=lease.invocation_id)
    outage.error = None
    await rig.until_ready()
    assert rig.store.invocations() == []


async def test_through_outages_every_call_of_a_caller_who_repeats_runs_exactly_once(outage, rig):
    await rig.register()
    pilot = await written_pilot(rig, cpus=8)
    runs: Counter[int] = Counter()

    def double(number):
        runs[number] += 1
        return 2 * number

    pilot.work(double=double)
    statuses: Counter[int] = Counter()

    async def call(number: int) -> int:
        while True:
            answer = await rig.invoke(
                "double", number, headers={"Idempotency-Key": f"call-{number}"}, wait_s=number % 2
            )
            statuses[answer.status_code] += 1
            if answer.status_code == 200:
                return answer.json()["result"]
            await asyncio.sleep(0.02)

    async def disturb() -> None:
        for error in (StoreError("gone"), CommitUnknown("lost"), CommitUnknown("lost, and kept"), StoreError("gone")):
            await asyncio.sleep(0.1)
            outage.error, outage.is_kept = error, "kept" in str(error)
            await asyncio.sleep(0.25)
            outage.error = None

    disturbing = asyncio.create_task(disturb())
    until, number, done = time.monotonic() + 1.5, 0, []
    while time.monotonic() < until:
        done.append(asyncio.create_task(call(number)))
        number += 1
        await asyncio.sleep(0.005)
    assert await asyncio.gather(*done) == [2 * each for each in range(number)]
    await disturbing
    assert statuses[503] > 10
    assert [each for each, count in runs.items() if count != 1] == []
    assert len(rig.store.invocations(limit=5000)) == number
