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
