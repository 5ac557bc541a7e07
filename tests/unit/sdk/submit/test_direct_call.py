"""A direct call: in whatever order things happen, the future ends or the submission goes the usual way, once."""

import gc
import os
import pickle
import weakref

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harvester.domain.model.functions import Encoding
from harvester.sdk.futures import InvocationFuture
from harvester.sdk.http.messages import Response
from harvester.sdk.http.sync_pool import Interrupted
from harvester.sdk.payload.payloads import JSON_TYPE, PICKLE_TYPE
from harvester.sdk.registration.target import Target
from harvester.sdk.submit.batching import Submission, batches
from harvester.sdk.submit.direct_call import MAX_BYTES, DirectCall, begin

ANSWER = Response(
    status=200,
    reason="OK",
    headers={"content-type": PICKLE_TYPE, "harvester-invocation": "i-1"},
    body=pickle.dumps(7),
)
REFUSAL = Response(status=429, reason="Too Many Requests", headers={"content-type": JSON_TYPE}, body=b"{}")


class Connection:
    """A connection on which `says` is all that will come: an answer, an error, or nothing."""

    def __init__(self, says=None):
        self.says = says
        self.may_stay = True
        self.is_closed = self.is_interrupted = False

    def answer(self, silence_s, end_at=None, most=None):
        if self.says is None or self.is_interrupted:
            raise (ConnectionError if self.is_interrupted else TimeoutError)("nothing came")
        if isinstance(self.says, BaseException):
            raise self.says
        return self.says

    def answer_now(self, most=None):
        return None if self.says is None and not self.is_interrupted else self.answer(0)

    def fileno(self):
        return 0

    def interrupt(self):
        self.is_interrupted = True

    def close(self):
        self.is_closed = True


class Pool:
    """Has one connection to give; `kept` are those that came back to stay."""

    def __init__(self, connection=None):
        self.connection, self.kept, self.requests = connection, [], []

    def begin(self, request):
        self.requests.append(request)
        return self.connection

    def end(self, connection, *, may_stay):
        if may_stay:
            self.kept.append(connection)
        else:
            connection.close()


class Loop:
    """An event loop that only watches."""

    def __init__(self):
        self.reading = None

    def add_reader(self, _descriptor, read, *arguments):
        self.reading = lambda: read(*arguments)

    def remove_reader(self, _descriptor):
        self.reading = None

    def call_later(self, _seconds, *_):
        return Handle()


class Handle:
    def cancel(self):
        pass


class Remote:
    def cancel(self, _invocation_id):
        return True


class Bench:
    """One call with what is around it."""

    def __init__(self, says=None):
        self.connection = Connection(says)
        self.pool = Pool(self.connection)
        self.loop = Loop()
        self.adopted, self.resumed = [], []
        self.future = InvocationFuture(Remote())
        submission = Submission(target=Target(name="f"), arguments=b"x", sink=self.future)
        self.call = begin(submission, self.pool, adopt=self.adopted.append, resume=self.resume)
        assert isinstance(self.call, DirectCall)

    def resume(self, call):
        left = call.release()
        if left is not None:
            self.resumed.append(left)


@pytest.fixture
def bench():
    return Bench


def test_the_thread_that_waits_reads_the_answer_and_ends_the_future(bench):
    made = bench(ANSWER)
    assert made.future.result() == 7
    assert made.future.invocation_id == "i-1"
    assert (made.resumed, made.pool.kept) == ([], [made.connection])


@pytest.mark.parametrize("says", [REFUSAL, ConnectionError("cut"), TimeoutError("silence")])
def test_what_is_no_result_goes_the_usual_way_under_its_key(bench, says):
    made = bench(says)
    made.call.wait(None)
    assert not made.future.done()
    (left,) = made.resumed
    assert left.key == made.pool.requests[0].headers["Idempotency-Key"]
    assert batches([left])[0].items == (left,)


