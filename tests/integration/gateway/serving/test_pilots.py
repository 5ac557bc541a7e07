"""The pilots' link: who may connect, what survives a cut, what is leased elsewhere."""

import asyncio
import logging
import time
from datetime import timedelta

import msgspec
import pytest
from websockets.exceptions import InvalidStatus

from harvester.domain.model.invocations import ActivationEnd
from harvester.domain.model.pilots import DrainReason, PilotEvent, PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import wire
from harvester.store.writes.changes import PilotMoved


def errors(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_pilot_with_a_wrong_token_is_refused_before_the_upgrade(rig, fake_pilot, caplog):
    pilot = fake_pilot(rig.url, "nobody", Resources(cpus=1))
    with pytest.raises(InvalidStatus) as refused:
        await pilot.connect()
    assert refused.value.response.status_code == 403
    assert b"not a pilot's" in refused.value.response.body
    await asyncio.sleep(0.1)
    assert errors(caplog) == []


async def test_a_pilot_that_is_over_is_refused(rig, fake_pilot, add_pilot):
    add_pilot(rig.store, "old", Resources(cpus=1), PilotState.LOST)
    with pytest.raises(InvalidStatus) as refused:
        await fake_pilot(rig.url, "old", Resources(cpus=1)).connect()
    assert refused.value.response.status_code == 403
    assert b"lost" in refused.value.response.body


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        ({"protocol": 99}, f"protocol 99, the gateway speaks {wire.PROTOCOL_VERSION}"),
        ({"pilot_id": "another"}, "belongs to another pilot"),
    ],
)
async def test_a_hello_that_cannot_be_is_answered_with_the_reason(rig, fake_pilot, add_pilot, hello, reason):
    add_pilot(rig.store, "p1", Resources(cpus=1))
    pilot = fake_pilot(rig.url, "p1", Resources(cpus=1))
    rig.pilots.append(pilot)
    await pilot.connect(**hello)
    code, text = await pilot.closed()
    assert code == 4002
    assert reason in text


async def test_a_registered_pilot_is_written_down_with_its_node(rig):
    await rig.pilot()
    pilot = await rig.until(lambda: (p := rig.store.pilot("p1")).state is PilotState.READY and p)
    assert (pilot.node, pilot.batch_job_id, pilot.python) == ("n1", "77", "3.11")
    assert pilot.ends_at is not None
    document = (await rig.http.get("/v1/pilots/p1")).json()
    assert document["is_connected"]
    assert document["state"] == "ready"


async def test_heartbeats_and_idleness_are_written_down_now_and_then(rig):
    await rig.register()
    pilot = await rig.pilot()
    seen = await rig.until(lambda: rig.store.pilot("p1").last_seen_at)
    await rig.until(lambda: rig.store.pilot("p1").last_seen_at > seen)
    assert rig.store.pilot("p1").idle_since is not None
    await rig.accepted("double", 1)
    lease = await pilot.hear(wire.Lease)
    await rig.until(lambda: rig.store.pilot("p1").idle_since is None)
    assert rig.store.pilot("p1").activations == 1
    await pilot.finish(lease, 2)
    await rig.until(lambda: rig.store.pilot("p1").idle_since is not None)


async def test_the_function_is_sent_once_a_connection_and_before_its_first_lease(rig):
    await rig.register()
    pilot = await rig.pilot(cpus=1)
    for value in range(3):
        await rig.accepted("double", value)
        await pilot.finish(await pilot.hear(wire.Lease), value)
    kinds = [type(message) for message in pilot.heard if isinstance(message, wire.Function | wire.Lease)]
    assert kinds == [wire.Function, wire.Lease, wire.Lease, wire.Lease]


async def test_a_result_is_acknowledged_after_it_is_on_disk(rig):
    await rig.register()
    pilot = await rig.pilot()
    invocation_id = await rig.accepted("double", 1)
    await pilot.finish(await pilot.hear(wire.Lease), 2)
    await pilot.hear(wire.Ack, kind=wire.AckKind.FINISHED)
    assert rig.store.result(invocation_id) == b"2"


