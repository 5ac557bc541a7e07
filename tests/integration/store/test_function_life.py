"""Versions of functions go: deleted by their owners, or unused for long. What was called stays readable."""

import pytest

from harvester.domain.model.functions import Sharing

DAY = 86_400.0


def write(store, *writes):
    store.write(writes).result(timeout=20)


@pytest.fixture
def versions(store, make):
    """Three versions of ann's fib, the first of which has one invocation that waits."""
    for number in range(3):
        store.add_function(make.function(owner="ann", body=b"%d" % number), at=float(number))
    write(store, make.new("i1", function_id="ann/fib@1"))
    return lambda: [each.function.version for each in store.function_versions("fib", owner="ann")]


def test_a_version_is_deleted_once_no_invocation_of_it_is_open(store, make, versions):
    assert store.delete_function("ann/fib@1", at=9.0) == 1
    assert versions() == [3, 2, 1]
    write(store, make.granted("i1"), make.concluded("i1", value=b"42"))
    assert store.delete_function("ann/fib@1", at=9.0) == 0
    assert versions() == [3, 2]
    assert store.function("fib", 1, owner="ann") is None
    assert (store.result("i1"), store.arguments("i1")) == (b"42", b"{}")
    assert [record.invocation_id for record in store.invocations(function="ann/fib")] == ["i1"]


def test_its_code_stays_as_long_as_an_invocation_may_have_been_accepted_in_the_same_moment(store, make, versions):
    assert store.delete_function("ann/fib@2", at=9.0) == 0
    write(store, make.new("late", function_id="ann/fib@2"))
    assert store.drop_functions(before=99.0) == 0
    assert store.function_by_id("ann/fib@2").body == b"1"
    assert [demand.function_id for demand in store.demand()] == ["ann/fib@1", "ann/fib@2"]
    write(store, make.granted("late"), make.concluded("late"))
    assert store.drop_functions(before=9.0) == 0
    assert store.drop_functions(before=99.0) == 1
    assert store.function_by_id("ann/fib@2") is None
    assert versions() == [3, 1]


def test_a_number_is_never_given_twice_and_what_comes_after_the_last_version_is_not_shared(store, make):
    for body in (b"1", b"2"):
        store.add_function(make.function(owner="ann", body=body), at=1.0, sharing=Sharing.ALL)
    store.delete_function("ann/fib@2", at=2.0)
    assert store.sharers("fib") == ["ann"]
    assert store.add_function(make.function(owner="ann", body=b"2"), at=3.0).function_id == "ann/fib@3"
    for version in (1, 3):
        store.delete_function(f"ann/fib@{version}", at=4.0)
    assert (store.functions(), store.function_names(None, 9), store.sharers("fib")) == ([], [], [])
    store.drop_functions(before=99.0)
    assert store.add_function(make.function(owner="ann", body=b"2"), at=5.0).function_id == "ann/fib@4"
    assert store.sharers("fib") == []


def test_a_version_that_nobody_has_called_for_long_expires_unless_it_is_the_newest(store, make, versions):
    store.add_function(make.function("lone", owner="ann"), at=0.0)
    write(store, make.concluded("i1", 0, at=8.0))
    assert store.expire_functions(before=9.0, at=10.0) == ["ann/fib@2"]  # the result of the first is still kept
    store.purge(before=9.0, limit=9)
    assert store.expire_functions(before=9.0, at=10.0) == ["ann/fib@1"]
    assert versions() == [3]
    assert store.expire_functions(before=99.0, at=100.0) == []
    assert store.function("lone", owner="ann").version == 1


def test_a_version_of_which_an_invocation_is_open_does_not_expire(store, versions):
    assert store.expire_functions(before=9.0, at=10.0) == ["ann/fib@2"]
    assert versions() == [3, 1]


def test_a_use_counts_from_when_it_was_noted_and_is_not_noted_again_at_once(store, versions):
    store.note_use({"ann/fib@1", "ann/fib@2"}, at=5.0, unless_since=2.0)
    store.note_use({"ann/fib@1"}, at=6.0, unless_since=5.0)
    used = {each.function.version: each.used_at for each in store.function_versions("fib", owner="ann")}
    assert used == {1: 5.0, 2: 5.0, 3: 2.0}
    store.note_use(set(), at=7.0, unless_since=7.0)
    assert store.expire_functions(before=5.0, at=10.0) == []
