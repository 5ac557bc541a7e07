"""The daemon as the gateway tells of it, and an admin's word to it: both are notes in the store."""

import asyncio
import time

import pytest

from harvester.domain.cluster.knowledge import Knowledge
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import control, daemon_notes
from harvester.domain.protocol.daemon_notes import ClusterNote, DaemonNote, NodeNote


def tick(store, ago_s=0.0, **more):
    note = DaemonNote(last_tick_at=time.time() - ago_s, tick_s=1.0, **more)
    store.put_note(daemon_notes.DAEMON_NOTE, daemon_notes.encode(note))


async def test_pause_and_resume_are_the_note_that_the_daemon_reads(rig):
    answer = await rig.admin.post("/v1/daemon/pause", json={"reason": " maintenance "})
    assert answer.status_code == 200
    said = control.decode(rig.store.note(control.CONTROL_NOTE))
    assert (said.paused, said.reason) == (True, "maintenance")
    assert answer.json() == {"paused": True, "reason": "maintenance", "at": said.at, "drained": [], "drained_at": 0.0}
    answer = await rig.admin.post("/v1/daemon/resume")
    assert answer.status_code == 200
    assert control.decode(rig.store.note(control.CONTROL_NOTE)) == control.Control(at=answer.json()["at"])
    assert (await rig.admin.post("/v1/daemon/pause")).json()["paused"] is True  # a reason is not needed in a hurry


async def test_only_an_admin_pauses_and_resumes(rig, problem):
    for path in ("/v1/daemon/pause", "/v1/daemon/resume", "/v1/daemon/drain", "/v1/daemon/undrain"):
        assert "admin" in problem(await rig.http.post(path, json={"nodes": "n1"}), 403)["remedy"]
    assert rig.store.note(control.CONTROL_NOTE) is None


@pytest.mark.parametrize("body", [{"why": "x"}, {"reason": 1}, {"reason": "x" * 1001}, []])
async def test_a_pause_that_is_not_understood_changes_nothing(rig, problem, body):
    problem(await rig.admin.post("/v1/daemon/pause", json=body), 422)
    assert rig.store.note(control.CONTROL_NOTE) is None


def cluster(store, *nodes):
    some = Resources(cpus=1)
    seen = tuple(NodeNote(name=name, state="idle", partitions=(), total=some, free=some) for name in nodes)
    note = ClusterNote(scheduler="slurm 24.11.5", taken_at=5.0, nodes=seen)
    store.put_note(daemon_notes.CLUSTER_NOTE, daemon_notes.encode(note))


def said(rig):
    return control.decode(rig.store.note(control.CONTROL_NOTE))


async def test_nodes_are_drained_and_undrained_beside_those_that_are(rig):
    cluster(rig.store, *(f"n{number}" for number in range(1, 9)))
    answer = await rig.admin.post("/v1/daemon/drain", json={"nodes": "n[1-3], n8"})
    assert (answer.status_code, answer.json()["drained"]) == (200, ["n1", "n2", "n3", "n8"])
    await rig.admin.post("/v1/daemon/drain", json={"nodes": ["n4", "n[2-3]"]})
    assert said(rig).drained == ("n1", "n2", "n3", "n4", "n8")
    answer = await rig.admin.post("/v1/daemon/undrain", json={"nodes": "n[1-2],n7"})
    assert answer.json()["drained"] == ["n3", "n4", "n8"]
    assert (await rig.http.get("/v1/daemon")).json()["control"]["drained"] == ["n3", "n4", "n8"]


async def test_pausing_and_resuming_keep_the_drained_nodes_and_draining_ends_no_pause(rig):
    await rig.admin.post("/v1/daemon/drain", json={"nodes": "n1"})
    await rig.admin.post("/v1/daemon/pause", json={"reason": "maintenance"})
    before = said(rig)
    await rig.admin.post("/v1/daemon/drain", json={"nodes": "n2"})
    after = said(rig)
    assert (after.paused, after.reason, after.at) == (True, "maintenance", before.at)
    assert after.drained_at > before.drained_at
    await rig.admin.post("/v1/daemon/resume")
    assert (said(rig).paused, said(rig).drained) == (False, ("n1", "n2"))


