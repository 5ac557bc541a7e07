"""Heartbeats: when the next one is due, and whether the connection still carries both ways.

Pure arithmetic on one clock. The core sends them, and opens another connection.
"""

from math import inf

from harvester.domain.protocol.wire import Welcome

DEAF_LEASES = 2.0
"""A connection over which nothing has come for so many leases, although heartbeats are answered, is dead one way."""


class Heartbeats:
    """The heartbeats of one pilot."""

    def __init__(self) -> None:
        self.due_at = inf
        self._heartbeat_s = self._lease_s = inf
        self._heard_at = inf

    def begin(self, welcome: Welcome, now: float) -> None:
        """Begin with a new connection."""
        self._heartbeat_s, self._lease_s = welcome.heartbeat_s, welcome.lease_s
        self.due_at = now + welcome.heartbeat_s

    def end(self) -> None:
        """Stop: the connection is gone."""
        self.due_at = inf

    def heard(self, now: float) -> None:
        """Record that the gateway sent something."""
        self._heard_at = now

    def beat(self, now: float) -> bool:
        """Plan the next heartbeat; return whether to send this one. If not, another connection has to be opened."""
        # Late: the process was stopped for a while (PBS suspends with SIGSTOP, without a word). The gateway has given
        # its work to others by now, so it has to be asked what is still the pilot's.
        slept = now - self.due_at > self._lease_s
        # Deaf: a network may carry one way only. What the gateway says is lost then, the leases that it grants as well.
        is_deaf = now - self._heard_at > DEAF_LEASES * self._lease_s
        self.due_at = now + self._heartbeat_s
        return not slept and not is_deaf