async def test_a_result_that_comes_twice_is_acknowledged_twice_and_committed_once(rig):
    await rig.register()
    pilot = await rig.pilot()
    invocation_id = await rig.accepted("double", 1)
    lease = await pilot.hear(wire.Lease)
    await pilot.finish(lease, 2)
    await pilot.hear(wire.Ack)
    await pilot.finish(lease, 3)
    await pilot.hear(wire.Ack)
    assert (await rig.read(invocation_id))["result"] == 2
    assert rig.store.result(invocation_id) == b"2"


async def test_a_result_under_a_stale_token_is_acknowledged_and_refused(rig):
    await rig.register()
    pilot = await rig.pilot()
    invocation_id = await rig.accepted("double", 1)
    lease = await pilot.hear(wire.Lease)
    stale = wire.Finished(invocation_id=invocation_id, fence=lease.fence - 1, value=b"666")
    await pilot.say(stale)
    await pilot.hear(wire.Ack, fence=lease.fence - 1)
    assert (await rig.read(invocation_id))["state"] == "leased"
    await pilot.finish(lease, 2)
    assert (await rig.read(invocation_id, wait_s=5))["result"] == 2


async def test_a_pilot_that_is_cut_off_and_comes_back_keeps_its_work(rig):
    await rig.register()
    pilot = await rig.pilot()
    invocation_id = await rig.accepted("double", 1)
    lease = await pilot.hear(wire.Lease)
    await pilot.say(wire.Started(invocation_id=lease.invocation_id, fence=lease.fence))
    await rig.until(lambda: rig.store.invocation(invocation_id).state == "running")
    await pilot.cut()
    await rig.until(lambda: not rig.server.app.state.gateway.parts.links)
    held = wire.Held(invocation_id=invocation_id, fence=lease.fence, is_started=True)
    await pilot.connect(held=(held,))
    welcome = await pilot.hear(wire.Welcome)
    assert welcome.abandon == ()
    await pilot.finish(lease, 2)
    document = await rig.read(invocation_id, wait_s=5)
    assert document["result"] == 2
    assert len(document["activations"]) == 1
    assert rig.store.pilot("p1").state is PilotState.READY


async def test_a_newer_connection_of_a_pilot_replaces_the_older(rig, fake_pilot):
    await rig.register()
    older = await rig.pilot()
    newer = fake_pilot(rig.url, "p1", older.resources)
    rig.pilots.append(newer)
    await newer.connect()
    code, reason = await older.closed()
    assert (code, reason) == (4003, "the pilot has connected again")
    await rig.accepted("double", 1)
    await newer.hear(wire.Lease)
    assert (await rig.http.get("/v1/pilots/p1")).json()["is_connected"]


async def test_a_silent_pilot_is_lost_and_its_work_resumes_elsewhere_from_the_newest_checkpoint(rig):
    await rig.register(checkpoints=True)
    first = await rig.pilot("p1", cpus=1)
    invocation_id = await rig.accepted("double", 1)
    lease = await first.hear(wire.Lease)
    assert lease.checkpoint is None
    await first.say(
        wire.Started(invocation_id=invocation_id, fence=lease.fence),
        wire.Checkpoint(invocation_id=invocation_id, fence=lease.fence, seq=1, state=b"old"),
        wire.Checkpoint(invocation_id=invocation_id, fence=lease.fence, seq=2, state=b"new"),
    )
    await first.hear(wire.Ack, kind=wire.AckKind.CHECKPOINT, seq=2)
    second = await rig.pilot("p2", cpus=1)
    first.mute()
    resumed = await second.hear(wire.Lease)
    assert (resumed.invocation_id, resumed.attempt, resumed.checkpoint) == (invocation_id, 2, b"new")
    await first.say(wire.Finished(invocation_id=invocation_id, fence=lease.fence, value=b'"zombie"'))
    await first.say(wire.Heartbeat(time_left_s=60.0))
    await first.hear(wire.Drain, reason=DrainReason.DISMISSED)
    await second.finish(resumed, "right")
    document = await rig.read(invocation_id, wait_s=5)
    assert document["result"] == "right"
    assert [(a["pilot_id"], a["end"], a["resumed"]) for a in document["activations"]] == [
        ("p1", "pilot lost", False),
        ("p2", "succeeded", True),
    ]
    assert rig.store.pilot("p1").state is PilotState.LOST


