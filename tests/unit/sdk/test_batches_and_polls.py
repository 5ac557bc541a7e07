import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.sdk import outbox, watch
from harvester.sdk.futures import InvocationFuture
from harvester.sdk.outbox import Outgoing, Target, batches
from harvester.sdk.watch import MAX_IDS, MAX_POLLS, TURN_S, Watch


def outgoing(name="f", size=1):
    return Outgoing(target=Target(name=name), arguments=b"x" * size, future=InvocationFuture(lambda _: True))


@given(st.lists(st.sampled_from("abc"), max_size=60))
def test_batches_hold_everything_once_in_order_one_function_each(names):
    waiting = [outgoing(name) for name in names]
    cut = batches(waiting)
    for name in "abc":
        sent = [item for batch in cut if batch.target.name == name for item in batch.items]
        assert sent == [item for item in waiting if item.target.name == name]
    assert all(len({item.target for item in batch.items}) == 1 for batch in cut)


def test_a_batch_keeps_the_limits_but_an_oversized_item_travels_alone(monkeypatch):
    monkeypatch.setattr(outbox, "MAX_ITEMS", 3)
    monkeypatch.setattr(outbox, "MAX_BYTES", 10)
    sizes = [4, 4, 4, 1, 1, 1, 99, 1]
    cut = batches([outgoing(size=size) for size in sizes])
    assert [[len(item.arguments) for item in batch.items] for batch in cut] == [[4, 4], [4, 1, 1], [1], [99], [1]]


def test_what_was_cancelled_before_it_was_sent_is_not_sent():
    gone, stays = outgoing(), outgoing()
    assert gone.future.cancel()
    (batch,) = batches([gone, stays])
    assert batch.items == (stays,)


def test_new_ids_get_a_poll_of_their_own_at_once():
    polls = Watch()
    polls.add(["a", "b"])
    assert [poll.ids for poll in polls.start(0.0)] == [("a", "b")]
    polls.add(["c"])
    assert [poll.ids for poll in polls.start(0.1)] == [("c",)]
    assert polls.next_turn_at() is None


def test_when_all_polls_are_open_the_longest_gives_way_after_its_turn():
    polls = Watch()
    for number in range(MAX_POLLS):
        polls.add([f"old-{number}"])
        polls.start(float(number))
    polls.add(["new"])
    assert polls.start(10.0) == []
    assert polls.turn_over(TURN_S - 0.01) is None
    over = polls.turn_over(10.0)
    assert over is not None
    assert over.ids == ("old-0",)
    polls.close(over.number, over.ids)
    assert [poll.ids for poll in polls.start(10.0)] == [("new", "old-0")]


def test_a_poll_that_ends_hands_back_what_is_still_open():
    polls = Watch()
    polls.add(["a", "b"])
    (poll,) = polls.start(0.0)
    polls.close(poll.number, ["b"])
    polls.close(poll.number, ["a", "b"])  # told twice: changes nothing
    assert [each.ids for each in polls.start(1.0)] == [("b",)]


@given(st.lists(st.integers(1, 2 * MAX_IDS), min_size=1, max_size=8))
def test_every_id_is_watched_in_its_turn(sizes):
    polls, now, ids = Watch(), 0.0, set()
    for number, size in enumerate(sizes):
        added = [f"{number}-{index}" for index in range(size)]
        ids.update(added)
        polls.add(added)
    seen = set()
    for _ in range(100):
        for poll in polls.start(now):
            assert len(poll.ids) <= MAX_IDS
            seen.update(poll.ids)
        if (at := polls.next_turn_at()) is None:
            break
        now = at
        over = polls.turn_over(now)
        polls.close(over.number, over.ids)
        if seen == ids:
            break
    assert seen == ids


@pytest.mark.parametrize("limit", [watch.MAX_IDS])
def test_a_poll_stays_within_what_the_gateway_takes(limit):
    assert limit <= 1000
