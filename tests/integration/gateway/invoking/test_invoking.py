"""Invoke, wait, come back later, in batches; cancel; what is refused."""

import asyncio
import pickle
import time
from base64 import b64decode, b64encode

import msgspec
import pytest

from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import ActivationEnd, Failure, FailureKind
from harvester.domain.protocol import wire

PICKLE = {"Content-Type": "application/x-python-pickle", "Harvester-Python": "3.11"}


async def test_an_invocation_that_is_waited_for_answers_with_its_result(rig):
    await rig.register()
    pilot = await rig.pilot()
    pilot.work(double=lambda x: 2 * x)
    answer = await rig.invoke("double", 21, wait_s=5)
    assert answer.status_code == 200
    document = answer.json()
    assert document["result"] == 42
    assert document["state"] == "succeeded"
    assert document["attempts"] == 1
    whole = await rig.read(document["invocation_id"])
    assert [a["end"] for a in whole["activations"]] == ["succeeded"]
    assert whole["result"] == 42


async def test_an_invocation_that_is_not_waited_for_is_on_disk_before_the_202(rig):
    await rig.register()
    answer = await rig.invoke("double", 1)
    assert answer.status_code == 202
    document = answer.json()
    assert answer.headers["location"] == f"/v1/invocations/{document['invocation_id']}"
    assert document["state"] == "accepted"
    assert rig.store.invocation(document["invocation_id"]) is not None
    assert rig.store.arguments(document["invocation_id"]) == msgspec.json.encode({"args": [1]})


async def test_a_result_can_be_fetched_later_and_waited_for(rig):
    await rig.register()
    invocation_id = await rig.accepted("double", 4)
    early = await rig.http.get(f"/v1/invocations/{invocation_id}/result")
    assert early.status_code == 202
    waiting = asyncio.create_task(rig.http.get(f"/v1/invocations/{invocation_id}/result?wait_s=10"))
    pilot = await rig.pilot()
    await pilot.finish(await pilot.hear(wire.Lease), 8)
    answer = await waiting
    assert (answer.status_code, answer.json()) == (200, 8)
    assert answer.headers["harvester-state"] == "succeeded"
    explained = (await rig.http.get(f"/v1/invocations/{invocation_id}/explain")).json()
    assert explained["summary"] == "It has succeeded."


async def test_a_wait_that_is_over_before_the_end_answers_202(rig):
    await rig.register()
    answer = await rig.invoke("double", 1, wait_s=0.1)
    assert answer.status_code == 202
    assert rig.store.invocation(answer.json()["invocation_id"]) is not None


async def test_a_pickled_invocation_gets_its_result_as_bytes_in_one_round_trip(rig):
    await rig.register()
    pilot = await rig.pilot()
    calling = asyncio.create_task(
        rig.http.post(
            "/v1/functions/double/invocations?wait_s=5",
            content=pickle.dumps(((21,), {})),
            headers=PICKLE | {"Accept": "application/x-python-pickle"},
        )
    )
    lease = await pilot.hear(wire.Lease)
    assert lease.encoding is Encoding.PICKLE
    assert lease.arguments == pickle.dumps(((21,), {}))
    value = pickle.dumps(42)
    await pilot.say(wire.Finished(invocation_id=lease.invocation_id, fence=lease.fence, value=value))
    answer = await calling
    assert answer.content == value
    assert answer.headers["content-type"] == "application/x-python-pickle"
    assert answer.headers["harvester-invocation"] == lease.invocation_id


