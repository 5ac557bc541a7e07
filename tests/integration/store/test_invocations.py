"""Invocations: what is written is read, stale writes change nothing."""

import pytest

from harvester.domain.model.invocations import ActivationEnd, Failure, FailureKind, InvocationState
from harvester.domain.model.resources import Resources
from harvester.domain.payload.blobs import BlobRef
from harvester.store.records import ActivationRecord, Demand, InvocationRecord
from harvester.store.store import AlreadyThere

State = InvocationState


def write(store, *writes):
    store.write(writes).result(timeout=20)


def test_a_new_invocation_waits_with_its_arguments(store, make):
    write(store, make.new("i1", arguments=b"\x00\xff", owner="ann", accepted_at=7.5))
    assert store.invocation("i1") == InvocationRecord(
        invocation_id="i1",
        function_id="fib@1",
        owner="ann",
        state=State.ACCEPTED,
        encoding=make.new("x").encoding,
        accepted_at=7.5,
    )
    assert store.arguments("i1") == b"\x00\xff"
    assert store.result("i1") is None
    assert store.checkpoint("i1") is None
    assert store.activations("i1") == []


def test_nobody_has_the_rows_of_an_unknown_invocation(store):
    assert store.invocation("nope") is None
    assert store.arguments("nope") is None
    assert store.result("nope") is None


def test_an_evicted_invocation_resumes_and_both_activations_are_told(store, make):
    write(store, make.new("i1"), make.granted("i1", 1), make.started("i1", 1), make.kept("i1", 1, b"half"))
    write(store, make.requeued("i1", 1, deaths=1, retries_used=2))
    between = store.invocation("i1")
    assert (between.state, between.pilot_id, between.deaths, between.retries_used) == (State.ACCEPTED, None, 1, 2)
    assert store.checkpoint("i1") == b"half"
    write(store, make.granted("i1", 5, attempt=2, pilot_id="p2", resumed=True, at=8.0))
    write(store, make.started("i1", 5, at=9.0), make.concluded("i1", 5, value=b"42", at=10.0))
    assert store.activations("i1") == [
        ActivationRecord(
            invocation_id="i1",
            fence=1,
            attempt=1,
            pilot_id="p1",
            granted_at=2.0,
            resumed=False,
            started_at=3.0,
            ended_at=5.0,
            end=ActivationEnd.EVICTED,
            checkpoints=1,
            checkpoint_at=4.0,
        ),
        ActivationRecord(
            invocation_id="i1",
            fence=5,
            attempt=2,
            pilot_id="p2",
            granted_at=8.0,
            resumed=True,
            started_at=9.0,
            ended_at=10.0,
            end=ActivationEnd.SUCCEEDED,
        ),
    ]
    over = store.invocation("i1")
    assert (over.state, over.attempts, over.started_at, over.ended_at) == (State.SUCCEEDED, 2, 3.0, 10.0)
    assert store.result("i1") == b"42"


def test_the_end_drops_the_checkpoint_and_remembers_when_it_was_kept(store, make):
    write(store, make.new("i1"), make.granted("i1"), make.kept("i1", 1, b"state", at=4.5), make.concluded("i1"))
    assert store.checkpoint("i1") is None
    assert store.invocation("i1").checkpoint_at == 4.5
    assert store.activations("i1")[0].checkpoints == 1
    assert store.result("i1") == b""


def test_a_checkpoint_that_was_sent_twice_counts_once_and_an_older_one_replaces_nothing(store, make):
    write(store, make.new("i1"), make.granted("i1"))
    write(store, make.kept("i1", 1, b"one"), make.kept("i1", 2, b"two"))
    write(store, make.kept("i1", 1, b"one"), make.kept("i1", 2, b"again"), make.kept("i1", 2, b"again"))
    assert store.checkpoint("i1") == b"two"
    assert store.activations("i1")[0].checkpoints == 2


def test_the_first_checkpoint_of_a_new_activation_replaces_the_last_of_the_old(store, make):
    write(store, make.new("i1"), make.granted("i1", 1), make.kept("i1", 9, b"old"), make.requeued("i1", 1))
    write(store, make.granted("i1", 2), make.kept("i1", 1, b"new", fence=2))
    assert store.checkpoint("i1") == b"new"


@pytest.mark.parametrize("stale", [1, 3])
def test_a_write_under_another_fencing_token_changes_nothing(store, make, stale):
    write(store, make.new("i1"), make.granted("i1", 1), make.requeued("i1", 1), make.granted("i1", 2))
    before = store.invocation("i1"), store.activations("i1")
    write(store, make.started("i1", stale))
    write(store, make.kept("i1", 1, b"stale", fence=stale))
    write(store, make.requeued("i1", stale))
    write(store, make.concluded("i1", stale, value=b"stale"))
    assert (store.invocation("i1"), store.activations("i1")) == before
    assert store.checkpoint("i1") is None


