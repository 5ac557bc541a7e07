"""Functions get versions, notes are replaced."""

from concurrent.futures import ThreadPoolExecutor

from harvester.domain.resources import Resources


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
    assert store.function_versions("fib") == [back, second, first]


def test_unknown_functions_are_none(store):
    assert store.function("nope") is None
    assert store.function("nope", 1) is None
    assert store.function_by_id("nope@1") is None
    assert store.function_versions("nope") == []


def test_functions_are_listed_by_name_with_their_newest_version(store, make):
    for name in ("b", "B", "a", "a-b", "c"):
        store.add_function(make.function(name), at=1.0)
    store.add_function(make.function("a", body=b"2"), at=1.0)
    assert [f.function_id for f in store.functions()] == ["B@1", "a@2", "a-b@1", "b@1", "c@1"]
    assert [f.name for f in store.functions(after="a", limit=2)] == ["a-b", "b"]


def test_two_gateways_that_register_at_once_get_versions_of_their_own(url, opened, make):
    stores = [opened(url), opened(url)]

    def register(number):
        return stores[number % 2].add_function(make.function(body=b"%d" % number), at=1.0).version

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(register, range(20))) == list(range(1, 21))


def test_a_note_takes_the_place_of_the_one_before(store):
    assert store.note("cluster") is None
    store.put_note("cluster", b"{}")
    store.put_note("cluster", b'{"nodes": 8}')
    store.put_note("daemon", b"[]")
    assert (store.note("cluster"), store.note("daemon")) == (b'{"nodes": 8}', b"[]")
