"""The daemon as the gateway tells of it, and an admin's word to it: both are notes in the store."""

import time

import msgspec
import pytest

from harvester.domain import control


def tick(store, ago_s=0.0, **more):
    note = {"last_tick_at": time.time() - ago_s, "tick_s": 1.0, "paused": False, "errors": [], "notes": []} | more
    store.put_note("daemon", msgspec.json.encode(note))


async def test_pause_and_resume_are_the_note_that_the_daemon_reads(rig):
    answer = await rig.admin.post("/v1/daemon/pause", json={"reason": " maintenance "})
    assert answer.status_code == 200
    said = control.decode(rig.store.note(control.CONTROL_NOTE))
    assert (said.paused, said.reason) == (True, "maintenance")
    assert answer.json() == {"paused": True, "reason": "maintenance", "at": said.at}
    answer = await rig.admin.post("/v1/daemon/resume")
    assert answer.status_code == 200
    assert control.decode(rig.store.note(control.CONTROL_NOTE)) == control.Control(at=answer.json()["at"])
    assert (await rig.admin.post("/v1/daemon/pause")).json()["paused"] is True  # a reason is not needed in a hurry


async def test_only_an_admin_pauses_and_resumes(rig, problem):
    for path in ("/v1/daemon/pause", "/v1/daemon/resume"):
        assert "admin" in problem(await rig.http.post(path), 403)["remedy"]
    assert rig.store.note(control.CONTROL_NOTE) is None


@pytest.mark.parametrize("body", [{"why": "x"}, {"reason": 1}, {"reason": "x" * 1001}, []])
async def test_a_pause_that_is_not_understood_changes_nothing(rig, problem, body):
    problem(await rig.admin.post("/v1/daemon/pause", json=body), 422)
    assert rig.store.note(control.CONTROL_NOTE) is None


async def test_the_daemon_shows_its_age_and_whether_it_has_heard(rig):
    never = (await rig.http.get("/v1/daemon")).json()
    assert (never["is_alive"], never["age_s"], never["has_heard"], never["note"]) == (False, None, False, {})
    tick(rig.store, ago_s=2, notes=["none fits"])
    alive = (await rig.http.get("/v1/daemon")).json()
    assert (alive["is_alive"], alive["has_heard"], alive["note"]["notes"]) == (True, True, ["none fits"])
    assert 2 <= alive["age_s"] < 10
    await rig.admin.post("/v1/daemon/pause", json={})
    assert (await rig.http.get("/v1/daemon")).json()["has_heard"] is False
    tick(rig.store)
    assert (await rig.http.get("/v1/daemon")).json()["has_heard"] is True
    tick(rig.store, ago_s=60)
    assert (await rig.http.get("/v1/daemon")).json()["is_alive"] is False


async def test_a_waiting_invocation_is_told_why_there_is_no_pilot(rig):
    await rig.register()
    invocation_id = await rig.accepted("double", 1)

    async def details():
        return (await rig.http.get(f"/v1/invocations/{invocation_id}/explain")).json()["details"]

    assert "harvester up" in (await details())[-1]
    tick(rig.store, notes=["No pilots of shape x: partition 'p' is down."], errors=["sbatch: no such account"])
    assert (await details())[-2:] == [
        "The daemon met an error: sbatch: no such account",
        "No pilots of shape x: partition 'p' is down.",
    ]
    tick(rig.store, paused=True, reason="shape x is paused after 5 failures")
    assert (await details())[-1] == "Submission is paused: shape x is paused after 5 failures."
    await rig.admin.post("/v1/daemon/pause", json={"reason": "maintenance"})
    assert "paused by an admin: maintenance" in (await details())[-1]
    assert "harvester resume" in (await details())[-1]
    await rig.http.post(f"/v1/invocations/{invocation_id}/cancel")
    assert await details() == []
