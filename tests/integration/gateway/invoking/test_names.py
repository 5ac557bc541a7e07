"""Names belong to their owners, over HTTP: who calls what, who sees it, who shares and deletes it."""

from datetime import timedelta

import pytest
from support.functions import draft

from harvester.domain.protocol import wire
from harvester_api.functions.unused_versions import Unused


@pytest.fixture
def bob(rig):
    return rig.client("bob-token")


async def register(client, module, **more):
    answer = await client.post("/v1/functions", json={"name": "f", "kind": "module", "body": f"{module}:f"} | more)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def called(client, name="f", **params):
    answer = await client.post(f"/v1/functions/{name}/invocations", params=params, json={})
    assert answer.status_code == 202, answer.text
    return answer.json()["function_id"]


async def test_each_users_call_runs_their_own_function(rig, bob):
    hers = await register(rig.http, "hers")
    assert (hers["owner"], hers["function_id"], hers["share"]) == ("ada", "ada/f@1", "none")
    assert await called(rig.http) == "ada/f@1"
    his = await register(bob, "his")
    assert (his["owner"], his["version"]) == ("bob", 1)
    assert await called(rig.http) == "ada/f@1"
    assert await called(bob, version=1) == "bob/f@1"
    pilot = await rig.pilot()
    bodies = {(await pilot.hear(wire.Function)).function.body for _ in range(2)}
    assert bodies == {b"hers:f", b"his:f"}


async def test_a_full_name_is_a_path_with_a_slash_or_with_its_code(rig, bob, problem):
    await register(rig.http, "hers", share="all")
    await register(bob, "his")
    for name in ("ada/f", "ada%2Ff"):
        assert await called(bob, name) == "ada/f@1"
        assert (await bob.get(f"/v1/functions/{name}")).json()["owner"] == "ada"
        assert len((await bob.get(f"/v1/functions/{name}/versions")).json()["items"]) == 1
        assert (await bob.get(f"/v1/functions/{name}/versions/1")).json()["function_id"] == "ada/f@1"
        answer = await bob.post(f"/v1/functions/{name}/batches", json=[{}])
        assert answer.status_code == 202
    found = (await bob.get("/v1/invocations", params={"function": "ada/f"})).json()["items"]
    assert [item["function"] for item in found] == ["f"] * 4
    problem(await bob.get("/v1/functions/ada/f/g"), 404)


async def test_what_is_not_shared_is_not_there_for_others(rig, bob, problem):
    await register(rig.http, "hers")
    for path in ("f", "ada/f", "ada/f/versions", "ada/f/versions/1"):
        document = problem(await bob.get(f"/v1/functions/{path}"), 404)
        assert document["type"].endswith("unknown-function")
    problem(await bob.post("/v1/functions/ada/f/invocations", json={}), 404)
    problem(await bob.put("/v1/functions/ada/f/sharing", json={"share": "all"}), 404)
    problem(await bob.delete("/v1/functions/ada/f/versions/1"), 404)
    assert (await bob.get("/v1/functions")).json()["items"] == []
    assert [item["owner"] for item in (await rig.admin.get("/v1/functions")).json()["items"]] == ["ada"]


async def test_sharing_is_an_act_of_the_owner_and_can_be_undone(rig, bob, problem):
    await register(rig.http, "hers")
    said = await rig.http.put("/v1/functions/f/sharing", json={"share": "all"})
    assert (said.status_code, said.json()["share"]) == (200, "all")
    assert await called(bob) == "ada/f@1"
    assert [(item["owner"], item["share"]) for item in (await bob.get("/v1/functions")).json()["items"]] == [
        ("ada", "all")
    ]
    problem(await bob.put("/v1/functions/f/sharing", json={"share": "none"}), 403)
    problem(await rig.http.put("/v1/functions/f/sharing", json={"share": "some"}), 422)
    assert (await rig.admin.put("/v1/functions/ada/f/sharing", json={"share": "none"})).status_code == 200
    problem(await bob.post("/v1/functions/f/invocations", json={}), 404)


