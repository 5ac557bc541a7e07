"""The reporter: what the pilot tells the gateway about its activations.

Owns the outbox, whether there is a connection, and which beginnings are still to be told. It turns what happened into
messages, which it adds to the core's effects. Without a connection it keeps what the gateway must not miss and drops
the rest.
"""

from math import inf

from harvester.domain.model.invocations import ActivationEnd, Failure, FailureKind
from harvester.domain.model.pilots import DrainReason
from harvester.domain.protocol import wire
from harvester_worker.core.activations import Activation
from harvester_worker.core.effects import Effect, Key, Send
from harvester_worker.core.outbox import Outbox
from harvester_worker.ipc.slot_messages import Beside, RunEnded

LINGER_S = 0.003
"""A beginning is told after so long. A run that is over by then is told of by its end alone."""


class Reporter:
    """The messages of one pilot to its gateway.

    Parameters
    ----------
    effects: the core's; messages are added to it.
    """

    def __init__(self, effects: list[Effect]) -> None:
        self.outbox = Outbox()
        self.is_linked = False
        self._effects = effects
        self._untold: dict[Key, float] = {}  # when what runs has begun, oldest first

    def link(self) -> None:
        """Send from now on: the gateway has answered `Hello`."""
        self.is_linked = True

    def unlink(self) -> None:
        """Send nothing until the next `link`."""
        self.is_linked = False

    def send(self, *messages: wire.ToGateway) -> None:
        """Send what may be lost with the connection."""
        if self.is_linked:
            self._effects += [Send(message=message) for message in messages]

    def goodbye(self, reason: DrainReason) -> None:
        """Send the last message, even if the gateway has not answered `Hello` yet."""
        self._effects.append(Send(message=wire.Goodbye(reason=reason)))

    def send_again(self) -> None:
        """Send everything unacknowledged on a new connection."""
        self.send(*self.outbox.resend())

    def acknowledge(self, ack: wire.Ack) -> None:
        """Forget what the gateway has on disk."""
        if messages := self.outbox.acknowledge(ack):
            self.send(*messages)

    def forget(self, key: Key) -> None:
        """Tell nothing more of an activation."""
        self.outbox.forget(key)
        self._untold.pop(key, None)

    def clear(self) -> None:
        """Tell nothing more of any activation."""
        self.outbox.clear()
        self._untold.clear()

    def held(self) -> list[wire.Held]:
        """Return the activations whose end the gateway may not have heard, as `Hello` tells them."""
        return [wire.Held(invocation_id=key[0], fence=key[1], is_started=True) for key in self.outbox.reported]

    # ---- beginnings --------------------------------------------------------------------------------------------------

    def begun(self, key: Key, now: float) -> None:
        """Record that a slot has begun an activation."""
        self._untold[key] = now

    def not_begun(self, key: Key) -> None:
        """Record that it has to begin again."""
        self._untold.pop(key, None)

    def tell_begun(self, now: float) -> None:
        """Tell what began long enough ago."""
        while self._untold:
            key, began_at = next(iter(self._untold.items()))
            if began_at + LINGER_S > now:
                return
            self._tell_begun(key)

    def _tell_begun(self, key: Key) -> None:
        if self._untold.pop(key, None) is not None:
            self.send(wire.Started(invocation_id=key[0], fence=key[1]))

    def waits(self, key: Key, *, is_lent: bool) -> None:
        """Tell that an activation waits for others."""
        self._tell_begun(key)
        self.send(wire.Waits(invocation_id=key[0], fence=key[1], is_lent=is_lent))

    def goes_on(self, key: Key) -> None:
        """Tell that it waits no longer."""
        self.send(wire.GoesOn(invocation_id=key[0], fence=key[1]))

    def next_at(self) -> float:
        """Return when `tell_begun` has something to tell."""
        for began_at in self._untold.values():
            return began_at + LINGER_S
        return inf

    # ---- reports -----------------------------------------------------------------------------------------------------

    def checkpointed(self, activation: Activation, state: bytes, *, in_a_hurry: bool) -> None:
        """Tell the newest state of an activation."""
        self._tell_begun(activation.key)
        invocation_id, fence = activation.key
        checkpoint = wire.Checkpoint(invocation_id=invocation_id, fence=fence, seq=activation.seq, state=state)
        self.send(*self.outbox.add_checkpoint(checkpoint, in_a_hurry=in_a_hurry))

    def give_back(self, key: Key, end: ActivationEnd) -> None:
        """Tell that an activation ended without a result."""
        self._untold.pop(key, None)
        report = wire.GivenBack(invocation_id=key[0], fence=key[1], end=end)
        self.send(*self.outbox.add_report(report, is_resumable=end is not ActivationEnd.CANCELLED))

    def finished(self, key: Key, end: RunEnded) -> None:
        """Tell the result of an activation."""
        self._untold.pop(key, None)
        if isinstance(end.value, Beside):
            raise TypeError("a payload beside its message was not put into the message")
        report = wire.Finished(
            invocation_id=key[0], fence=key[1], value=end.value, failure=end.failure, duration_s=end.duration_s
        )
        self.send(*self.outbox.add_report(report, is_resumable=False))

    def overran(self, activation: Activation, now: float) -> None:
        """Tell that an activation took longer than its function declares."""
        declared = f"its declared walltime of {activation.function.walltime_s:g} s"
        message = (
            f"{activation.function.function_id} ran longer than {declared}: "
            "declare a longer one, or do less in one invocation"
        )
        failure = Failure(kind=FailureKind.WALLTIME, message=message)
        self.finished(activation.key, RunEnded(failure=failure, duration_s=now - activation.started_at))
