import asyncio
import threading

import pytest

from harvester.sdk.done_callbacks import Callbacks, hand_over, use


@pytest.fixture
def ordered():
    """A client's background thread in small: `ordered(order)` hands over from it."""
    up = threading.Event()
    made = []

    async def main():
        callbacks, stop = Callbacks(), asyncio.Event()
        use(callbacks)
        made.extend((asyncio.get_running_loop(), callbacks, stop))
        up.set()
        await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert up.wait(5)
    loop, callbacks, stop = made
    ordered = lambda order: loop.call_soon_threadsafe(hand_over, order)  # noqa: E731 - it carries an attribute
    ordered.callbacks = callbacks
    yield ordered
    loop.call_soon_threadsafe(stop.set)
    thread.join(5)
    callbacks.close(5)


def test_they_run_in_order_in_one_thread_that_is_not_the_loops(ordered):
    said, done = [], threading.Event()
    for number in range(50):
        ordered(lambda number=number: said.append((number, threading.current_thread().name)))
    ordered(done.set)
    assert done.wait(5)
    assert said == [(number, "harvester-callbacks") for number in range(50)]


def test_one_that_waits_for_others_gets_out_of_their_way(ordered):
    done = [threading.Event() for _ in range(5)]

    def wait(number):
        if number + 1 < len(done):
            assert done[number + 1].wait(10)
        done[number].set()

    for number in range(len(done)):
        ordered(lambda number=number: wait(number))
    assert done[0].wait(10)


def test_one_that_exits_ends_nothing(ordered, caplog):
    def leave():
        raise SystemExit(3)

    done = threading.Event()
    ordered(leave)
    ordered(done.set)
    assert done.wait(5)
    assert "broke off" in caplog.text


def test_close_waits_for_what_is_ordered_but_not_for_ever(ordered):
    said, never = [], threading.Event()
    ordered(lambda: said.append(threading.Event().wait(0.1)))
    once = threading.Event()
    ordered(once.set)
    assert once.wait(5)
    ordered(lambda: said.append(never.wait(20)))
    ordered.callbacks.close(0.2)
    assert said == [False]
    never.set()


def test_one_may_close_what_it_runs_in(ordered):
    done = threading.Event()

    def close():
        ordered.callbacks.close(20)
        done.set()

    ordered(close)
    assert done.wait(5)


def test_any_other_thread_runs_them_itself():
    said = []
    hand_over(lambda: said.append(threading.current_thread()))
    assert said == [threading.current_thread()]
