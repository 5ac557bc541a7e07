"""Retention: payloads go first, rows later, blobs are told."""

import time

from harvester.domain.model.invocations import InvocationState
from harvester.domain.payload.blobs import BlobRef
from harvester.store.records import Purged


def write(store, *writes):
    store.write(writes).result(timeout=20)


def over(make, name, at, **fields):
    arguments = fields.pop("arguments", b"{}")
    return [make.new(name, arguments=arguments), make.granted(name), make.concluded(name, at=at, **fields)]


def test_a_purge_takes_payloads_and_leaves_the_record(store, make):
    write(store, *over(make, "old", 10.0, value=b"42"), *over(make, "young", 20.0, value=b"43"), make.new("open"))
    assert store.purge(before=20.0, limit=100) == Purged(count=1, blobs=())
    old = store.invocation("old")
    assert old.state is InvocationState.SUCCEEDED
    assert abs(old.purged_at - time.time()) < 60
    assert (store.arguments("old"), store.result("old")) == (None, None)
    assert len(store.activations("old")) == 1
    assert (store.arguments("young"), store.result("young")) == (b"{}", b"43")
    assert (store.invocation("young").purged_at, store.invocation("open").purged_at) == (None, None)
    assert store.arguments("open") == b"{}"


def test_a_purge_tells_the_blobs_that_nobody_refers_to_any_more(store, make):
    arguments, result = BlobRef(name="i1/i1-args", size=5), BlobRef(name="i1/i1-r1", size=6)
    write(store, *over(make, "i1", 10.0, arguments=arguments, value=result), *over(make, "i2", 10.0, value=b"x"))
    names = {arguments.name, result.name, "i1/i1-r2"}
    assert store.referenced(names) == {arguments.name, result.name}
    purged = store.purge(before=11.0, limit=100)
    assert (purged.count, set(purged.blobs)) == (2, {arguments, result})
    assert store.referenced(names) == set()
    assert store.purge(before=11.0, limit=100) == Purged(count=0, blobs=())


def test_a_purge_stops_at_its_limit_and_takes_the_oldest_first(store, make):
    write(store, *(change for number in range(9) for change in over(make, f"i{number}", 90.0 - number)))
    assert store.purge(before=100.0, limit=4).count == 4
    assert [number for number in range(9) if store.result(f"i{number}") is None] == [5, 6, 7, 8]
    assert store.purge(before=100.0, limit=100).count == 5
    assert all(store.result(f"i{number}") is None for number in range(9))


def test_what_is_forgotten_leaves_nothing_and_frees_its_idempotency_key(store, make):
    write(store, make.new("i1", idempotency_key="k"), make.granted("i1"), make.concluded("i1", at=10.0))
    write(store, *over(make, "never-purged", 10.0), *over(make, "young", 30.0), make.new("open"))
    store.purge(before=11.0, limit=1)
    assert store.forget(before=20.0, limit=100) == 2
    assert store.forget(before=20.0, limit=100) == 0
    for name in ("i1", "never-purged"):
        assert store.invocation(name) is None
        assert store.activations(name) == []
        assert store.arguments(name) is None
    assert store.by_idempotency_key("ann", "k") is None
    assert [record.invocation_id for record in store.invocations()] == ["young", "open"]


def test_forgetting_stops_at_its_limit(store, make):
    write(store, *(change for number in range(5) for change in over(make, f"i{number}", 10.0)))
    assert [store.forget(before=11.0, limit=3) for _ in range(3)] == [3, 2, 0]


def test_a_thousand_names_can_be_asked_for_at_once(store, make):
    write(store, make.new("i1", arguments=BlobRef(name="i1/i1-args", size=5)))
    assert store.referenced([f"aa/{number:08}" for number in range(1200)] + ["i1/i1-args"]) == {"i1/i1-args"}
