"""The outbox: reports and checkpoints that the gateway has not acknowledged yet.

Owns what has to be sent again after a reconnect. Each method returns the messages to send now. It must not know whether
there is a connection: everything here is sent again on the next one.
"""

from typing import assert_never

from harvester.domain.payload.blobs import BlobRef
from harvester.domain.protocol.wire import Ack, AckKind, Checkpoint, Finished, GivenBack
from harvester_worker.core.effects import Key

Report = Finished | GivenBack
Message = Checkpoint | Finished | GivenBack


class _Entry:
    """What is on its way for one activation."""

    __slots__ = ("newer", "report", "sent")

    def __init__(self) -> None:
        self.sent: Checkpoint | None = None  # on its way
        self.newer: Checkpoint | None = None  # goes when `sent` is acknowledged
        self.report: Report | None = None

    def messages(self) -> list[Message]:
        """Return all that is outstanding, oldest first."""
        return [message for message in (self.newer or self.sent, self.report) if message is not None]


class Outbox:
    """Unacknowledged messages, by activation."""

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    @property
    def reported(self) -> list[Key]:
        """Activations whose end was told, not yet acknowledged."""
        return [key for key, entry in self._entries.items() if entry.report is not None]

    @property
    def size(self) -> int:
        """Payload bytes that wait for an acknowledgement."""
        return sum(_size(message) for entry in self._entries.values() for message in entry.messages())

    def has_reported(self, key: Key) -> bool:
        """Return whether the end of this activation was told and is not yet acknowledged."""
        entry = self._entries.get(key)
        return entry is not None and entry.report is not None

    def add_checkpoint(self, checkpoint: Checkpoint, *, in_a_hurry: bool) -> list[Message]:
        """Keep the newest checkpoint of an activation.

        In quiet times one is on its way at a time, so that a slow link or a slow disk of the gateway sees fewer of
        them and not a growing queue.
        """
        entry = self._entries.setdefault((checkpoint.invocation_id, checkpoint.fence), _Entry())
        if entry.sent is not None and not in_a_hurry:
            entry.newer = checkpoint
            return []
        entry.sent, entry.newer = checkpoint, None
        return [checkpoint]

    def add_report(self, report: Report, *, is_resumable: bool) -> list[Message]:
        """Keep the end of an activation; its newest checkpoint goes before it where another run will resume from it."""
        entry = self._entries.setdefault((report.invocation_id, report.fence), _Entry())
        entry.report = report
        if not is_resumable:
            entry.sent = entry.newer = None
        elif entry.newer is not None:
            entry.sent, entry.newer = entry.newer, None
            return [entry.sent, report]
        return [report]

    def acknowledge(self, ack: Ack) -> list[Message]:
        """Forget what is on the gateway's disk."""
        key = (ack.invocation_id, ack.fence)
        entry = self._entries.get(key)
        if entry is None:
            return []
        if ack.kind is not AckKind.CHECKPOINT:
            # Order is kept on the wire: a report that is on disk has its checkpoint there too.
            if entry.report is not None:
                del self._entries[key]
            return []
        if entry.sent is not None and entry.sent.seq <= ack.seq:
            entry.sent, entry.newer = entry.newer, None
            if entry.sent is not None:
                return [entry.sent]
        if entry.sent is None and entry.report is None:
            del self._entries[key]
        return []

    def forget(self, key: Key) -> None:
        """Drop everything of an activation that is no longer this pilot's."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Drop everything."""
        self._entries.clear()

    def resend(self) -> list[Message]:
        """Return everything, to be sent on a new connection."""
        messages: list[Message] = []
        for entry in self._entries.values():
            if entry.newer is not None:
                entry.sent, entry.newer = entry.newer, None
            messages += entry.messages()
        return messages


def _size(message: Message) -> int:
    match message:
        case Checkpoint():
            return len(message.state)
        case Finished():
            return 0 if isinstance(message.value, BlobRef) else len(message.value)
        case GivenBack():
            return 0
        case _:
            assert_never(message)