def test_what_comes_after_the_end_changes_nothing(store, make):
    write(store, make.new("i1"), make.granted("i1"), make.concluded("i1", value=b"first"))
    before = store.invocation("i1"), store.activations("i1")
    write(store, make.concluded("i1", value=b"second"), make.concluded("i1", 0, state=State.CANCELLED))
    write(store, make.requeued("i1"), make.kept("i1", 3, b"late"), make.granted("i1", 2), make.started("i1"))
    assert (store.invocation("i1"), store.activations("i1")) == before
    assert store.result("i1") == b"first"
    assert store.checkpoint("i1") is None


def test_two_ends_in_one_group_leave_the_first(store, make):
    write(store, make.new("i1"), make.granted("i1"))
    write(store, make.concluded("i1", value=b"first"), make.concluded("i1", 0, state=State.CANCELLED))
    assert (store.invocation("i1").state, store.result("i1")) == (State.SUCCEEDED, b"first")


def test_without_a_token_only_what_waits_ends_unless_its_user_cancels_it(store, make):
    failure = Failure(
        kind=FailureKind.FUNCTION, message="a NUL \x00 and an ✗", traceback="…", exception=b"\x80\x00\xff"
    )
    write(store, make.new("waits"), make.concluded("waits", 0, state=State.FAILED, failure=failure))
    assert store.invocation("waits").failure == failure
    write(store, make.new("runs"), make.granted("runs", 4), make.started("runs", 4))
    write(store, make.concluded("runs", 0, state=State.EXPIRED))
    assert store.invocation("runs").state is State.RUNNING
    write(store, make.concluded("runs", 0, state=State.CANCELLED, at=6.0))
    assert store.invocation("runs").state is State.CANCELLED
    assert (store.activations("runs")[0].end, store.activations("runs")[0].ended_at) == (ActivationEnd.CANCELLED, 6.0)


def test_an_activation_whose_slot_died_too_often_is_told_so(store, make):
    poison = Failure(kind=FailureKind.POISON, message="died 3 times")
    write(store, make.new("i1"), make.granted("i1"), make.concluded("i1", state=State.FAILED, failure=poison))
    assert store.activations("i1")[0].end is ActivationEnd.SLOT_DIED


def test_the_options_of_an_invocation_and_a_functions_limit_are_kept(store, make):
    write(store, make.new("i1", priority=-7, start_by=20.0, end_by=30.5))
    found = store.invocation("i1")
    assert (found.priority, found.start_by, found.end_by, found.purged_at) == (-7, 20.0, 30.5, None)
    assert store.add_function(make.function(max_running=3), at=1.0).function_id == "fib@1"
    assert store.function("fib").max_running == 3
    assert store.add_function(make.function(max_running=None), at=1.0).function_id == "fib@2"


def test_payloads_in_blobs_are_referred_to(store, make):
    arguments, result = BlobRef(name="i1/i1-args", size=2**33), BlobRef(name="i1/i1-r1", size=5)
    write(store, make.new("i1", arguments=arguments), make.granted("i1"))
    assert store.arguments("i1") == arguments
    assert store.result("i1") is None
    write(store, make.concluded("i1", value=result))
    assert store.result("i1") == result


def test_an_end_that_overtook_its_start_tells_when_it_began(store, make):
    write(store, make.new("i1"), make.granted("i1"))
    write(store, make.concluded("i1", started_at=3.5, at=6.0))
    assert store.invocation("i1").started_at == 3.5
    assert store.activations("i1")[0].started_at == 3.5


def test_the_first_start_stays_when_a_later_activation_tells_of_its_own(store, make):
    write(store, make.new("i1"), make.granted("i1"), make.started("i1", at=3.0), make.requeued("i1"))
    write(store, make.granted("i1", 2))
    write(store, make.concluded("i1", 2, started_at=8.0, at=9.0))
    assert store.invocation("i1").started_at == 3.0
    assert [activation.started_at for activation in store.activations("i1")] == [3.0, 8.0]


def test_a_deadline_ends_what_runs_under_its_token_and_what_waits_without_one(store, make):
    failure = Failure(kind=FailureKind.EXPIRED, message="over")
    write(store, make.new("runs"), make.granted("runs"), make.started("runs"), make.new("waits"))
    write(store, make.concluded("runs", state=State.EXPIRED, failure=failure))
    write(store, make.concluded("waits", 0, state=State.EXPIRED, failure=failure))
    assert [store.invocation(name).state for name in ("runs", "waits")] == [State.EXPIRED] * 2
    assert store.invocation("runs").failure == failure
    assert store.activations("runs")[0].end is ActivationEnd.CANCELLED
    assert store.invocation("waits").started_at is None