async def test_a_failed_invocation_is_answered_with_its_failure(rig, problem):
    await rig.register()
    pilot = await rig.pilot()
    calling = asyncio.create_task(rig.invoke("double", 1, wait_s=5, headers={"Accept": "application/x-python-pickle"}))
    lease = await pilot.hear(wire.Lease)
    failure = Failure(
        kind=FailureKind.EXCEPTION,
        message="ZeroDivisionError: division by zero",
        node="n7",
        attempt=1,
        exception=b"a pickle",
    )
    await pilot.say(wire.Finished(invocation_id=lease.invocation_id, fence=lease.fence, failure=failure))
    answer = await calling
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["state"] == "failed"
    assert answer.json()["failure"]["message"] == failure.message
    document = problem(await rig.http.get(f"/v1/invocations/{lease.invocation_id}/result"), 409)
    assert document["failure"]["kind"] == "exception"
    assert (document["failure"]["node"], document["failure"]["attempt"]) == ("n7", 1)
    for text in (answer.text, str(document)):
        assert "exception_b64" not in text  # text is all that JSON is told, unless results are asked for in base64
        assert b64encode(failure.exception).decode() not in text
    question = {"invocation_ids": [lease.invocation_id]}
    (ended,) = (await rig.http.post("/v1/wait", json={**question, "results": True})).json()["ended"]
    assert b64decode(ended["exception_b64"]) == failure.exception
    assert "exception_b64" not in (await rig.http.post("/v1/wait", json=question)).text
    others = await rig.admin.post("/v1/wait", json={**question, "results": True})
    assert others.json()["ended"][0]["failure"]["kind"] == "exception"
    assert "exception_b64" not in others.text  # whose client would open somebody else's pickle
    explained = (await rig.http.get(f"/v1/invocations/{lease.invocation_id}/explain")).json()
    assert "division by zero" in explained["summary"]


async def test_a_batch_keeps_its_order_and_is_waited_for_as_a_whole(rig):
    await rig.register()
    answer = await rig.http.post("/v1/functions/double/batches", json=[{"args": [i]} for i in range(50)])
    assert answer.status_code == 202
    ids = answer.json()["invocation_ids"]
    assert len(set(ids)) == 50
    assert all(rig.store.invocation(invocation_id) for invocation_id in ids)
    pilot = await rig.pilot(cpus=8)
    pilot.work(double=lambda x: 2 * x)
    for lease in [message for message in pilot.heard if isinstance(message, wire.Lease)]:
        await pilot.finish(lease, 2 * msgspec.json.decode(lease.arguments)["args"][0])
    results, pending = {}, ids
    while pending:
        answer = await rig.http.post("/v1/wait", json={"invocation_ids": pending, "wait_s": 5, "results": True})
        assert answer.status_code == 200, answer.text
        assert answer.json()["ended"]
        pending = answer.json()["pending"]
        results |= {document["invocation_id"]: document["result"] for document in answer.json()["ended"]}
    assert [results[invocation_id] for invocation_id in ids] == [2 * i for i in range(50)]


async def test_a_batch_of_pickles_is_an_array_of_bin(rig):
    await rig.register()
    items = [pickle.dumps(((i,), {})) for i in range(3)]
    answer = await rig.http.post(
        "/v1/functions/double/batches",
        content=msgspec.msgpack.encode(items),
        headers={"Content-Type": "application/vnd.msgpack", "Harvester-Python": "3.11"},
    )
    assert answer.status_code == 202
    ids = answer.json()["invocation_ids"]
    assert [rig.store.arguments(invocation_id) for invocation_id in ids] == items


async def test_a_waiting_invocation_can_be_cancelled_and_never_runs(rig, problem):
    await rig.register()
    invocation_id = await rig.accepted("double", 1)
    waiting = asyncio.create_task(rig.read(invocation_id, wait_s=10))
    answer = await rig.http.post(f"/v1/invocations/{invocation_id}/cancel")
    assert answer.status_code == 200
    assert answer.json()["state"] == "cancelled"
    assert (await waiting)["state"] == "cancelled"
    problem(await rig.http.get(f"/v1/invocations/{invocation_id}/result"), 409)
    pilot = await rig.pilot()
    other = await rig.accepted("double", 2)
    assert (await pilot.hear(wire.Lease)).invocation_id == other