async def test_a_large_checkpoint_travels_through_the_store(rig):
    await rig.register(checkpoints=True)
    first = await rig.pilot("p1", cpus=1)
    invocation_id = await rig.accepted("double", 1)
    lease = await first.hear(wire.Lease)
    state = b"s" * 80_000
    await first.say(
        wire.Started(invocation_id=invocation_id, fence=lease.fence),
        wire.Checkpoint(invocation_id=invocation_id, fence=lease.fence, seq=1, state=state),
        wire.Draining(reason=DrainReason.EVICTED),
        wire.GivenBack(invocation_id=invocation_id, fence=lease.fence, end=ActivationEnd.EVICTED),
    )
    await first.hear(wire.Ack, kind=wire.AckKind.GIVEN_BACK)
    assert rig.store.pilot("p1").state is PilotState.DRAINING
    await first.leave(DrainReason.EVICTED)
    await rig.until(lambda: rig.store.pilot("p1").state is PilotState.EVICTED)
    second = await rig.pilot("p2", cpus=1)
    resumed = await second.hear(wire.Lease)
    assert resumed.checkpoint == state


async def test_an_evicted_pilot_is_asked_to_leave_and_ends_finished(rig, problem):
    await rig.register()
    pilot = await rig.pilot()
    answer = await rig.admin.post("/v1/pilots/p1/evict")
    assert answer.status_code == 202
    await pilot.hear(wire.Drain, reason=DrainReason.ASKED)
    await rig.accepted("double", 1)
    await pilot.leave(DrainReason.ASKED)
    await rig.until(lambda: rig.store.pilot("p1").state is PilotState.FINISHED)
    assert not [message for message in pilot.heard if isinstance(message, wire.Lease)]
    problem(await rig.admin.post("/v1/pilots/p1/evict"), 409)
    assert (await rig.http.get("/v1/pilots")).json()["items"] == []
    assert [p["state"] for p in (await rig.http.get("/v1/pilots?all=1")).json()["items"]] == ["finished"]


async def test_a_pilot_that_never_called_is_cancelled_when_it_is_evicted(rig, fake_pilot, add_pilot):
    add_pilot(rig.store, "queued", Resources(cpus=1))
    answer = await rig.admin.post("/v1/pilots/queued/evict")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    with pytest.raises(InvalidStatus):
        await fake_pilot(rig.url, "queued", Resources(cpus=1)).connect()


async def test_slots_show_what_runs_where(rig):
    await rig.register(resources={"cpus": 2})
    pilot = await rig.pilot(cpus=3)
    invocation_id = await rig.accepted("double", 1)
    await pilot.hear(wire.Lease)
    (slot,) = (await rig.http.get("/v1/slots")).json()["items"]
    assert (slot["pilot_id"], slot["node"]) == ("p1", "n1")
    assert (slot["capacity"]["cpus"], slot["free"]["cpus"]) == (3, 1)
    assert [item["invocation_id"] for item in slot["activations"]] == [invocation_id]
    for client, seen in ((rig.admin, (invocation_id, "ada/double@1")), (rig.client("bob-token"), (None, None))):
        ((activation,),) = [item["activations"] for item in (await client.get("/v1/slots")).json()["items"]]
        assert (activation["invocation_id"], activation["function_id"]) == seen


async def test_a_pilot_shows_what_of_it_is_free_while_it_is_connected(rig, add_pilot):
    await rig.register(resources={"cpus": 2})
    add_pilot(rig.store, "queued", Resources(cpus=1))
    pilot = await rig.pilot(cpus=2)

    async def free():
        items = (await rig.http.get("/v1/pilots")).json()["items"]
        return {item["pilot_id"]: item["free"] and item["free"]["cpus"] for item in items}

    assert await free() == {"queued": None, "p1": 2}
    await rig.accepted("double", 1)
    await pilot.hear(wire.Lease)
    assert await free() == {"queued": None, "p1": 0}


