"""The outbox: nothing is forgotten before the gateway has it on disk, and nothing is kept once it has."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.model.invocations import ActivationEnd
from harvester.domain.protocol.wire import Ack, AckKind, Checkpoint, Finished, GivenBack
from harvester_worker.core.outbox import Outbox


def checkpoint(seq: int, fence: int = 1) -> Checkpoint:
    return Checkpoint(invocation_id="i", fence=fence, seq=seq, state=b"s" * seq)


def finished(fence: int = 1) -> Finished:
    return Finished(invocation_id="i", fence=fence, value=b"v")


def given_back(fence: int = 1) -> GivenBack:
    return GivenBack(invocation_id="i", fence=fence, end=ActivationEnd.EVICTED)


def ack(kind: AckKind, fence: int = 1, seq: int = 0) -> Ack:
    return Ack(kind=kind, invocation_id="i", fence=fence, seq=seq)


def test_one_checkpoint_is_on_its_way_and_the_newest_follows_its_acknowledgement():
    outbox = Outbox()
    assert outbox.add_checkpoint(checkpoint(1), in_a_hurry=False) == [checkpoint(1)]
    assert outbox.add_checkpoint(checkpoint(2), in_a_hurry=False) == []
    assert outbox.add_checkpoint(checkpoint(3), in_a_hurry=False) == []
    assert outbox.acknowledge(ack(AckKind.CHECKPOINT, seq=1)) == [checkpoint(3)]
    assert outbox.acknowledge(ack(AckKind.CHECKPOINT, seq=3)) == []
    assert not outbox


def test_an_acknowledgement_of_an_older_checkpoint_leaves_the_newer_one():
    outbox = Outbox()
    outbox.add_checkpoint(checkpoint(1), in_a_hurry=False)
    outbox.add_checkpoint(checkpoint(2), in_a_hurry=True)
    assert outbox.acknowledge(ack(AckKind.CHECKPOINT, seq=1)) == []
    assert outbox.resend() == [checkpoint(2)]


def test_an_acknowledgement_under_another_token_leaves_everything():
    outbox = Outbox()
    outbox.add_report(finished(fence=2), is_resumable=False)
    outbox.acknowledge(ack(AckKind.FINISHED, fence=1))
    assert outbox.resend() == [finished(fence=2)]


def test_a_checkpoint_outlives_the_acknowledgement_of_a_report_that_was_never_made():
    outbox = Outbox()
    outbox.add_checkpoint(checkpoint(1), in_a_hurry=False)
    outbox.acknowledge(ack(AckKind.FINISHED))
    assert outbox.resend() == [checkpoint(1)]


def test_a_report_that_is_resumed_from_takes_its_newest_checkpoint_along_and_goes_with_it():
    outbox = Outbox()
    outbox.add_checkpoint(checkpoint(1), in_a_hurry=False)
    outbox.add_checkpoint(checkpoint(2), in_a_hurry=False)
    assert outbox.add_report(given_back(), is_resumable=True) == [checkpoint(2), given_back()]
    outbox.acknowledge(ack(AckKind.CHECKPOINT, seq=2))
    assert outbox.resend() == [given_back()]
    outbox.acknowledge(ack(AckKind.GIVEN_BACK))
    assert not outbox


def test_after_a_new_connection_the_newest_checkpoint_is_sent_once():
    outbox = Outbox()
    outbox.add_checkpoint(checkpoint(1), in_a_hurry=False)
    outbox.add_checkpoint(checkpoint(2), in_a_hurry=False)
    assert outbox.resend() == [checkpoint(2)]
    assert outbox.acknowledge(ack(AckKind.CHECKPOINT, seq=2)) == []
    assert not outbox


def test_a_report_that_nobody_resumes_from_needs_no_checkpoint():
    outbox = Outbox()
    outbox.add_checkpoint(checkpoint(1), in_a_hurry=False)
    assert outbox.add_report(finished(), is_resumable=False) == [finished()]
    assert outbox.resend() == [finished()]


@dataclass
class Gateway:
    """What it has on disk: the newest checkpoint and the report of each activation; it acknowledges what it read."""

    kept: dict[int, int] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    def read(self, message: Checkpoint | Finished | GivenBack) -> Ack:
        if isinstance(message, Checkpoint):
            self.kept[message.fence] = max(message.seq, self.kept.get(message.fence, 0))
            return ack(AckKind.CHECKPOINT, message.fence, message.seq)
        self.ended.add(message.fence)
        return ack(AckKind.FINISHED if isinstance(message, Finished) else AckKind.GIVEN_BACK, message.fence)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("checkpoint"), st.integers(1, 3), st.booleans()),
        st.tuples(st.just("report"), st.integers(1, 3), st.booleans()),
        st.tuples(st.sampled_from(["read", "hear", "cut"]), st.just(0), st.booleans()),
    ),
    max_size=40,
)


@given(steps)
def test_whatever_gets_lost_in_between_the_gateway_has_everything_in_the_end(steps):
    outbox, gateway = Outbox(), Gateway()
    wire_out: list = []
    wire_back: list[Ack] = []
    made: dict[int, int] = {}
    reported: dict[int, bool] = {}
    for what, fence, flag in steps:
        if what == "checkpoint" and fence not in reported:
            made[fence] = made.get(fence, 0) + 1
            wire_out += outbox.add_checkpoint(checkpoint(made[fence], fence), in_a_hurry=flag)
        elif what == "report" and fence not in reported:
            reported[fence] = flag
            report = given_back(fence) if flag else finished(fence)
            wire_out += outbox.add_report(report, is_resumable=flag)
        elif what == "read" and wire_out:
            wire_back.append(gateway.read(wire_out.pop(0)))
        elif what == "hear" and wire_back:
            wire_out += outbox.acknowledge(wire_back.pop(0))
        elif what == "cut":
            wire_back.clear()
            wire_out = outbox.resend()
    for _ in range(len(made) + 3):
        wire_back.clear()
        for message in outbox.resend():
            for heard in outbox.acknowledge(gateway.read(message)):
                outbox.acknowledge(gateway.read(heard))
    assert not outbox
    assert gateway.ended == set(reported)
    assert {fence: seq for fence, seq in made.items() if reported.get(fence, True)} == {
        fence: seq for fence, seq in gateway.kept.items() if reported.get(fence, True)
    }