async def test_a_running_invocation_that_is_cancelled_is_stopped_on_its_pilot(rig):
    await rig.register()
    pilot = await rig.pilot()
    invocation_id = await rig.accepted("double", 1)
    lease = await pilot.hear(wire.Lease)
    await pilot.say(wire.Started(invocation_id=lease.invocation_id, fence=lease.fence))
    answer = await rig.http.post(f"/v1/invocations/{invocation_id}/cancel")
    assert answer.json()["state"] == "cancelled"
    await pilot.hear(wire.Cancel, fence=lease.fence)
    given_back = wire.GivenBack(invocation_id=lease.invocation_id, fence=lease.fence, end=ActivationEnd.CANCELLED)
    await pilot.say(given_back)
    await pilot.hear(wire.Ack, invocation_id=invocation_id)
    again = await rig.http.post(f"/v1/invocations/{invocation_id}/cancel")
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")


async def test_an_idempotency_key_makes_a_repeated_call_the_same_invocation(rig, problem):
    await rig.register(share="all")
    await rig.register("other")
    key = {"Idempotency-Key": "k-1"}
    calls = await asyncio.gather(*[rig.invoke("double", 1, headers=key) for _ in range(8)])
    ids = {answer.json()["invocation_id"] for answer in calls}
    assert len(ids) == 1
    pilot = await rig.pilot()
    pilot.work(double=lambda x: 2 * x)
    again = await rig.invoke("double", 1, wait_s=5, headers=key)
    assert {again.json()["invocation_id"]} == ids
    assert again.status_code in {200, 202}  # the lease may have come before the pilot began to work
    bob = rig.client("bob-token")
    theirs = await bob.post("/v1/functions/double/invocations", json={}, headers=key)
    assert theirs.json()["invocation_id"] not in ids
    document = problem(await rig.invoke("other", 1, headers=key), 409)
    assert document["field"] == "Idempotency-Key"


@pytest.mark.parametrize("size", [1, 150_000])
async def test_an_idempotency_key_stands_for_its_arguments_too(rig, problem, size):
    await rig.register()
    key = {"Idempotency-Key": "k-1"}
    first = (await rig.invoke("double", "x" * size, headers=key)).json()["invocation_id"]
    await rig.until(lambda: rig.store.invocation(first))

    async def is_refused():
        document = problem(await rig.invoke("double", "y" * size, headers=key), 409)
        assert "'k-1' was used for other arguments" in document["detail"]
        assert "Use a new key" in document["remedy"]
        assert (await rig.invoke("double", "x" * size, headers=key)).json()["invocation_id"] == first

    await is_refused()
    pilot = await rig.pilot()
    await pilot.finish(await pilot.hear(wire.Lease), 2)
    await rig.read(first, wait_s=5)
    await is_refused()  # when it is over, too
    assert len(rig.store.invocations()) == 1


async def test_a_repeated_call_is_the_same_one_though_a_newer_version_was_registered_meanwhile(rig, problem):
    await rig.register()
    key = {"Idempotency-Key": "k-1"}
    first = (await rig.invoke("double", 1, headers=key)).json()
    await rig.register(body="package.module:better")
    assert (await rig.invoke("double", 1, headers=key)).json()["invocation_id"] == first["invocation_id"]
    path = "/v1/functions/double/invocations"
    assert (await rig.http.post(f"{path}?version=1", json={"args": [1]}, headers=key)).status_code == 202
    document = problem(await rig.http.post(f"{path}?version=2", json={"args": [1]}, headers=key), 409)
    assert "for ada/double@1, not for ada/double@2" in document["detail"]


async def test_large_arguments_wait_in_the_store_and_reach_the_pilot_whole(rig):
    await rig.register()
    text = "x" * 150_000
    invocation_id = await rig.accepted("double", text)
    pilot = await rig.pilot()
    lease = await pilot.hear(wire.Lease)
    assert msgspec.json.decode(lease.arguments) == {"args": [text]}
    await pilot.finish(lease, "y" * 90_000)
    assert (await rig.read(invocation_id, wait_s=5))["result"] == "y" * 90_000


