"""Functions that call the gateway back: with what their pilot was given, and what they wait for goes first."""

from harvester.domain.model.run_tokens import make_token
from harvester.domain.protocol import wire


async def test_a_run_submits_waits_and_reads_with_the_credential_that_its_pilot_was_given(rig):
    await rig.register("parent")
    await rig.register("child")
    pilot = await rig.pilot(cpus=1)
    parent_id = await rig.accepted("parent")
    lease = await pilot.hear(wire.Lease)
    key = await pilot.hear(wire.OwnerKey)
    assert key.owner == lease.owner == "ada"

    run = rig.client(make_token(key.key, "p1", lease.invocation_id, lease.fence))
    told = (await run.get("/v1/whoami")).json()
    assert (told["name"], told["role"]) == ("ada", "user")
    other = await rig.accepted("parent")  # before the child, and yet behind it
    answer = await run.post("/v1/functions/child/invocations", json={"args": [1]})
    assert answer.status_code == 202
    child_id = answer.json()["invocation_id"]
    key_ = {"invocation_id": lease.invocation_id, "fence": lease.fence}
    await pilot.say(wire.Started(**key_), wire.Waits(**key_, is_lent=True))
    child = await pilot.hear(wire.Lease, invocation_id=child_id)

    said = (await rig.http.get(f"/v1/invocations/{parent_id}/explain")).json()["summary"]
    assert "it waits for an invocation that it has submitted" in said
    assert (await run.get(f"/v1/invocations/{child_id}")).status_code == 200
    await pilot.finish(child, 2)
    await pilot.hear(wire.Lease, invocation_id=other)
    await pilot.say(wire.GoesOn(**key_))
    await pilot.finish(lease, 3)
    assert (await rig.read(parent_id, wait_s=5))["result"] == 3
    assert (await run.get("/v1/whoami")).status_code == 401


async def test_the_header_names_a_parent_for_who_calls_with_another_token(rig, problem):
    await rig.register()
    await rig.pilot(cpus=1)
    parent, behind = await rig.accepted(), await rig.accepted()
    child = await rig.invoke("double", headers={"Harvester-Parent": parent})
    explained = (await rig.http.get(f"/v1/invocations/{child.json()['invocation_id']}/explain")).json()
    assert explained["details"][0] == f"Invocation {parent} has submitted it."
    assert (await rig.http.get(f"/v1/invocations/{behind}/explain")).json()["details"][0].startswith("1 ")
    problem(await rig.invoke("double", headers={"Harvester-Parent": "x" * 65}), 422)
