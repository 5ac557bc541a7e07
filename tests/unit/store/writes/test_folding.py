"""The net effect of a group of writes: the same rows as of the writes one by one, each row once."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import ActivationEnd, InvocationState
from harvester.domain.payload.blobs import BlobRef
from harvester.store.writes.changes import CheckpointKept, Concluded, Granted, NewInvocation, Requeued, Started
from harvester.store.writes.folding import Life, fold, known_before
from harvester.store.writes.writer_memory import WriterMemory

State = InvocationState
LEFT_BY_THE_READ = ("fence", "pilot_id", "attempts", "retries_used", "deaths")
OF_THE_END = ("ended_at", "failure", "value")


class Tables:
    """Tables of dictionaries, which land a group the way the statements do.

    `remembered`: of how many open invocations the rows are not read again.
    """

    def __init__(self, remembered=0):
        self._memory = WriterMemory(remembered)
        self.invocations, self.activations, self.checkpoints, self.demand = {}, {}, {}, {}

    def write(self, group):
        folded = fold(group, self.known(*known_before(group)))
        self.land(folded)
        for life in [*(life for _, life in folded.inserted), *folded.updated]:
            self._memory.keep(life)
        return folded

    def known(self, older, asked):
        lives = self._memory.recall(older)
        lives |= {name: self.read(name) for name in older if name in self.invocations and name not in lives}
        for name in asked:
            if name in self.checkpoints and lives[name].has_checkpoint and not lives[name].checkpoint[0]:
                lives[name].checkpoint = self.checkpoints[name][:2]
        return lives

    def land(self, folded):
        for new, life in folded.inserted:
            assert new.invocation_id not in self.invocations
            row = {"state": life.state, "started_at": life.started_at, "checkpoint_at": life.checkpoint_at}
            self.invocations[new.invocation_id] = row | self.columns(life) | {"function_id": new.function_id}
        for life in folded.updated:
            row = self.invocations[life.invocation_id]
            row |= {"state": life.state} | self.columns(life)
            row["started_at"] = life.started_at if row["started_at"] is None else row["started_at"]
            row["checkpoint_at"] = row["checkpoint_at"] if life.checkpoint_at is None else life.checkpoint_at
        for granted, attempt in folded.begun:
            key = (attempt.invocation_id, attempt.fence)
            assert key not in self.activations
            self.activations[key] = [
                granted.pilot_id,
                attempt.started_at,
                attempt.ended_at,
                attempt.end,
                attempt.checkpoints,
                attempt.checkpoint_at,
            ]
        for attempt in folded.continued:
            row = self.activations[attempt.invocation_id, attempt.fence]
            row[1] = attempt.started_at if row[1] is None else row[1]
            row[2:4] = attempt.ended_at, attempt.end
            row[4] += attempt.checkpoints
            row[5] = row[5] if attempt.checkpoint_at is None else attempt.checkpoint_at
        for kept in folded.kept:
            self.checkpoints[kept.invocation_id] = (kept.fence, kept.seq, kept.state)
        for name in folded.dropped:
            self.checkpoints.pop(name, None)
        for name, counts in folded.demand.items():
            before = self.demand.get(name, (0, 0))
            self.demand[name] = (before[0] + counts[0], before[1] + counts[1])

    @property
    def rows(self):
        demand = {name: counts for name, counts in self.demand.items() if any(counts)}
        return self.invocations, self.activations, self.checkpoints, demand

    def read(self, name):
        row = self.invocations[name]
        life = Life(name, row["function_id"], row["state"], *(row[field] for field in LEFT_BY_THE_READ))
        life.has_checkpoint = int(row["checkpoint_at"] is not None)
        return life

    def columns(self, life):
        return {field: getattr(life, field) for field in (*LEFT_BY_THE_READ, *OF_THE_END)}


ids = st.sampled_from(["a", "b"])
at = st.integers(1, 9).map(float)
fences = st.integers(0, 3)
changes = st.one_of(
    st.builds(
        Granted,
        invocation_id=ids,
        fence=st.integers(1, 3),
        attempt=st.integers(1, 3),
        pilot_id=st.just("p"),
        resumed=st.booleans(),
        at=at,
    ),
    st.builds(Started, invocation_id=ids, fence=fences, at=at),
    st.builds(
        CheckpointKept, invocation_id=ids, fence=fences, seq=st.integers(1, 3), state=st.binary(max_size=1), at=at
    ),
    st.builds(
        Requeued,
        invocation_id=ids,
        fence=fences,
        end=st.just(ActivationEnd.EVICTED),
        retries_used=st.integers(0, 2),
        deaths=st.integers(0, 2),
        at=at,
    ),
    st.builds(
        Concluded,
        invocation_id=ids,
        fence=fences,
        state=st.sampled_from([State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED]),
        value=st.sampled_from([b"v", BlobRef(name="aa/aaaaaaaa-r1", size=9)]),
        failure=st.none(),
        started_at=st.none() | at,
        at=at,
    ),
)


def new(name):
    return NewInvocation(
        invocation_id=name, function_id="f@1", owner="ann", encoding=Encoding.JSON, arguments=b"", accepted_at=0.0
    )


@given(st.lists(changes, max_size=25), st.lists(st.integers(0, 27), max_size=6), st.integers(0, 2))
def test_any_grouping_of_the_writes_leaves_the_rows_that_one_by_one_leaves(given_changes, cuts, remembered):
    writes = [new("a"), *given_changes[:3], new("b"), *given_changes[3:]]
    single, grouped = Tables(), Tables(remembered)
    for write in writes:
        single.write([write])
    edges = [0, *sorted(cuts), len(writes)]
    for start, end in pairwise(edges):
        grouped.write(writes[start:end])
    assert grouped.rows == single.rows
    open_states = [row["state"] for row in single.invocations.values()]
    waiting = open_states.count(State.ACCEPTED)
    held = open_states.count(State.LEASED) + open_states.count(State.RUNNING)
    assert single.demand.get("f@1", (0, 0)) == (waiting, held)


def whole_life(name):
    return [
        Granted(invocation_id=name, fence=1, attempt=1, pilot_id="p", resumed=False, at=1.0),
        Started(invocation_id=name, fence=1, at=2.0),
        CheckpointKept(invocation_id=name, fence=1, seq=1, state=b"s", at=3.0),
        Concluded(invocation_id=name, fence=1, state=State.SUCCEEDED, value=b"v", at=4.0),
    ]


def test_a_whole_life_in_one_group_is_one_row_and_one_activation():
    folded = Tables().write([new("a"), *whole_life("a")])
    assert (len(folded.inserted), len(folded.begun)) == (1, 1)
    assert [folded.updated, folded.continued, folded.kept, folded.dropped, folded.demand] == [[], [], [], [], {}]


def test_the_rest_of_a_life_is_one_change_and_one_activation():
    tables = Tables()
    tables.write([new("a")])
    folded = tables.write(whole_life("a"))
    assert (len(folded.updated), len(folded.begun), folded.demand) == (1, 1, {"f@1": [-1, 0]})
    assert [folded.inserted, folded.continued, folded.kept, folded.dropped] == [[], [], [], []]


def test_only_what_the_group_has_not_accepted_itself_is_read():
    assert known_before([new("a"), *whole_life("a"), *whole_life("b")[:2]]) == (["b"], [])
    assert known_before([*whole_life("b"), *whole_life("a")[:2], new("a")]) == (["b", "a"], ["b"])
