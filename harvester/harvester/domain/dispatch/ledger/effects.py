"""What the dispatcher takes and gives: the work it is told of, the pilots that offer room, the effects it wants done.

Effects are orders to the gateway's shell, to be performed in the order given. Those that write (`Grant`, `Begin`,
`KeepCheckpoint`, `Requeue`, `Conclude`, `MovePilot`) go to the store; those that tell (`Acknowledge`, and the answer to
waiters that `Conclude` implies) may leave only after what stands before them is on disk. `Grant`, `Revoke`, `Recall`,
`Greet` and `SendDrain` go to the pilot at once.
"""

from __future__ import annotations

import msgspec

from harvester.domain.model.invocations import ActivationEnd, Failure, InvocationState
from harvester.domain.model.pilots import DrainReason, PilotEvent
from harvester.domain.model.resources import Resources
from harvester.domain.protocol.wire import AckKind, Held


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A pilot that said hello, for the first time or again."""

    pilot_id: str
    capacity: Resources
    python: str
    time_left_s: float
    held: tuple[Held, ...] = ()
    drain: DrainReason | None = None


class _Effect(msgspec.Struct, frozen=True, kw_only=True):
    """An order to the shell."""


class Greet(_Effect, frozen=True):
    """Send `Welcome`."""

    pilot_id: str
    abandon: tuple[Held, ...]


class Grant(_Effect, frozen=True):
    """Send a `Lease` (before it the `Function`, once a connection), with the newest checkpoint if there is one."""

    pilot_id: str
    invocation_id: str
    function_id: str
    fence: int
    attempt: int
    resumed: bool  # there is a checkpoint to send along
    adopted: bool = False  # the pilot has it already, from before a restart: write it down, send nothing


class Revoke(_Effect, frozen=True):
    """Send `Cancel`."""

    pilot_id: str
    invocation_id: str
    fence: int


class Recall(_Effect, frozen=True):
    """Send `Recall`: a lease that was sent ahead of a free slot could begin at once elsewhere."""

    pilot_id: str
    invocation_id: str
    fence: int


class Begin(_Effect, frozen=True):
    """Write down that a slot began."""

    invocation_id: str
    fence: int


class KeepCheckpoint(_Effect, frozen=True):
    """Write down the checkpoint that came with this stimulus."""

    invocation_id: str
    fence: int
    seq: int


class Requeue(_Effect, frozen=True):
    """Write down that an activation ended without a result and the invocation waits again."""

    invocation_id: str
    fence: int
    end: ActivationEnd
    retries_used: int
    deaths: int


class Conclude(_Effect, frozen=True):
    """Write down the end, with the value that came with this stimulus; then answer who waits."""

    invocation_id: str
    fence: int
    state: InvocationState
    failure: Failure | None = None
    started_at: float | None = None  # of the activation, where no `Begin` was ordered for it


class Acknowledge(_Effect, frozen=True):
    """Send `Ack`, after everything before it is on disk."""

    pilot_id: str
    kind: AckKind
    invocation_id: str
    fence: int
    seq: int = 0


class MovePilot(_Effect, frozen=True):
    """Write down an event of a pilot's lifecycle."""

    pilot_id: str
    event: PilotEvent
    reason: str = ""


class SendDrain(_Effect, frozen=True):
    """Send `Drain`."""

    pilot_id: str
    reason: DrainReason


Effect = (
    Greet | Grant | Revoke | Recall | Begin | KeepCheckpoint | Requeue | Conclude | Acknowledge | MovePilot | SendDrain
)
