"""The invocation's lifecycle, and how an activation can end.

    ACCEPTED ─granted─▶ LEASED ─started─▶ RUNNING ─▶ SUCCEEDED | FAILED | CANCELLED | EXPIRED

Eviction, a lost pilot and the walltime put an invocation back to ACCEPTED; so does a retry. An old activation's events
never reach this table: their fencing token is refused before.
"""

from enum import StrEnum

import msgspec

from harvester.domain.model.lifecycle import Lifecycle, LifecycleWord


class InvocationState(LifecycleWord):
    """Where a request to run a function is."""

    ACCEPTED = "accepted"  # waits in a queue
    LEASED = "leased"  # a pilot has it, no slot has started it
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class InvocationEvent(LifecycleWord):
    """What can happen to an invocation."""

    GRANTED = "granted"
    STARTED = "started"
    REQUEUED = "requeued"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class ActivationEnd(StrEnum):
    """How one attempt on one slot ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EVICTED = "evicted"  # its pilot had to leave
    UNSTARTED = "unstarted"  # its pilot gave it back before it began
    PILOT_LOST = "pilot lost"
    SLOT_DIED = "slot died"  # the process ended under the function, on a pilot that was not leaving


class FailureKind(StrEnum):
    """Who has to act on a failure."""

    EXCEPTION = "exception"  # the function raised
    ARGUMENTS = "arguments"  # the arguments could not be decoded
    FUNCTION = "function"  # the function could not be loaded
    RESULT = "result"  # the result could not be encoded, or is over the limit
    POISON = "poison"  # the slot process died again and again
    WALLTIME = "walltime"  # it ran longer than it had declared
    EXPIRED = "expired"  # it had not begun, or not ended, by the time its user had set


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an invocation failed, for its user."""

    kind: FailureKind
    message: str  # one line: what was wrong, where, what to do
    error_type: str = ""  # the exception's class
    traceback: str = ""  # the user's frames
    node: str = ""  # where it ran; empty where no run is to blame
    attempt: int = 0  # of its activations; 0 as above
    exception: bytes = b""  # what the function raised, as `exceptions` pickles it; REST does not show it


_S, _E = InvocationState, InvocationEvent

INVOCATION: Lifecycle[InvocationState, InvocationEvent] = Lifecycle(
    "invocation",
    InvocationState.ACCEPTED,
    {
        (_S.ACCEPTED, _E.GRANTED): _S.LEASED,
        (_S.ACCEPTED, _E.CANCELLED): _S.CANCELLED,
        (_S.ACCEPTED, _E.EXPIRED): _S.EXPIRED,
        (_S.LEASED, _E.STARTED): _S.RUNNING,
        (_S.LEASED, _E.REQUEUED): _S.ACCEPTED,
        (_S.LEASED, _E.SUCCEEDED): _S.SUCCEEDED,
        (_S.LEASED, _E.FAILED): _S.FAILED,
        (_S.LEASED, _E.CANCELLED): _S.CANCELLED,
        (_S.LEASED, _E.EXPIRED): _S.EXPIRED,
        (_S.RUNNING, _E.REQUEUED): _S.ACCEPTED,
        (_S.RUNNING, _E.SUCCEEDED): _S.SUCCEEDED,
        (_S.RUNNING, _E.FAILED): _S.FAILED,
        (_S.RUNNING, _E.CANCELLED): _S.CANCELLED,
        (_S.RUNNING, _E.EXPIRED): _S.EXPIRED,
    },
)
