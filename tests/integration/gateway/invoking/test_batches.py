"""A batch under an idempotency key: repeated it is the same batch, whenever and however often it comes again."""

import asyncio

import msgspec
import pytest

from harvester.domain.model.invocations import InvocationState
from harvester.domain.protocol import wire
from harvester.store.store import StoreError
from harvester_api.doubt import judged
from harvester_api.invoking import acceptances, batch_intake

BATCHES = "/v1/functions/double/batches"
KEY = {"Idempotency-Key": "b-1"}


def numbers(count):
    return [{"args": [number]} for number in range(count)]


@pytest.fixture
def settings(settings):
    return msgspec.structs.replace(settings, batch_limit=100)


async def ids_of(answering):
    answer = await answering
    assert answer.status_code == 202, answer.text
    return answer.json()["invocation_ids"]


async def test_a_repeated_batch_is_the_same_batch_also_when_all_come_at_once(rig):
    await rig.register()
    calls = [rig.http.post(BATCHES, json=numbers(20), headers=KEY) for _ in range(8)]
    answers = await asyncio.gather(*map(ids_of, calls))
    assert len(set(answers[0])) == 20
    assert all(ids == answers[0] for ids in answers)
    assert answers[0] == sorted(answers[0])
    assert {record.invocation_id for record in rig.store.invocations()} == set(answers[0])
    for number, invocation_id in enumerate(answers[0]):
        assert msgspec.json.decode(rig.store.arguments(invocation_id)) == {"args": [number]}


async def test_a_batch_that_is_repeated_after_its_end_is_not_run_again(rig):
    await rig.register()
    pilot = await rig.pilot()
    pilot.work(double=lambda x: 2 * x)
    ids = await ids_of(rig.http.post(BATCHES, json=numbers(5), headers=KEY))
    for invocation_id in ids:
        assert (await rig.read(invocation_id, wait_s=5))["state"] == "succeeded"
    assert await ids_of(rig.http.post(BATCHES, json=numbers(5), headers=KEY)) == ids
    await asyncio.sleep(0.3)  # a few ticks, in which a second run would be leased
    leases = [message.invocation_id for message in pilot.heard if isinstance(message, wire.Lease)]
    assert sorted(leases) == ids
    assert len(rig.store.invocations(state=InvocationState.SUCCEEDED)) == 5


async def test_keys_of_batches_of_callers_and_of_single_invocations_are_apart(rig):
    await rig.register(share="all")
    bob = rig.client("bob-token")
    ada_s = await ids_of(rig.http.post(BATCHES, json=numbers(2), headers=KEY))
    bobs = await ids_of(bob.post(BATCHES, json=numbers(3), headers=KEY))
    single = (await rig.invoke("double", 1, headers=KEY)).json()["invocation_id"]
    another = await ids_of(rig.http.post(BATCHES, json=numbers(2), headers={"Idempotency-Key": "b-2"}))
    unkeyed = [await ids_of(rig.http.post(BATCHES, json=numbers(2))) for _ in range(2)]
    everything = [*ada_s, *bobs, single, *another, *unkeyed[0], *unkeyed[1]]
    assert len(set(everything)) == len(everything) == 12


@pytest.mark.parametrize("count", [1, 4, 6, 0])
async def test_a_key_that_was_another_batchs_is_refused_and_nothing_is_accepted(rig, problem, count):
    await rig.register()
    await rig.register("other")
    ids = await ids_of(rig.http.post(BATCHES, json=numbers(5), headers=KEY))
    document = problem(await rig.http.post(BATCHES, json=numbers(count), headers=KEY), 409)
    assert document["field"] == "Idempotency-Key"
    assert f"another length than {count}" in document["detail"]
    assert "new key" in document["remedy"]
    document = problem(await rig.http.post("/v1/functions/other/batches", json=numbers(5), headers=KEY), 409)
    assert "ada/double@1, not for ada/other" in document["detail"]
    assert {record.invocation_id for record in rig.store.invocations()} == set(ids)


async def test_a_failed_write_is_judged_once_for_a_whole_batch(rig, problem, monkeypatch):
    """Each piece of a batch asks; judging all of it for each would take minutes for the largest batch."""
    await rig.register()
    judgements = []

    def noted(ids, error, *, may_have_run):
        judgements.append(len(ids))
        return judged(ids, error, may_have_run=may_have_run)

    monkeypatch.setattr(acceptances, "judged", noted)
    monkeypatch.setattr(acceptances, "PIECE", 10)
    monkeypatch.setattr(batch_intake, "PIECE", 10)
    monkeypatch.setattr(rig.server.app.state.gateway.parts.journal, "_write", refusing)
    problem(await rig.http.post(BATCHES, json=numbers(40), headers=KEY), 503)
    assert judgements == [40]


def refusing(_writes):
    raise StoreError("the disk is gone")


async def test_a_batch_that_could_not_be_written_is_accepted_when_it_is_repeated(rig, problem, monkeypatch):
    await rig.register()
    write, trouble = rig.store.write, [StoreError("the disk is gone")]

    def failing(writes):
        if trouble:
            raise trouble[0]
        return write(writes)

    monkeypatch.setattr(rig.server.app.state.gateway.parts.journal, "_write", failing)
    refused = await asyncio.gather(*[rig.http.post(BATCHES, json=numbers(5), headers=KEY) for _ in range(3)])
    for answer in refused:
        problem(answer, 503)
    trouble.clear()
    await rig.until_ready()
    ids = await ids_of(rig.http.post(BATCHES, json=numbers(5), headers=KEY))
    assert {record.invocation_id for record in rig.store.invocations()} == set(ids)


async def test_a_batch_over_the_limit_is_refused_with_limit_and_size(rig, problem):
    await rig.register()
    document = problem(await rig.http.post(BATCHES, json=numbers(101)), 413)
    assert "101 invocations" in document["detail"]
    assert "limit is 100" in document["detail"]
    problem(await rig.http.post(BATCHES, json=numbers(2), headers={"Idempotency-Key": "k" * 201}), 422)
    assert rig.store.invocations() == []
    assert await ids_of(rig.http.post(BATCHES, json=[], headers=KEY)) == []