async def test_an_explanation_names_the_pilots_that_start(rig, add_pilot):
    await rig.register()
    invocation_id = await rig.accepted("double", 1)
    add_pilot(rig.store, "boots", Resources(cpus=1), PilotState.BOOTING)
    explained = (await rig.http.get(f"/v1/invocations/{invocation_id}/explain")).json()
    assert explained["summary"] == "It waits: 1 pilot is starting."


async def test_what_one_turn_brings_leaves_as_one_frame(rig):
    await rig.register()
    pilot = await rig.pilot(cpus=8)
    frames = pilot.frames
    await rig.http.post("/v1/functions/double/batches", json=[{"args": [i]} for i in range(8)])
    for _ in range(8):
        await pilot.hear(wire.Lease)
    assert pilot.frames - frames <= 2


async def test_a_pilot_that_does_not_read_blocks_nobody(rig):
    await rig.register()
    deaf = await rig.pilot("deaf", cpus=8)
    deaf._tasks[0].cancel()  # it beats and does not listen
    ids = [await rig.accepted("double", "x" * 190_000) for _ in range(8)]
    awake = await rig.pilot("awake", cpus=1)
    awake.work(double=len)
    answer = await asyncio.wait_for(rig.invoke("double", "y", wait_s=5), 6)
    assert answer.json()["result"] == 1
    assert {(await rig.read(key))["state"] for key in ids} <= {"leased", "accepted", "succeeded"}


@pytest.mark.parametrize("frame", [b"\x00garbage", "text"])
async def test_a_frame_that_is_not_understood_ends_the_connection_with_the_reason(rig, frame):
    pilot = await rig.pilot()
    await pilot._socket.send(frame)
    code, reason = await pilot.closed()
    assert code == 4002
    assert reason


async def test_heartbeats_are_answered(rig):
    pilot = await rig.pilot()
    for _ in range(3):
        await pilot.hear(wire.Heard, within=1.0)


class TestWithALongLease:
    @pytest.fixture
    def settings(self, settings):
        return msgspec.structs.replace(settings, lease=timedelta(seconds=60))

    async def test_work_of_a_cut_off_pilot_that_the_scheduler_has_ended_does_not_wait_out_its_lease(self, rig):
        await rig.register()
        first = await rig.pilot("p1", cpus=1)
        invocation_id = await rig.accepted("double", 1)
        lease = await first.hear(wire.Lease)
        second = await rig.pilot("p2", cpus=1)
        await first.cut()
        await asyncio.sleep(1.5)
        assert rig.store.invocation(invocation_id).pilot_id == "p1", "cut off is not ended"
        rig.store.move_pilot(PilotMoved(pilot_id="p1", event=PilotEvent.FAILED, at=time.time(), reason="node died"))
        again = await second.hear(wire.Lease, within=2.5)
        assert (again.invocation_id, again.attempt) == (invocation_id, 2)
        assert again.fence > lease.fence
        await second.finish(again, 2)
        document = await rig.read(invocation_id, wait_s=5)
        assert [each["end"] for each in document["activations"]] == ["pilot lost", "succeeded"]
        assert rig.store.pilot("p1").reason == "node died"


@pytest.mark.parametrize("set_by", [3600.0, -3600.0])
async def test_leases_and_silence_do_not_mind_that_the_machines_clock_is_set(rig, monkeypatch, set_by):
    await rig.register()
    first = await rig.pilot("p1")
    invocation_id = await rig.accepted("double", 1)
    lease = await first.hear(wire.Lease)
    really = time.time
    monkeypatch.setattr(time, "time", lambda: really() + set_by)
    await asyncio.sleep(0.4)  # some ticks of the gateway
    await first.finish(lease, 2)
    document = await rig.read(invocation_id, wait_s=5)
    assert (document["result"], document["attempts"]) == (2, 1)
    assert document["ended_at"] - document["accepted_at"] < 10
    silent = await rig.accepted("double", 2)
    await first.hear(wire.Lease, invocation_id=silent)
    first.mute()
    await rig.until(lambda: rig.store.pilot("p1").state is PilotState.LOST)  # at the usual time
