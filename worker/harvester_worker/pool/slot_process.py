"""A slot process, as the agent knows it.

Owns what was sent to it and has not ended. Adds to its channel what is to be sent; the caller flushes it.
"""

from collections.abc import Sequence

from harvester.domain.payload.blobs import BlobRef
from harvester.domain.payload.buffers import Part
from harvester.domain.protocol.pilot_file import PilotFile
from harvester_worker.core.activations import Death
from harvester_worker.core.effects import Key, Start
from harvester_worker.ipc import slot_messages
from harvester_worker.ipc.channel import Channel
from harvester_worker.ipc.frames import BESIDE_BYTES
from harvester_worker.ipc.run_claims import Claims
from harvester_worker.pool.warm_slots import SlotKind
from harvester_worker.slot.hosting import NOWHERE

NOT_SHARED = slot_messages.ShareDirectory(directory="", mark="", blob_bytes=0)


class SlotProcess:
    """One process.

    Parameters
    ----------
    number: the pilot's own for it.
    kind: what it is for.
    channel: the lines to it.
    claims: which of its runs it has begun.
    """

    __slots__ = ("channel", "claims", "has_code", "home", "is_doomed", "kind", "last", "number", "pid", "runs", "share")

    def __init__(self, number: int, kind: SlotKind, channel: Channel, claims: Claims) -> None:
        self.number = number
        self.kind = kind
        self.channel = channel
        self.claims = claims
        self.pid = 0  # until the zygote tells it
        self.has_code = False
        self.share = NOT_SHARED
        self.home = NOWHERE
        self.runs: dict[int, Key] = {}  # by number: what was sent and has not ended, in order
        self.last = 0  # number of the newest run
        self.is_doomed = False  # it is being killed: what it still sends is ignored

    def add(
        self, start: Start, *, share: slot_messages.ShareDirectory, home: slot_messages.Home, pilot: PilotFile
    ) -> None:
        """Add a run behind those that it has, with all that the process needs for it, to what is to be sent."""
        lease = start.lease
        self.last += 1
        self.runs[self.last] = (lease.invocation_id, lease.fence)
        if not self.has_code:
            self.has_code = True
            self.channel.add(slot_messages.Load(function=start.function))
        if self.share is not share:
            self.share = share
            self.channel.add(share)
        if self.home is not home:
            self.home = home
            self.channel.add(home)
        arguments, beside = _placed(lease.arguments)
        self.channel.add(
            slot_messages.Run(
                number=self.last,
                invocation_id=lease.invocation_id,
                fence=lease.fence,
                attempt=lease.attempt,
                encoding=lease.encoding,
                arguments=arguments,
                checkpoint=lease.checkpoint,
                leave_in_s=start.leave_in_s,
                checkpoint_interval_s=pilot.checkpoint_interval_s,
                payload_limit_bytes=pilot.result_limit_bytes,
            ),
            beside,
        )

    def death(self) -> Death:
        """Return which runs it had, now that it is gone."""
        claim = self.claims.look()
        guilty = claim.blamed(next(iter(self.runs), 0), self.last)
        return Death(
            keys=tuple(self.runs.values()),
            begun=frozenset(key for number, key in self.runs.items() if number <= claim.begun),
            blamed=self.runs.get(guilty) if guilty is not None else None,
        )


def _placed(arguments: bytes | BlobRef) -> tuple[slot_messages.Payload, Sequence[Part]]:
    if isinstance(arguments, BlobRef) or len(arguments) < BESIDE_BYTES:
        return arguments, ()
    return slot_messages.Beside(len(arguments)), (arguments,)