async def test_a_name_that_two_share_is_refused_with_both_named(rig, bob, problem):
    for client in (rig.http, bob):
        await register(client, "whose", share="all")
    document = problem(await rig.admin.post("/v1/functions/f/invocations", json={}), 409)
    assert "ada/f, bob/f" in document["detail"]
    first = (await rig.admin.get("/v1/functions?limit=1")).json()
    rest = (await rig.admin.get("/v1/functions", params={"after": first["next"]})).json()
    assert [item["function_id"] for item in first["items"] + rest["items"]] == ["ada/f@1", "bob/f@1"]


async def test_a_version_is_deleted_when_its_invocations_are_over_and_their_results_stay(rig, problem):
    for module in ("one", "two"):
        await register(rig.http, module)
    answer = await rig.http.post("/v1/functions/f/invocations", params={"version": 1}, json={})
    invocation_id = answer.json()["invocation_id"]
    document = problem(await rig.http.delete("/v1/functions/f/versions/1"), 409)
    assert document["detail"] == "ada/f@1 is in use: 1 of its invocations have not ended"
    pilot = await rig.pilot()
    await pilot.finish(await pilot.hear(wire.Lease), 42)
    assert (await rig.read(invocation_id, wait_s=5))["result"] == 42
    gone = await rig.http.delete("/v1/functions/f/versions/1")
    assert (gone.status_code, gone.json()["function_id"]) == (200, "ada/f@1")
    problem(await rig.http.post("/v1/functions/f/invocations?version=1", json={}), 404)
    problem(await rig.http.delete("/v1/functions/f/versions/1"), 404)
    document = await rig.read(invocation_id)
    assert (document["result"], document["function"], document["version"]) == (42, "f", 1)


async def test_the_broom_takes_older_versions_that_nobody_calls_and_notes_those_that_are_called(rig, problem):
    for module in ("one", "two", "three"):
        await register(rig.http, module)
    gateway = rig.server.app.state.gateway.parts
    assert await called(rig.http, version=2) == "ada/f@2"
    broom = Unused(rig.store, gateway.catalog, timedelta(days=30))
    added_at = (await rig.http.get("/v1/functions/f/versions/2")).json()["added_at"]
    await broom.note(added_at + 1000.0)  # within the hour: not written
    await called(rig.http, version=2)
    await broom.note(added_at + 4000.0)
    assert gateway.catalog.take_used() == set()
    used = {
        item["version"]: item["used_at"] for item in (await rig.http.get("/v1/functions/f/versions")).json()["items"]
    }
    assert used[2] == added_at + 4000.0
    assert used[1] < added_at + 1.0
    await broom.expire(added_at + 40 * 86_400.0)
    assert [item["version"] for item in (await rig.http.get("/v1/functions/f/versions")).json()["items"]] == [3, 2]
    problem(await rig.http.post("/v1/functions/f/invocations?version=1", json={}), 404)


class TestOldVersions:
    @pytest.fixture
    def settings(self, settings, store):
        for body in (b"one:f", b"two:f"):
            store.add_function(draft("f", body, "ada"), 1.0)
        return settings

    async def test_a_gateway_sweeps_from_its_start_on_and_notes_what_is_called(self, rig):
        await rig.until(lambda: rig.store.function_id_of("f", 1, owner="ada") is None)
        assert await called(rig.http) == "ada/f@2"
        await rig.server.app.state.gateway.parts.retention.look()
        assert rig.store.listed("ada/f@2").used_at > 1.0


async def test_versions_are_listed_a_page_at_a_time(rig):
    for number in range(5):
        await rig.register("f", body=f"package.module:f{number}")
    seen, query = [], "?limit=2"
    while query:
        page = (await rig.http.get(f"/v1/functions/f/versions{query}")).json()
        seen.append([item["version"] for item in page["items"]])
        query = page["next"] and f"?limit=2&before={page['next']}"
    assert seen == [[5, 4], [3, 2], [1]]
