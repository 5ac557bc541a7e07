"""The order of a group of writes."""

from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.functions import Encoding
from harvester.domain.invocations import ActivationEnd, InvocationState
from harvester.domain.pilots import PilotEvent
from harvester.store.batches import batches
from harvester.store.writes import (
    CheckpointKept,
    Concluded,
    Granted,
    NewInvocation,
    PilotMoved,
    PilotSeen,
    Requeued,
    Started,
    Write,
)


def subject(write: Write) -> str:
    return write.pilot_id if isinstance(write, PilotMoved | PilotSeen) else write.invocation_id


ids = st.sampled_from(["a", "b", "c"])
at = st.floats(0, 9)
writes = st.lists(
    st.one_of(
        st.builds(NewInvocation, invocation_id=ids, encoding=st.just(Encoding.JSON), accepted_at=at),
        st.builds(Granted, invocation_id=ids, at=at),
        st.builds(Started, invocation_id=ids, at=at),
        st.builds(CheckpointKept, invocation_id=ids, at=at),
        st.builds(Requeued, invocation_id=ids, end=st.just(ActivationEnd.EVICTED), at=at),
        st.builds(Concluded, invocation_id=ids, state=st.just(InvocationState.FAILED), failure=st.none(), at=at),
        st.builds(PilotMoved, pilot_id=ids, event=st.just(PilotEvent.DRAIN), at=at),
        st.builds(PilotSeen, pilot_id=ids, at=at, ends_at=at, idle_since=st.none()),
    ),
    max_size=40,
)


@given(writes)
def test_batches_hold_every_write_once_and_keep_the_order_of_each_subject(given_writes):
    flat = [write for batch in batches(given_writes) for write in batch]
    assert sorted(map(id, flat)) == sorted(map(id, given_writes))
    for name in "abc":
        for kinds in ((PilotMoved, PilotSeen), (NewInvocation, Granted, Started, CheckpointKept, Requeued, Concluded)):
            before = [id(w) for w in given_writes if isinstance(w, kinds) and subject(w) == name]
            assert [id(w) for w in flat if isinstance(w, kinds) and subject(w) == name] == before


@given(writes)
def test_a_batch_is_of_one_kind_and_only_checkpoints_and_pilots_may_be_in_it_twice(given_writes):
    for batch in batches(given_writes):
        assert len({type(write) for write in batch}) == 1
        if not isinstance(batch[0], CheckpointKept | PilotMoved | PilotSeen):
            assert len({subject(write) for write in batch}) == len(batch)


def test_whole_lives_of_many_invocations_need_one_batch_a_kind():
    group: list[Write] = []
    for number in range(50):
        name = str(number)
        group += [
            Granted(invocation_id=name, fence=1, attempt=1, pilot_id="p", resumed=False, at=1.0),
            Started(invocation_id=name, fence=1, at=2.0),
            Concluded(invocation_id=name, fence=1, state=InvocationState.SUCCEEDED, at=3.0),
        ]
    assert [len(batch) for batch in batches(group)] == [50, 50, 50]
