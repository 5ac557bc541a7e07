"""Drains: until when which work may run on after the pilot was asked to leave.

Pure arithmetic on one clock. The core decides which activations are asked, killed and reported.
"""

import msgspec

from harvester.domain.model.pilots import DrainReason
from harvester.domain.protocol.pilot_file import PilotFile

HARSH = frozenset({DrainReason.EVICTED, DrainReason.BROKEN})
"""What a function raises while the pilot leaves for one of these may be caused by the leaving."""

SHORTEST_NOTICE_S = 1.0
"""A partition with GraceTime=0 still has Slurm's KillWait (30 s by default) after its SIGTERM: a second is there."""

ACKNOWLEDGE_S = 2.0
"""How long the gateway may take to acknowledge what was handed over, beyond the transfer itself."""

SLOWEST_LINK_BYTES_S = 20e6
"""A link that moves less than this is not waited for."""


class DrainPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The instants that a drain has to keep."""

    reason: DrainReason
    resumable_by: float  # functions that checkpoint are killed then
    others_by: float  # all other functions are killed then
    gone_by: float  # the pilot leaves then, whatever is left
    stays_until: float = 0.0  # … and not before this, even with nothing left to do


# Eviction outranks a broken pilot: a scheduler that ends a step may kill the zygote first, and an evicted pilot has not
# failed.
_URGENCY = {
    reason: rank
    for rank, reason in enumerate(
        (
            DrainReason.WALLTIME,
            DrainReason.ASKED,
            DrainReason.ORPHANED,
            DrainReason.BROKEN,
            DrainReason.EVICTED,
            DrainReason.DISMISSED,
        )
    )
}


def plan(reason: DrainReason, pilot: PilotFile, *, now: float, end_at: float) -> DrainPlan:
    """Return the plan of a drain that begins now.

    Parameters
    ----------
    reason: who wants the pilot to leave.
    pilot: its orders, for the grace time and the rest (seconds).
    now, end_at: the present and the end of the allocation, on the same clock.
    """
    margin = min(2.0, pilot.leave_before_s / 4)
    last_call, last_exit = end_at - 2 * margin, end_at - margin
    if reason is DrainReason.DISMISSED:
        return DrainPlan(reason=reason, resumable_by=now, others_by=now, gone_by=now)
    if reason is DrainReason.WALLTIME:
        return DrainPlan(reason=reason, resumable_by=last_call, others_by=last_call, gone_by=last_exit)
    resumable_by, others_by = now + pilot.handover_s, now + pilot.finish_s
    if reason in HARSH:
        notice = max(pilot.grace_s, SHORTEST_NOTICE_S)
        spare = min(1.0, notice / 4)
        last_call, last_exit = min(last_call, now + notice - 2 * spare), min(last_exit, now + notice - spare)
    else:
        last_exit = min(last_exit, max(resumable_by, others_by) + 10)
    return DrainPlan(
        reason=reason,
        resumable_by=min(resumable_by, last_call),
        others_by=min(others_by, last_call),
        gone_by=last_exit,
        stays_until=min(now + pilot.linger_s, last_exit) if reason is DrainReason.EVICTED else now,
    )


def tighten(old: DrainPlan | None, new: DrainPlan) -> DrainPlan:
    """Return what holds when a drain is asked for again: the more urgent reason, the earlier instants."""
    if old is None:
        return new
    return DrainPlan(
        reason=max(old.reason, new.reason, key=_URGENCY.__getitem__),
        resumable_by=min(old.resumable_by, new.resumable_by),
        others_by=min(old.others_by, new.others_by),
        gone_by=min(old.gone_by, new.gone_by),
        stays_until=min(max(old.stays_until, new.stays_until), old.gone_by, new.gone_by),
    )


def acknowledge_s(unacknowledged_bytes: int) -> float:
    """Return for how long to wait for acknowledgements of so many bytes, in seconds."""
    return ACKNOWLEDGE_S + unacknowledged_bytes / SLOWEST_LINK_BYTES_S
