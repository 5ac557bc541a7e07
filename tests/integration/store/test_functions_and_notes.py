"""Functions get versions, notes are replaced."""

from concurrent.futures import ThreadPoolExecutor

from msgspec import structs

from harvester.domain.model.functions import Sharing
from harvester.domain.model.resources import Resources


def test_versions_count_up_and_what_is_identical_to_the_newest_is_that_one(store, make):
    first = store.add_function(make.function(resources=Resources(cpus=3, gpus=1, memory_mb=5)), at=1.0)
    assert (first.function_id, first.version, first.resources.cpus) == ("fib@1", 1, 3)
    again = store.add_function(make.function(resources=Resources(cpus=3, gpus=1, memory_mb=5)), at=2.0)
    assert again == first
    second = store.add_function(make.function(body=b"other", walltime_s=2.5, checkpoints=True, max_retries=4), at=3.0)
    assert second.function_id == "fib@2"
    back = store.add_function(make.function(resources=Resources(cpus=3, gpus=1, memory_mb=5)), at=4.0)
    assert back.version == 3
    assert store.function("fib") == back
    assert store.function("fib", 2) == second
    assert store.function_by_id("fib@1") == first
    listed = store.function_versions("fib")
    assert [each.function for each in listed] == [structs.replace(each, body=b"") for each in (back, second, first)]
    assert [(each.sharing, each.added_at, each.used_at) for each in listed] == [
        (Sharing.NONE, at, at) for at in (4.0, 3.0, 1.0)
    ]


def test_unknown_functions_are_none(store):
    assert store.function("nope") is None
    assert store.function("nope", 1) is None
    assert store.function_by_id("nope@1") is None
    assert store.function_versions("nope") == []


def test_functions_are_listed_by_name_with_their_newest_version(store, make):
    for name in ("b", "B", "a", "a-b", "c"):
        store.add_function(make.function(name), at=1.0)
    store.add_function(make.function("a", body=b"2"), at=1.0)
    assert [f.function.function_id for f in store.functions()] == ["B@1", "a@2", "a-b@1", "b@1", "c@1"]
    assert [f.function.name for f in store.functions(after="a", limit=2)] == ["a-b", "b"]


def test_two_gateways_that_register_at_once_get_versions_of_their_own(url, opened, make):
    stores = [opened(url), opened(url)]

    def register(number):
        return stores[number % 2].add_function(make.function(body=b"%d" % number), at=1.0).version

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(register, range(20))) == list(range(1, 21))


def ids(listed):
    return [each.function.function_id for each in listed]


def test_a_name_belongs_to_its_owner(store, make):
    anns = store.add_function(make.function(owner="ann", body=b"ann's"), at=1.0)
    bobs = store.add_function(make.function(owner="bob", body=b"bob's"), at=1.0)
    assert (anns.function_id, bobs.function_id) == ("ann/fib@1", "bob/fib@1")
    assert store.add_function(make.function(owner="ann", body=b"newer"), at=1.0).function_id == "ann/fib@2"
    assert store.function("fib", owner="bob") == bobs
    assert store.function("fib", 1, owner="ann") == anns
    assert store.function_id_of("fib", owner="ann") == "ann/fib@2"
    assert (store.function_id_of("fib", 2, owner="bob"), store.function("fib", owner="eve")) == (None, None)
    assert ids(store.function_versions("fib", owner="bob")) == ["bob/fib@1"]


def test_lists_show_ones_own_and_what_is_shared(store, make):
    for owner, name in (("bob", "b"), ("ann", "b"), ("ann", "a"), ("ann", "c")):
        store.add_function(make.function(name, owner=owner), at=1.0)
    store.add_function(make.function("s", owner="eve"), at=1.0, sharing=Sharing.ALL)
    assert ids(store.functions()) == ["ann/a@1", "ann/b@1", "bob/b@1", "ann/c@1", "eve/s@1"]
    assert ids(store.functions(seen_by="bob")) == ["bob/b@1", "eve/s@1"]
    assert ids(store.functions(after="ann/b", limit=2)) == ["bob/b@1", "ann/c@1"]
    assert sorted(store.function_names("bob", 9)) == [("bob", "b"), ("eve", "s")]
    store.share("b", Sharing.ALL, owner="ann")
    assert ids(store.functions(seen_by="bob")) == ["ann/b@1", "bob/b@1", "eve/s@1"]
    assert (store.sharers("b"), store.sharers("s"), store.sharers("a")) == (["ann"], ["eve"], [])


def test_sharing_is_of_the_name_and_stays_as_it_is_unless_it_is_said_anew(store, make):
    def sharing(**said):
        store.add_function(make.function(owner="ann", body=said.pop("body")), at=1.0, **said)
        return store.functions()[0].sharing

    assert sharing(body=b"1") is Sharing.NONE
    assert sharing(body=b"1", sharing=Sharing.ALL) is Sharing.ALL  # the same content: no version, and yet shared
    assert sharing(body=b"2") is Sharing.ALL
    assert sharing(body=b"3", sharing=Sharing.NONE) is Sharing.NONE


def test_a_note_takes_the_place_of_the_one_before(store):
    assert store.note("cluster") is None
    store.put_note("cluster", b"{}")
    store.put_note("cluster", b'{"nodes": 8}')
    store.put_note("daemon", b"[]")
    assert (store.note("cluster"), store.note("daemon")) == (b'{"nodes": 8}', b"[]")
