"""Holdings: the leases of a pilot, the room that they take, and the order in which they start.

Pure bookkeeping. It reports nothing and kills nothing; it keeps each lease in one place and each device with one
activation.
"""

from harvester.domain.functions import FunctionVersion
from harvester.domain.resources import Resources
from harvester.domain.wire import Held, Lease
from harvester_worker.activations import Activation, ActivationEvent, Room, Verdict
from harvester_worker.effects import Key


class Holdings:
    """The activations of one pilot, by their state.

    Parameters
    ----------
    capacity: what the pilot has in all.
    gpus: ids of its devices.
    """

    def __init__(self, capacity: Resources, gpus: tuple[str, ...]) -> None:
        self.capacity = capacity
        self.room = Room(capacity, gpus)
        self.waiting: dict[Key, Activation] = {}
        self.running: dict[Key, Activation] = {}
        self.killed: dict[Key, Activation] = {}  # reported or dropped; their processes are not yet seen dead

    def __contains__(self, key: Key) -> bool:
        return key in self.running or key in self.waiting

    def held(self) -> list[Held]:
        """Return the leases, as `Hello` tells them."""
        waiting = [Held(invocation_id=key[0], fence=key[1]) for key in self.waiting]
        return waiting + [Held(invocation_id=key[0], fence=key[1], is_started=True) for key in self.running]

    def add(self, lease: Lease, function: FunctionVersion) -> None:
        """Keep a lease until there is room."""
        self.waiting[lease.invocation_id, lease.fence] = Activation(lease, function)

    def startable(self) -> list[Activation]:
        """Return the waiting activations that fit now, in order.

        One that does not fit keeps what it needs reserved, so that small ones may pass it and never starve it.
        """
        chosen = []
        room = self.room.free
        for activation in self.waiting.values():
            if room.cpus <= 0:
                break
            wanted = activation.lease.resources
            if wanted.fits(room):
                chosen.append(activation)
            room = _left(room, wanted)
        return chosen

    def start(self, activation: Activation, now: float) -> None:
        """Give a waiting activation its room and its devices."""
        activation.advance(ActivationEvent.STARTED)
        activation.gpus = self.room.take(activation.lease.resources)
        activation.started_at = now
        if activation.function.walltime_s is not None:
            activation.limit(now + activation.function.walltime_s, Verdict.WALLTIME)
        self.running[activation.key] = self.waiting.pop(activation.key)

    def kill(self, activation: Activation) -> None:
        """Take a running activation for dead; its room stays taken until `release`."""
        activation.advance(ActivationEvent.KILLED)
        self.killed[activation.key] = self.running.pop(activation.key)

    def release(self, activation: Activation) -> None:
        """Free the room of an activation that is over."""
        activation.advance(ActivationEvent.ENDED)
        self.running.pop(activation.key, None)
        self.killed.pop(activation.key, None)
        self.room.give_back(activation.lease.resources, activation.gpus)

    def overdue(self, now: float) -> list[Activation]:
        """Return the running activations whose deadline is over."""
        return [a for a in self.running.values() if a.deadline is not None and a.deadline <= now]

    def deadlines(self) -> list[float]:
        """Return the deadlines of the running activations."""
        return [a.deadline for a in self.running.values() if a.deadline is not None]


def _left(room: Resources, wanted: Resources) -> Resources:
    """Return what others may have; never less than nothing, or one that waits for a device would block all."""
    left = room - wanted
    return Resources(cpus=max(0, left.cpus), gpus=max(0, left.gpus), memory_mb=max(0, left.memory_mb))