async def test_drains_at_the_same_time_are_all_kept(rig):
    names = [f"n{number}" for number in range(20)]
    await asyncio.gather(*(rig.admin.post("/v1/daemon/drain", json={"nodes": name}) for name in names))
    assert said(rig).drained == tuple(sorted(names))


@pytest.mark.parametrize("path", ["drain", "undrain"])
@pytest.mark.parametrize("nodes", ["n[3-1]", "n[", "", [], "n9", ["n1", "n[8-12]"], 3, None, {"n1": 1}])
async def test_nodes_that_are_not_there_or_not_understood_change_nothing(rig, problem, path, nodes):
    cluster(rig.store, "n1", "n2", "n8")
    refused = problem(await rig.admin.post(f"/v1/daemon/{path}", json={"nodes": nodes}), 422)
    assert refused["field"] == "nodes"
    if "n9" in str(nodes) or "12" in str(nodes):
        assert "n[1-2,8]" in refused["remedy"]
    assert rig.store.note(control.CONTROL_NOTE) is None


async def test_a_drained_node_that_the_cluster_has_lost_can_be_undrained(rig):
    await rig.admin.post("/v1/daemon/drain", json={"nodes": "n[1-2]"})  # nobody has looked: any name may be right
    cluster(rig.store, "n1")
    assert (await rig.admin.post("/v1/daemon/undrain", json={"nodes": "n2"})).json()["drained"] == ["n1"]


async def test_a_node_that_new_pilots_cannot_be_kept_off_is_not_drained(rig, problem):
    tick(rig.store, knowledge=Knowledge(nodes=False, lost=("No nodes are seen.", "States are hints.")))
    refused = problem(await rig.admin.post("/v1/daemon/drain", json={"nodes": "n1"}), 422)
    assert "cannot be kept off a node here: No nodes are seen." in refused["detail"]
    assert "harvester evict" in refused["remedy"]
    assert "admin" in problem(await rig.http.post("/v1/daemon/drain", json={"nodes": "n1"}), 403)["remedy"]
    assert rig.store.note(control.CONTROL_NOTE) is None
    assert (await rig.admin.post("/v1/daemon/undrain", json={"nodes": "n1"})).status_code == 200


async def test_a_waiting_invocation_is_told_which_nodes_are_drained(rig):
    await rig.register()
    invocation_id = await rig.accepted("double", 1)
    tick(rig.store)
    await rig.admin.post("/v1/daemon/drain", json={"nodes": "n[1-3]"})
    explained = (await rig.http.get(f"/v1/invocations/{invocation_id}/explain")).json()["details"]
    assert any("n[1-3]" in detail and "harvester undrain" in detail for detail in explained)


async def test_the_daemon_shows_its_age_and_whether_it_has_heard(rig):
    never = (await rig.http.get("/v1/daemon")).json()
    assert (never["is_alive"], never["age_s"], never["has_heard"], never["note"]) == (False, None, False, {})
    tick(rig.store, ago_s=2, notes=["none fits"])
    alive = (await rig.http.get("/v1/daemon")).json()
    assert (alive["is_alive"], alive["has_heard"], alive["note"]["notes"]) == (True, True, ["none fits"])
    assert 2 <= alive["age_s"] < 10
    for path, body in (("pause", {}), ("drain", {"nodes": "n1"})):
        await rig.admin.post(f"/v1/daemon/{path}", json=body)
        daemon = (await rig.http.get("/v1/daemon")).json()
        assert daemon["has_heard"] is False
        tick(rig.store)  # one that has not heard it
        assert (await rig.http.get("/v1/daemon")).json()["has_heard"] is False
        said_at = max(daemon["control"]["at"], daemon["control"]["drained_at"])
        tick(rig.store, said_at=said_at)
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
    tick(rig.store, knowledge=Knowledge(nodes=False, lost=("No nodes are seen.", "States are hints.")))
    assert (await details())[-1] == "No nodes are seen."
    tick(rig.store, paused=True, reason="shape x is paused after 5 failures")
    assert (await details())[-1] == "Submission is paused: shape x is paused after 5 failures."
    await rig.admin.post("/v1/daemon/pause", json={"reason": "maintenance"})
    assert "paused by an admin: maintenance" in (await details())[-1]
    assert "harvester resume" in (await details())[-1]
    await rig.http.post(f"/v1/invocations/{invocation_id}/cancel")
    assert await details() == []