def test_an_interrupted_wait_loses_nothing(bench):
    made = bench(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        made.future.result()
    assert len(made.resumed) == 1


def test_what_a_signal_handler_raises_reaches_who_waits(bench):
    made = bench(Interrupted(TimeoutError("too long")))
    with pytest.raises(TimeoutError, match="too long"):
        made.future.result()
    assert len(made.resumed) == 1


def _interrupt():
    raise KeyboardInterrupt


class Interrupting:
    def __reduce__(self):
        return _interrupt, ()


def test_an_interrupt_while_the_result_is_unpickled_leaves_the_connection_to_the_next_call(bench):
    made = bench(msgspec.structs.replace(ANSWER, body=pickle.dumps(Interrupting())))
    with pytest.raises(KeyboardInterrupt):
        made.future.result()
    assert len(made.resumed) == 1
    assert made.pool.kept == [made.connection]
    assert not made.connection.is_closed


class Raised(ValueError):
    pass


def test_a_call_that_has_ended_keeps_nothing_of_its_future(bench):
    made = bench(ANSWER)
    assert made.future.result() == 7
    future, made.future = weakref.ref(made.future), None
    assert future() is None, "the engine keeps the latest call"


def test_what_a_future_raises_is_in_no_cycle():
    future = InvocationFuture(Remote())
    future.fail(Raised())
    gc.disable()
    try:
        with pytest.raises(Raised):
            future.result()
        seen, future = weakref.ref(future), None
        assert seen() is None
    finally:
        gc.enable()


def test_a_wait_that_is_over_leaves_the_answer_to_the_event_loop(bench):
    made = bench()
    with pytest.raises(TimeoutError):
        made.future.result(0.001)
    assert made.adopted == [made.call]
    assert not made.resumed
    made.call.read(made.loop)
    made.connection.says = ANSWER
    made.loop.reading()
    assert made.future.result() == 7
    assert made.loop.reading is None


@pytest.mark.parametrize(
    "ask",
    [
        lambda future: future.done(),
        lambda future: future.add_done_callback(lambda _: None),
        lambda future: future._waiters.append(object()),
    ],
    ids=["done", "callback", "as_completed"],
)
def test_who_asks_without_waiting_has_the_event_loop_read(bench, ask):
    made = bench()
    ask(made.future)
    assert set(made.adopted) == {made.call}


def test_a_cancelled_call_is_sent_again_so_that_the_gateway_can_be_told(bench, monkeypatch):
    monkeypatch.setattr("harvester.sdk.futures.ID_S", 0.0)
    made = bench()
    assert made.future.cancel()
    (left,) = made.resumed
    assert batches([left]), "a cancelled submission that the gateway may have must reach it"
    assert left.sink.accept("i-1") is False, "its id is withdrawn as soon as it is known"


def test_a_forked_process_leaves_the_answer_to_its_parent(bench, monkeypatch):
    made = bench(ANSWER)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    made.call.wait(None)
    made.call.adopt()
    made.call.take_over()
    assert not made.future.done()
    assert not made.adopted + made.resumed
    assert not made.connection.is_interrupted


@pytest.mark.parametrize(
    "changed", [{"arguments": b"x" * (MAX_BYTES + 1)}, {"encoding": Encoding.CALLS}, {"throttle": object()}]
)
def test_what_is_large_or_has_to_wait_is_not_sent_so(changed):
    plain = {"target": Target(name="f"), "arguments": b"x", "sink": InvocationFuture(Remote())}
    pool = Pool(Connection())
    assert begin(Submission(**(plain | changed)), pool, adopt=print, resume=print) is None
    assert not pool.requests


def test_without_a_free_connection_nothing_is_sent_so():
    submission = Submission(target=Target(name="f"), arguments=b"x", sink=InvocationFuture(Remote()))
    assert begin(submission, Pool(), adopt=print, resume=print) is None


class AnyOrder(RuleBasedStateMachine):
    """A call is in one hand at a time: answered, or sent again exactly once, in whatever order things happen."""

    @initialize(says=st.sampled_from(["answer", "refusal", "cut"]))
    def made(self, says):
        self.bench = Bench()
        self.coming = {"answer": ANSWER, "refusal": REFUSAL, "cut": ConnectionError("cut")}[says]

    @rule()
    def the_answer_comes(self):
        self.bench.connection.says = self.coming
        if self.bench.loop.reading is not None:
            self.bench.loop.reading()

    @rule()
    def a_thread_waits(self):
        self.bench.call.wait(0.0005)

    @rule()
    def the_loop_reads(self):
        self.bench.call.read(self.bench.loop)

    @rule()
    def the_id_is_wanted(self):
        self.bench.call.take_over()
        if self.bench.loop.reading is not None:  # its connection is interrupted, which wakes the reader
            self.bench.loop.reading()

    @rule()
    def a_callback_is_added(self):
        self.bench.call.call_back()

    @rule()
    def somebody_polls(self):
        self.bench.future.done()

    @precondition(lambda self: self.bench.resumed)
    @rule()
    def the_usual_way_ends_it(self):
        self.bench.future.accept("i-1")
        self.bench.future.settle(7)

    @invariant()
    def it_is_sent_again_at_most_once_and_never_lost(self):
        bench = self.bench
        assert len(bench.resumed) <= 1
        if not bench.call.is_open:
            assert bench.future.done() or bench.resumed
            assert bench.loop.reading is None
            assert bench.connection.is_closed or bench.connection.is_interrupted or bench.pool.kept
        if bench.future.done():
            assert bench.future.result() == 7


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=12, deadline=None)
