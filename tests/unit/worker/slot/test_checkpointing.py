import pickle

import pytest

from harvester_worker.slot.checkpointing import COST_SHARE, CheckpointTooLarge, Evicted, SlotContext


class Bench:
    """A context with a clock that only the test moves; pickling costs what the state says."""

    def __init__(self, restored=None):
        self.now = 100.0
        self.sent = []
        self.context = SlotContext(
            invocation_id="i",
            attempt=2,
            restored=restored,
            send=lambda saved: self.sent.append(pickle.loads(saved.state)),  # noqa: S301
            interval_s=5.0,
            limit_bytes=1000,
            leave_in_s=60.0,
            clock=lambda: self.now,
        )

    def checkpoint(self, state, *, at=None):
        self.now = self.now if at is None else at
        self.context.checkpoint(state)


class Expensive:
    """Takes a second of the bench's clock to pickle."""

    def __init__(self, bench):
        self.bench = bench

    def __reduce__(self):
        self.bench.now += 1.0
        return str, ("expensive",)


def test_the_first_checkpoint_travels_at_once_and_then_one_an_interval():
    bench = Bench()
    bench.checkpoint(1, at=100)
    bench.checkpoint(2, at=102)
    bench.checkpoint(3, at=104)
    bench.checkpoint(4, at=106)
    assert bench.sent == [1, 4]


def test_a_state_that_was_kept_back_travels_when_its_time_has_come():
    bench = Bench()
    bench.checkpoint(1, at=100)
    bench.checkpoint(2, at=101)
    bench.context.flush()
    assert bench.sent == [1]
    bench.now = 105
    bench.context.flush()
    bench.context.flush()
    assert bench.sent == [1, 2]


def test_pickling_costs_a_twentieth_of_the_time_at_most():
    bench = Bench()
    bench.checkpoint(Expensive(bench), at=100)
    bench.checkpoint(2, at=101 + COST_SHARE - 0.1)
    assert bench.sent == ["expensive"]
    bench.checkpoint(3, at=101 + COST_SHARE)
    assert bench.sent == ["expensive", 3]


def test_a_leaving_pilot_gets_the_kept_state_at_once_and_the_fresh_one_at_the_next_checkpoint():
    bench = Bench()
    bench.checkpoint(1, at=100)
    bench.checkpoint(2, at=101)
    bench.context.hand_over(5.0)
    assert bench.sent == [1, 2]
    assert bench.context.is_leaving
    assert bench.context.time_left.total_seconds() == 5.0
    with pytest.raises(Evicted):
        bench.checkpoint(3)
    assert bench.sent == [1, 2, 3]
    assert bench.context.was_handed_over


def test_a_leaving_pilot_gets_the_fresh_state_however_expensive_it_was():
    bench = Bench()
    bench.checkpoint(Expensive(bench))
    bench.context.hand_over(5.0)
    with pytest.raises(Evicted):
        bench.checkpoint("fresh")
    assert bench.sent == ["expensive", "fresh"]


def test_no_handler_of_exceptions_catches_an_eviction():
    assert not issubclass(Evicted, Exception)


def test_a_checkpoint_over_the_limit_is_refused_with_both_sizes():
    with pytest.raises(CheckpointTooLarge, match=r"checkpoint of 2\d\d\d bytes .* limit of 1000"):
        Bench().checkpoint("x" * 2000)


def test_restore_returns_the_checkpoint_or_the_default():
    assert Bench().context.restore({"step": 0}) == {"step": 0}
    assert Bench(pickle.dumps({"step": 7})).context.restore({"step": 0}) == {"step": 7}
