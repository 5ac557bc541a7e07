"""A bound on open invocations, whatever becomes of each."""

from concurrent.futures import CancelledError

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.examples import examples

from harvester.sdk.registration.target import Target
from harvester.sdk.submit.batching import Submission
from harvester.sdk.submit.throttle import Throttle


class Waiter:
    def __init__(self):
        self.is_cancelled, self.ends = False, []

    def cancelled(self):
        return self.is_cancelled

    def accept(self, _invocation_id):
        return not self.is_cancelled

    def settle(self, value):
        self.ends.append(value)

    def fail(self, error):
        self.ends.append(error)


class Machine(RuleBasedStateMachine):
    """Submissions, ends, refusals and cancellations in any order; what is sent is looked at, as the sender does it."""

    @initialize(most=st.integers(1, 4))
    def begin(self, most):
        self.most = most
        self.throttle = Throttle(most)
        self.waiters, self.order, self.sent, self.over = [], [], [], set()

    def send(self, outgoing):
        for each in outgoing:
            self.sent.append(each.sink)
            self.order.append(each.arguments)

    def open(self):
        return [sink for sink in self.sent if id(sink) not in self.over]

    @rule(count=st.integers(1, 3))
    def submit(self, count):
        orders = []
        for _ in range(count):
            waiter = Waiter()
            orders.append(
                Submission(target=Target(name="f"), arguments=str(len(self.waiters)).zfill(4).encode(), sink=waiter)
            )
            self.waiters.append(waiter)
        self.throttle.put(orders, self.send)

    @precondition(lambda self: self.open())
    @rule(data=st.data(), how=st.sampled_from(["settle", "fail", "refuse at once", "twice"]))
    def end(self, data, how):
        sink = data.draw(st.sampled_from(self.open()))
        self.over.add(id(sink))
        if how == "refuse at once":
            sink._sink.is_cancelled = True
            assert not sink.accept("i")
            return
        if how == "fail":
            sink.fail(CancelledError())
            return
        sink.settle(1)
        if how == "twice":
            sink.fail(ValueError())

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def cancel(self, data):
        waiter = data.draw(st.sampled_from(self.waiters))
        waiter.is_cancelled = True
        for sink in self.open():
            if sink._sink is waiter:
                assert sink.cancelled()  # the sender asks, and leaves it out
                self.over.add(id(sink))

    @invariant()
    def the_bound_holds_and_nothing_waits_without_need(self):
        if not hasattr(self, "throttle"):
            return
        assert len(self.open()) <= self.most
        waits = [waiter for waiter in self.waiters[len(self.order) :] if not waiter.is_cancelled]
        if len(self.open()) < self.most:
            assert all(any(sink._sink is waiter for sink in self.sent) for waiter in waits)
        assert self.order == sorted(self.order)


TestThrottle = Machine.TestCase
TestThrottle.settings = settings(max_examples=examples(60), stateful_step_count=30, deadline=None)


def test_lifted_it_sends_all_and_failed_it_ends_all():
    def orders():
        return [Submission(target=Target(name="f"), arguments=b"", sink=Waiter()) for _ in range(3)]

    sent = []
    throttle = Throttle(1)
    throttle.put(orders(), sent.extend)
    assert len(sent) == 1
    throttle.lift()
    assert len(sent) == 3
    throttle, kept = Throttle(1), orders()
    throttle.put(kept, sent.extend)
    error = ValueError()
    throttle.fail(error)
    assert [each.sink.ends for each in kept] == [[], [error], [error]]
