"""Any sequence of writes, in any groups, leaves what a plain model of the rules leaves."""

from dataclasses import dataclass, field
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester.domain.model.invocations import ActivationEnd, InvocationState
from harvester.domain.payload.blobs import BlobRef
from harvester.store.writes.changes import CheckpointKept, Concluded, Granted, NewInvocation, Requeued, Started

State, End = InvocationState, ActivationEnd
HELD = (State.LEASED, State.RUNNING)
OPEN = (State.ACCEPTED, *HELD)


@dataclass
class Attempt:
    started_at: float | None = None
    ended_at: float | None = None
    end: ActivationEnd | None = None
    checkpoints: int = 0


@dataclass
class Model:
    """One invocation, one write after the other."""

    state: InvocationState = State.ACCEPTED
    fence: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    pilot_id: str | None = None
    retries_used: int = 0
    checkpoint_at: float | None = None
    result: bytes | BlobRef | None = None
    checkpoint: tuple[int, int, bytes] | None = None
    attempts: dict[int, Attempt] = field(default_factory=dict)

    def apply(self, write):
        match write:
            case Granted(fence=fence) if self.state is State.ACCEPTED and fence > self.fence:
                self.state, self.fence, self.pilot_id = State.LEASED, fence, write.pilot_id
                self.attempts[fence] = Attempt()
            case Started(fence=self.fence) if self.state is State.LEASED:
                self.state = State.RUNNING
                self.started_at = write.at if self.started_at is None else self.started_at
                self.attempts[self.fence].started_at = write.at
            case CheckpointKept(fence=self.fence) if self.state in HELD:
                if self.checkpoint is None or self.checkpoint[:2] < (write.fence, write.seq):
                    self.checkpoint, self.checkpoint_at = (write.fence, write.seq, write.state), write.at
                    self.attempts[self.fence].checkpoints += 1
            case Requeued(fence=self.fence) if self.state in HELD:
                self.state, self.pilot_id, self.retries_used = State.ACCEPTED, None, write.retries_used
                self.end(write.end, write.at)
            case Concluded() if self.state in OPEN and self.may_conclude(write):
                if write.state is State.SUCCEEDED:
                    self.result = write.value
                if self.state is State.LEASED and write.started_at is not None:
                    self.attempts[self.fence].started_at = write.started_at
                    self.started_at = write.started_at if self.started_at is None else self.started_at
                self.end(
                    {State.SUCCEEDED: End.SUCCEEDED, State.FAILED: End.FAILED}.get(write.state, End.CANCELLED), write.at
                )
                self.state, self.pilot_id, self.ended_at, self.checkpoint = write.state, None, write.at, None

    def may_conclude(self, write):
        if write.fence == self.fence:
            return True
        return write.fence == 0 and (self.state is State.ACCEPTED or write.state is State.CANCELLED)

    def end(self, how, at):
        attempt = self.attempts.get(self.fence)
        if attempt is not None and attempt.end is None:
            attempt.end, attempt.ended_at = how, at


names = st.integers(0, 2)
fences = st.integers(0, 4)
at = st.integers(2, 99).map(float)
changes = st.one_of(
    st.builds(
        lambda **f: (Granted, f),
        fence=st.integers(1, 4),
        attempt=st.just(1),
        pilot_id=st.sampled_from("pq"),
        resumed=st.booleans(),
        at=at,
    ),
    st.builds(lambda **f: (Started, f), fence=fences, at=at),
    st.builds(lambda **f: (CheckpointKept, f), fence=fences, seq=st.integers(1, 3), state=st.binary(max_size=3), at=at),
    st.builds(
        lambda **f: (Requeued, f),
        fence=fences,
        end=st.sampled_from([End.EVICTED, End.FAILED]),
        retries_used=st.integers(0, 3),
        deaths=st.just(0),
        at=at,
    ),
    st.builds(
        lambda **f: (Concluded, f),
        fence=fences,
        state=st.sampled_from(sorted(set(State) - set(OPEN))),
        value=st.binary(max_size=3) | st.builds(BlobRef, name=st.just("3f/0198c0de-r1"), size=st.integers(0, 2**40)),
        started_at=st.none() | at,
        at=at,
    ),
)
groups = st.lists(st.lists(st.tuples(names, changes), max_size=15), max_size=6)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(groups=groups, are_born_apart=st.booleans())
def test_groups_of_writes_leave_what_a_simple_model_leaves(store, make, groups, are_born_apart):
    function = f"{uuid4().hex}@1"  # the store is the same for all examples
    store.add_function(make.function(function.removesuffix("@1")), at=1.0)
    ids = [uuid4().hex for _ in range(3)]
    models = {name: Model() for name in ids}
    writes = [[kind(invocation_id=ids[number], **fields) for number, (kind, fields) in group] for group in groups]
    born = [make.new(name, function_id=function) for name in ids]
    writes = [born, *writes] if are_born_apart or not writes else [born + writes[0], *writes[1:]]
    futures = []
    for group in writes:
        futures.append(store.write(group))
        for write in group:
            if not isinstance(write, NewInvocation):
                models[write.invocation_id].apply(write)
    for future in futures:
        future.result(timeout=20)
    for name, model in models.items():
        check(store, name, model)
    states = [model.state for model in models.values()]
    counted = {demand.function_id: (demand.waiting, demand.held) for demand in store.demand()}.get(function, (0, 0))
    assert counted == (states.count(State.ACCEPTED), states.count(State.LEASED) + states.count(State.RUNNING))


def check(store, name, model):
    record = store.invocation(name)
    for attribute in ("state", "fence", "started_at", "ended_at", "pilot_id", "retries_used", "checkpoint_at"):
        assert getattr(record, attribute) == getattr(model, attribute), attribute
    assert store.result(name) == model.result
    assert store.checkpoint(name) == (model.checkpoint and model.checkpoint[2])
    found = {
        row.fence: Attempt(row.started_at, row.ended_at, row.end, row.checkpoints) for row in store.activations(name)
    }
    assert found == model.attempts
