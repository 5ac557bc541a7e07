"""The pilot's lifecycle: what the harvester knows of a pilot. The scheduler's view is `cluster.BatchState`.

    PLANNED ─submitted─▶ QUEUED ─scheduler started─▶ BOOTING ─registered─▶ READY ─drain─▶ DRAINING ─▶ an end

The pilot's own call may beat the poll of the scheduler, so `registered` leads to READY from PLANNED and QUEUED too.
A pilot that ended before it registered is FAILED, whatever its exit code; one that was preempted is EVICTED.
"""

from enum import StrEnum

from harvester.domain.model.lifecycle import Lifecycle


class PilotState(StrEnum):
    """What the harvester knows of a pilot."""

    PLANNED = "planned"  # written down, perhaps not yet submitted
    QUEUED = "queued"  # the scheduler has it
    BOOTING = "booting"  # the scheduler started it, it has not called yet
    READY = "ready"  # registered, takes leases
    DRAINING = "draining"  # finishes or hands over, takes no more
    FINISHED = "finished"
    EVICTED = "evicted"
    CANCELLED = "cancelled"
    FAILED = "failed"
    LOST = "lost"


class PilotEvent(StrEnum):
    """What can happen to a pilot."""

    SUBMITTED = "submitted"
    REJECTED = "rejected"  # the scheduler refused the submission
    STARTED = "scheduler started it"
    REGISTERED = "registered"
    DRAIN = "drain"
    FINISHED = "finished"  # left by itself: walltime, idleness, our word
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    FAILED = "failed"  # the batch job ended in a way that nobody asked for
    SILENT = "silent"  # no heartbeat for the length of a lease, or unknown to the scheduler again and again


class DrainReason(StrEnum):
    """Why a pilot takes no more work."""

    EVICTED = "evicted"  # a signal that nobody here asked for: the scheduler wants the node
    WALLTIME = "walltime"  # its time is nearly over
    ASKED = "asked"  # an admin or the daemon said so
    BROKEN = "broken"  # it cannot run anything any more: its zygote is gone
    DISMISSED = "dismissed"  # the gateway does not know it or had given it up
    ORPHANED = "orphaned"  # nothing was heard of a live daemon for too long: nobody could take the node back

    @property
    def event(self) -> PilotEvent:
        """The pilot's end when a drain for this reason is over."""
        return _ENDS.get(self, PilotEvent.FINISHED)


BROKEN_UNDER_WORK = "broken under work"
"""The reason of the end of a pilot that had work when it broke: that is charged, and its shape is not to blame."""

_ENDS = {DrainReason.EVICTED: PilotEvent.PREEMPTED, DrainReason.BROKEN: PilotEvent.FAILED}


_S, _E = PilotState, PilotEvent

PILOT: Lifecycle[PilotState, PilotEvent] = Lifecycle(
    "pilot",
    PilotState.PLANNED,
    {
        (_S.PLANNED, _E.SUBMITTED): _S.QUEUED,
        (_S.PLANNED, _E.REGISTERED): _S.READY,
        (_S.PLANNED, _E.REJECTED): _S.FAILED,
        (_S.PLANNED, _E.CANCELLED): _S.CANCELLED,
        (_S.QUEUED, _E.STARTED): _S.BOOTING,
        (_S.QUEUED, _E.REGISTERED): _S.READY,
        (_S.QUEUED, _E.CANCELLED): _S.CANCELLED,
        (_S.QUEUED, _E.PREEMPTED): _S.EVICTED,
        (_S.QUEUED, _E.FINISHED): _S.FAILED,
        (_S.QUEUED, _E.FAILED): _S.FAILED,
        (_S.QUEUED, _E.SILENT): _S.LOST,
        (_S.BOOTING, _E.REGISTERED): _S.READY,
        (_S.BOOTING, _E.CANCELLED): _S.CANCELLED,
        (_S.BOOTING, _E.PREEMPTED): _S.EVICTED,
        (_S.BOOTING, _E.FINISHED): _S.FAILED,
        (_S.BOOTING, _E.FAILED): _S.FAILED,
        (_S.BOOTING, _E.SILENT): _S.LOST,
        (_S.READY, _E.DRAIN): _S.DRAINING,
        (_S.READY, _E.FINISHED): _S.FINISHED,
        (_S.READY, _E.PREEMPTED): _S.EVICTED,
        (_S.READY, _E.CANCELLED): _S.CANCELLED,
        (_S.READY, _E.FAILED): _S.FAILED,
        (_S.READY, _E.SILENT): _S.LOST,
        (_S.DRAINING, _E.FINISHED): _S.FINISHED,
        (_S.DRAINING, _E.PREEMPTED): _S.EVICTED,
        (_S.DRAINING, _E.CANCELLED): _S.CANCELLED,
        (_S.DRAINING, _E.FAILED): _S.FAILED,
        (_S.DRAINING, _E.SILENT): _S.LOST,
    },
)
