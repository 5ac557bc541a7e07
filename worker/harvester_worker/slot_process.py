"""A slot process, as the agent knows it.

Owns what was sent to it and has not ended. Sends nothing itself.
"""

from harvester_worker import slot_wire
from harvester_worker.activations import Death
from harvester_worker.channel import Channel
from harvester_worker.claims import Claims
from harvester_worker.effects import Key
from harvester_worker.hosting import NOWHERE
from harvester_worker.warm import Kind

NOT_SHARED = slot_wire.Share(directory="", mark="", blob_bytes=0)


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

    def __init__(self, number: int, kind: Kind, channel: Channel, claims: Claims) -> None:
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
        self.is_doomed = False  # its killing was ordered: what it still says comes too late

    def death(self) -> Death:
        """Return what there is to say of it when it is gone."""
        claim = self.claims.look()
        guilty = claim.blamed(next(iter(self.runs), 0), self.last)
        return Death(
            keys=tuple(self.runs.values()),
            begun=frozenset(key for number, key in self.runs.items() if number <= claim.begun),
            blamed=self.runs.get(guilty) if guilty is not None else None,
        )
