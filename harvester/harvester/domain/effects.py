"""What the dispatcher takes and gives: the work it is told of, the pilots that offer room, the effects it wants done.

Effects are orders to the gateway's shell, to be performed in the order given. Those that write (`Grant`, `Begin`,
`KeepCheckpoint`, `Requeue`, `Conclude`, `MovePilot`) go to the store; those that tell (`Acknowledge`, and the answer to
waiters that `Conclude` implies) may leave only after what stands before them is on disk. `Grant`, `Revoke`, `Recall`,
`Greet` and `SendDrain` go to the pilot at once.
"""

from __future__ import annotations

import msgspec

from harvester.domain.invocations import ActivationEnd, Failure, InvocationState
from harvester.domain.pilots import DrainReason, PilotEvent
from harvester.domain.resources import Resources
from harvester.domain.wire import AckKind, Held


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """An invocation as the dispatcher is told of it, new or recovered from the store."""

    invocation_id: str
    function_id: str
    resources: Resources
    accepted_at: float
    python: str = ""  # the minor version it needs; empty where any will do
    walltime_s: float | None = None
    checkpoints: bool = False
    max_retries: int = 0
    owner: str = ""  # whose share of the slots it takes
    priority: int = 0  # among the waiting invocations of its owner; higher goes first
    start_by: float | None = None  # its first start has to come before this, or it is EXPIRED
    end_by: float | None = None  # its end has to come before this, or it is EXPIRED
    max_running: int | None = None  # activations of its function at a time
    parent: str = ""  # the invocation that has submitted this one, if it is open and of the same owner
    # recovered from the store:
    fence: int = 0
    attempts: int = 0
    retries_used: int = 0
    deaths: int = 0
    has_checkpoint: bool = False
    pilot_id: str | None = None  # who held it
    is_started: bool = False


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