async def test_a_result_over_the_limit_fails_with_that_reason(rig):
    await rig.register()
    pilot = await rig.pilot()
    invocation_id = await rig.accepted("double", 1)
    await pilot.finish(await pilot.hear(wire.Lease), "y" * 100_001)
    document = await rig.read(invocation_id, wait_s=5)
    assert document["state"] == "failed"
    assert document["failure"]["kind"] == "result"
    assert "100000" in document["failure"]["message"]


async def test_invocations_are_listed_newest_first_and_page_by_page(rig):
    await rig.register(share="all")
    ids = [await rig.accepted("double", i) for i in range(5)]
    await rig.client("bob-token").post("/v1/functions/double/invocations", json={})
    first = (await rig.http.get("/v1/invocations?limit=3")).json()
    second = (await rig.http.get("/v1/invocations", params={"limit": 3, "before": first["next"]})).json()
    assert [item["invocation_id"] for item in first["items"] + second["items"]] == ids[::-1]
    assert second["next"] is None
    everybody = (await rig.admin.get("/v1/invocations?state=accepted&function=double")).json()
    assert {item["owner"] for item in everybody["items"]} == {"ada", "bob"}


@pytest.mark.parametrize("where", ["open", "ended", "in the store only"])
async def test_somebody_elses_invocation_is_not_there_except_for_the_admin(rig, problem, where):
    await rig.register()
    invocation_id = await rig.accepted("double", 1)
    if where != "open":
        pilot = await rig.pilot()
        await pilot.finish(await pilot.hear(wire.Lease), "secret")
        await rig.read(invocation_id, wait_s=5)
    if where == "in the store only":
        rig.server.app.state.gateway.parts.book.forget_ended(time.time() + 60)
    before = rig.store.invocation(invocation_id)
    bob, path = rig.client("bob-token"), f"/v1/invocations/{invocation_id}"
    answers = [
        *[await bob.get(path + end) for end in ("", "?wait_s=0.1", "/result", "/explain")],
        await bob.post(f"{path}/cancel"),
        await bob.post("/v1/wait", json={"invocation_ids": [invocation_id], "results": True}),
    ]
    for answer in answers:
        assert "secret" not in answer.text
        assert problem(answer, 404)["type"].endswith("unknown-invocation")
    assert (await bob.get("/v1/invocations")).json()["items"] == []
    assert (await rig.admin.get(path)).status_code == 200
    assert (await rig.admin.get("/v1/invocations")).json()["items"][0]["owner"] == "ada"
    assert rig.store.invocation(invocation_id) == before
    assert (await rig.admin.post(f"{path}/cancel")).status_code == 200


async def test_a_wait_says_why_nothing_runs(rig):
    await rig.register()
    invocation_id = await rig.accepted("double", 1)
    document = (await rig.http.get(f"/v1/invocations/{invocation_id}/explain")).json()
    assert "no pilot" in document["summary"]
    assert document["pilots"] == []


async def test_a_new_version_is_used_by_new_invocations_only(rig):
    first = await rig.register()
    same = await rig.http.post(
        "/v1/functions", json={"name": "double", "kind": "module", "body": "package.module:double"}
    )
    assert (same.status_code, same.json()["version"]) == (200, 1)
    second = await rig.register(body="package.module:triple")
    assert (first["version"], second["version"]) == (1, 2)
    newest = await rig.invoke("double", 1)
    pinned = await rig.http.post("/v1/functions/double/invocations?version=1", json={})
    assert (newest.json()["version"], pinned.json()["version"]) == (2, 1)
    versions = (await rig.http.get("/v1/functions/double/versions")).json()["items"]
    assert [item["version"] for item in versions] == [2, 1]
    assert (await rig.http.get("/v1/functions/double/versions/1")).json() == first
    assert (await rig.http.get("/v1/functions/double")).json() == second
    await rig.register("another")
    page = (await rig.http.get("/v1/functions?limit=1")).json()
    assert [item["name"] for item in page["items"]] == ["another"]
    rest = (await rig.http.get("/v1/functions", params={"after": page["next"]})).json()
    assert [item["function_id"] for item in rest["items"]] == ["ada/double@2"]
    assert rest["next"] is None
