"""What the writer remembers of open invocations: the newest, as they were left, and nothing of what is over."""

from harvester.domain.model.invocations import InvocationState
from harvester.store.writes.changes import CheckpointKept
from harvester.store.writes.folding import Attempt, Life
from harvester.store.writes.writer_memory import WriterMemory


def life(name, state=InvocationState.ACCEPTED, **fields):
    return Life(name, "f@1", state, **fields)


def test_what_only_the_group_needed_is_not_remembered():
    memory = WriterMemory()
    kept = CheckpointKept(invocation_id="a", fence=2, seq=7, state=b"large", at=4.0)
    memory.keep(
        life(
            "a",
            InvocationState.RUNNING,
            fence=2,
            pilot_id="p",
            attempts=2,
            is_changed=True,
            was=InvocationState.LEASED,
            started_at=3.0,
            checkpoint_at=4.0,
            checkpoint=(2, 7),
            kept=kept,
            attempt=Attempt("a", 2),
        )
    )
    left = life("a", InvocationState.RUNNING, fence=2, pilot_id="p", attempts=2, has_checkpoint=1, checkpoint=(2, 7))
    assert memory.recall(["a", "b"]) == {"a": left}


def test_what_is_over_is_forgotten():
    memory = WriterMemory()
    memory.keep(life("a"))
    memory.keep(life("a", InvocationState.SUCCEEDED))
    memory.keep(life("b", InvocationState.CANCELLED))
    assert not memory


def test_beyond_the_limit_the_first_is_forgotten():
    memory = WriterMemory(limit=2)
    for name in "abc":
        memory.keep(life(name))
    assert list(memory.recall("abc")) == ["b", "c"]
    memory.clear()
    assert memory.recall("abc") == {}


def test_nothing_is_remembered_beyond_somebody_elses_commit_nor_where_that_is_unknown():
    memory = WriterMemory()
    for version, is_kept in ((7, False), (7, True), (8, False), (8, True), (None, False), (None, False)):
        memory.keep(life("a"))
        memory.trust(version)
        assert bool(memory) is is_kept


def test_after_a_failure_a_version_of_another_connection_is_not_taken_for_the_one_before():
    memory = WriterMemory()
    memory.trust(7)
    memory.distrust()
    memory.keep(life("a"))
    memory.trust(7)
    assert not memory
