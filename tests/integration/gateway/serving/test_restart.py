"""kill -9 on the gateway: what was acknowledged is there again, and running work is taken up, not doubled."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import wire
from harvester.store.store import Store

INVOKE = "/v1/functions/double/invocations"


class Process:
    """One life after another of a gateway on one database and one port."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.url = ""
        self.process: subprocess.Popen[str] | None = None

    async def start(self) -> None:
        port = self.url.rpartition(":")[2] or "0"
        script = Path(__file__).with_name("gateway_process.py")
        argv = [sys.executable, str(script), str(self.database), port]
        self.process = await asyncio.to_thread(subprocess.Popen, argv, stdout=subprocess.PIPE, text=True)
        self.url = (await asyncio.to_thread(self.process.stdout.readline)).strip()
        assert self.url.startswith("http://")
        self.http = httpx2.AsyncClient(
            base_url=self.url, headers={"Authorization": "Bearer ada-token"}, timeout=30, trust_env=False
        )
        async with asyncio.timeout(10):
            while True:
                try:
                    if (await self.http.get("/readyz")).status_code == 200:
                        return
                except httpx2.TransportError:
                    pass
                await asyncio.sleep(0.02)

    async def end(self, how: signal.Signals) -> int:
        await self.http.aclose()
        self.process.send_signal(how)
        code = await asyncio.to_thread(self.process.wait, 15)
        self.process.stdout.close()
        return code

    async def read(self, invocation_id: str, wait_s: float = 0) -> dict:
        return (await self.http.get(f"/v1/invocations/{invocation_id}", params={"wait_s": wait_s})).json()

    async def accepted(self) -> str:
        answer = await self.http.post(INVOKE, json={"args": [1]})
        assert answer.status_code == 202, answer.text
        return answer.json()["invocation_id"]


@pytest.fixture
async def gateway(store: Store, tmp_path: Path) -> AsyncIterator[Process]:
    gateway = Process(tmp_path / "harvester.db")
    await gateway.start()
    await gateway.http.post("/v1/functions", json={"name": "double", "kind": "module", "body": "m:double"})
    yield gateway
    if gateway.process.poll() is None:
        await gateway.end(signal.SIGKILL)


@pytest.fixture
async def make_pilot(gateway: Process, store: Store, fake_pilot, add_pilot):
    pilots = []

    async def make(pilot_id: str, cpus: int):
        add_pilot(store, pilot_id, Resources(cpus=cpus))
        pilot = fake_pilot(gateway.url, pilot_id, Resources(cpus=cpus))
        pilots.append(pilot)
        await pilot.connect()
        await pilot.hear(wire.Welcome)
        return pilot

    yield make
    for pilot in pilots:
        await pilot.cut()


async def test_after_kill_9_every_acknowledged_invocation_is_there_and_held_work_goes_on(gateway, store, make_pilot):
    pilot = await make_pilot("p1", 2)
    ids = [await gateway.accepted() for _ in range(20)]
    running, leased = await pilot.hear(wire.Lease), await pilot.hear(wire.Lease)
    await pilot.say(
        wire.Started(invocation_id=running.invocation_id, fence=running.fence),
        wire.Checkpoint(invocation_id=running.invocation_id, fence=running.fence, seq=1, state=b"half"),
    )
    await pilot.hear(wire.Ack, seq=1)
    assert await gateway.end(signal.SIGKILL) == -signal.SIGKILL
    await pilot.cut()

    await gateway.start()
    found = [item["invocation_id"] for item in (await gateway.http.get("/v1/invocations")).json()["items"]]
    assert sorted(found) == sorted(ids)
    held = tuple(
        wire.Held(invocation_id=lease.invocation_id, fence=lease.fence, is_started=lease is running)
        for lease in (running, leased)
    )
    await pilot.connect(held=held)
    assert (await pilot.hear(wire.Welcome)).abandon == ()
    await pilot.finish(running, 2)
    await pilot.finish(leased, 2)
    for lease in (running, leased):
        document = await gateway.read(lease.invocation_id, wait_s=5)
        assert document["state"] == "succeeded"
        assert len(document["activations"]) == 1
    for _ in ids[2:]:
        await pilot.finish(await pilot.hear(wire.Lease), 2)
    states = {(await gateway.read(key, wait_s=5))["state"] for key in ids}
    assert states == {"succeeded"}
    assert store.pilot("p1").state is PilotState.READY


async def test_after_kill_9_work_of_a_pilot_that_stays_away_resumes_elsewhere_from_its_checkpoint(
    gateway, store, make_pilot
):
    gone = await make_pilot("gone", 1)
    idle = await make_pilot("idle", 1)
    invocation_id = await gateway.accepted()
    holder, other = (gone, idle)
    lease_tasks = [asyncio.create_task(pilot.hear(wire.Lease)) for pilot in (gone, idle)]
    done, waiting = await asyncio.wait(lease_tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    lease = done.pop().result()
    if lease_tasks[1].done() and not lease_tasks[1].cancelled():
        holder, other = idle, gone
    await holder.say(
        wire.Started(invocation_id=invocation_id, fence=lease.fence),
        wire.Checkpoint(invocation_id=invocation_id, fence=lease.fence, seq=1, state=b"half"),
    )
    await holder.hear(wire.Ack, seq=1)
    await gateway.end(signal.SIGKILL)
    await holder.cut()
    await other.cut()

    await gateway.start()
    third = await make_pilot("third", 1)
    resumed = await third.hear(wire.Lease, within=8)
    assert (resumed.invocation_id, resumed.checkpoint, resumed.attempt) == (invocation_id, b"half", 2)
    assert resumed.fence > lease.fence
    await third.finish(resumed, 2)
    document = await gateway.read(invocation_id, wait_s=5)
    assert [(a["end"], a["resumed"]) for a in document["activations"]] == [("pilot lost", False), ("succeeded", True)]
    async with asyncio.timeout(5):
        while {store.pilot(name).state for name in ("gone", "idle")} != {PilotState.LOST}:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.05)


async def test_a_gateway_that_is_told_to_end_answers_who_waits_and_ends_cleanly(gateway, make_pilot):
    pilot = await make_pilot("p1", 1)
    invocation_id = await gateway.accepted()
    await pilot.hear(wire.Lease)
    waiting = asyncio.create_task(gateway.http.get(f"/v1/invocations/{invocation_id}/result?wait_s=60"))
    await asyncio.sleep(0.2)
    gateway.process.send_signal(signal.SIGTERM)
    assert (await asyncio.wait_for(waiting, 5)).status_code == 202
    assert await gateway.end(signal.SIGTERM) == 0
    code, _ = await pilot.closed()
    assert code == 1012  # "service restart": the pilot keeps its work and calls again


async def test_after_kill_9_a_repeated_batch_is_the_same_batch(gateway, store):
    batches, headers = "/v1/functions/double/batches", {"Idempotency-Key": "b-1"}
    items = [{"args": [number]} for number in range(50)]
    first = await gateway.http.post(batches, json=items, headers=headers)
    assert first.status_code == 202
    await gateway.end(signal.SIGKILL)
    await gateway.start()
    again = await gateway.http.post(batches, json=items, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    shorter = await gateway.http.post(batches, json=items[:-1], headers=headers)
    assert shorter.status_code == 409
    assert len(store.invocations(limit=1000)) == 50
