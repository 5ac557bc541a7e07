"""The reporter: what the pilot says to the gateway about its activations.

Owns the outbox and whether there is a connection. It turns what happened into messages; without a connection it keeps
what the gateway must not miss and drops the rest.
"""

from harvester.domain import wire
from harvester.domain.invocations import ActivationEnd, Failure, FailureKind
from harvester.domain.pilots import DrainReason
from harvester_worker.activations import Activation
from harvester_worker.effects import Effect, Key, Send, Start
from harvester_worker.outbox import Outbox
from harvester_worker.slot_wire import Ended


class Reporter:
    """Messages to the gateway, as effects."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.is_linked = False
        self.effects: list[Effect] = []  # also those of the session: one list, because their order counts

    def take_effects(self) -> list[Effect]:
        """Return the effects since the last call."""
        effects, self.effects = self.effects, []
        return effects

    def send(self, *messages: wire.ToGateway, can_wait: bool = False) -> None:
        """Send what may be lost with the connection."""
        if self.is_linked:
            self.effects += [Send(message=message, can_wait=can_wait) for message in messages]

    def goodbye(self, reason: DrainReason) -> None:
        """Say the last word, also while the gateway has not answered `Hello` yet."""
        self.effects.append(Send(message=wire.Goodbye(reason=reason)))

    def send_again(self) -> None:
        """Send everything unacknowledged on a new connection."""
        self.send(*self.outbox.again())

    def acknowledge(self, ack: wire.Ack) -> None:
        """Forget what the gateway has on disk."""
        self.send(*self.outbox.acknowledge(ack))

    def held(self) -> list[wire.Held]:
        """Return the activations whose end the gateway may not have heard, as `Hello` tells them."""
        return [wire.Held(invocation_id=key[0], fence=key[1], is_started=True) for key in self.outbox.reported]

    def started(self, activation: Activation, *, leave_in_s: float) -> None:
        """Start an activation, and tell it."""
        self.effects.append(
            Start(
                lease=activation.lease,
                function=activation.function,
                gpus=activation.gpus,
                leave_in_s=leave_in_s,
            )
        )
        invocation_id, fence = activation.key
        # It can wait, because a short function's end shares the frame then.
        self.send(wire.Started(invocation_id=invocation_id, fence=fence), can_wait=True)

    def checkpointed(self, activation: Activation, state: bytes, *, in_a_hurry: bool) -> None:
        """Tell the newest state of an activation."""
        invocation_id, fence = activation.key
        checkpoint = wire.Checkpoint(invocation_id=invocation_id, fence=fence, seq=activation.seq, state=state)
        self.send(*self.outbox.add_checkpoint(checkpoint, in_a_hurry=in_a_hurry))

    def give_back(self, key: Key, end: ActivationEnd) -> None:
        """Tell that an activation ended without a result."""
        report = wire.GivenBack(invocation_id=key[0], fence=key[1], end=end)
        self.send(*self.outbox.add_report(report, is_resumable=end is not ActivationEnd.CANCELLED))

    def finished(self, key: Key, end: Ended) -> None:
        """Tell the result of an activation."""
        report = wire.Finished(
            invocation_id=key[0], fence=key[1], value=end.value, failure=end.failure, duration_s=end.duration_s
        )
        self.send(*self.outbox.add_report(report, is_resumable=False))

    def overran(self, activation: Activation, now: float) -> None:
        """Tell that an activation took longer than its function declares."""
        function = activation.function
        message = (
            f"{function.function_id} ran longer than the {function.walltime_s:g} s that it declares: "
            "declare a longer walltime, or do less in one invocation"
        )
        failure = Failure(kind=FailureKind.WALLTIME, message=message)
        self.finished(activation.key, Ended(failure=failure, duration_s=now - activation.started_at))