def test_an_idempotency_key_is_its_owners_and_taken_once(store, make):
    write(store, make.new("i1", owner="ann", idempotency_key="k"), make.new("i2", owner="bob", idempotency_key="k"))
    write(store, make.new("i3"), make.new("i4"))
    assert store.by_idempotency_key("ann", "k").invocation_id == "i1"
    assert store.by_idempotency_key("bob", "k").invocation_id == "i2"
    assert store.by_idempotency_key("eve", "k") is None
    with pytest.raises(AlreadyThere):
        write(store, make.new("i5", owner="ann", idempotency_key="k"))
    assert store.invocation("i5") is None


def test_lists_are_newest_first_filtered_and_paged(store, make):
    for number in range(6):
        owner, function = ("ann", "fib@1") if number % 2 else ("bob", f"sum@{number}")
        write(store, make.new(f"i{number}", owner=owner, function_id=function))
    write(store, make.concluded("i1", 0, state=State.FAILED), make.granted("i3"))

    def ids(**filters):
        return [record.invocation_id for record in store.invocations(**filters)]

    assert ids() == ["i5", "i4", "i3", "i2", "i1", "i0"]
    assert ids(limit=2) == ["i5", "i4"]
    assert ids(before="i4", limit=2) == ["i3", "i2"]
    assert ids(owner="ann") == ["i5", "i3", "i1"]
    assert ids(function="sum") == ["i4", "i2", "i0"]
    assert ids(function="sum@2") == ["i2"]
    assert ids(state=State.FAILED) == ["i1"]
    assert ids(state=State.ACCEPTED, owner="ann") == ["i5"]
    assert ids(state=State.SUCCEEDED) == []


def test_what_is_open_comes_oldest_first_over_many_pages_and_functions(store, make):
    order = sorted(range(6203), key=lambda n: n * 2_654_435_761 % 2**32)  # in no order
    write(store, *(make.new(f"i{n:05}", accepted_at=float(n // 2), function_id=f"f{n % 3}@1") for n in order))
    write(store, make.concluded("i00007", 0, state=State.CANCELLED), make.granted("i00500"))
    write(store, make.granted("i06000"), make.started("i06000"))
    found = [record.invocation_id for record in store.open_invocations()]
    waiting = [f"i{n:05}" for n in range(6203) if n not in (7, 500, 6000)]
    assert sorted(found) == sorted([*waiting, "i00500", "i06000"])
    assert [name for name in found if name not in ("i00500", "i06000")] == waiting
    assert list(store.open_invocations())[found.index("i06000")] == store.invocation("i06000")


def test_demand_without_open_invocations_is_nobodys(store, make):
    store.add_function(make.function("fib"), at=1.0)
    write(store, make.new("i1"), make.granted("i1"))
    write(store, make.concluded("i1"))
    assert store.demand() == []


def test_demand_counts_what_waits_and_what_is_held_by_function(store, make):
    store.add_function(make.function("fib", resources=Resources(cpus=2, gpus=1), python="3.11"), at=1.0)
    store.add_function(make.function("sum", walltime_s=9.0, checkpoints=True), at=1.0)
    store.add_function(make.function("idle"), at=1.0)
    assert store.demand() == []
    write(store, *(make.new(f"f{n}", accepted_at=10.0 - n) for n in range(4)))
    write(store, make.new("s1", function_id="sum@1"), make.granted("s1"), make.started("s1"))
    write(store, make.granted("f3"), make.concluded("f0", 0, state=State.CANCELLED))
    fib = Demand(
        function_id="fib@1",
        resources=Resources(cpus=2, gpus=1),
        python="3.11",
        walltime_s=None,
        checkpoints=False,
        waiting=2,
        held=1,
        oldest_at=8.0,
    )
    total = Demand(
        function_id="sum@1",
        resources=Resources(),
        python="",
        walltime_s=9.0,
        checkpoints=True,
        waiting=0,
        held=1,
        oldest_at=None,
    )
    assert store.demand() == [fib, total]


def test_invocations_of_a_function_are_found_by_its_name_its_owner_and_its_version(store, make):
    store.add_function(make.function("fib", owner="ann"), at=1.0)
    ids = ["ann/fib@1", "Ann/fib@1", "ann/fib@2", "bob/fib@1", "fib@1", "ann/fib-b@1", "ann/xfib@1"]
    write(store, *(make.new(f"i{number}", function_id=function) for number, function in enumerate(ids)))

    def found(function):
        return [record.function_id for record in reversed(store.invocations(function=function))]

    assert found("fib") == ids[:5]
    assert found("ann/fib") == ["ann/fib@1", "ann/fib@2"]  # deleted or not
    assert found("fib@1") == ["ann/fib@1", "Ann/fib@1", "bob/fib@1", "fib@1"]
    assert found("ann/fib@1") == ["ann/fib@1"]
    assert found("eve@home/fib") == found("bob/fib@7") == found("") == []
