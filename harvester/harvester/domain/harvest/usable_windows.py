"""Outlook: the windows of a situation, as its mode asks for them, and without the nodes that pilots keep out of.

Knows what `windows` and `contention` must not: our pilots, the mode, and which nodes are left alone and why.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from harvester.domain.cluster import windows
from harvester.domain.cluster.windows import NodeClaim, Window
from harvester.domain.contention.contention import Contention, contention
from harvester.domain.harvest.planning import HarvestMode, Situation
from harvester.domain.model.pilots import PilotState

LEAD_S = 10.0  # YIELDING: a pilot leaves so long before a start: a look, and the hand-over of what it runs


def with_outlook(situation: Situation) -> Situation:
    """Return `situation` with its contention, where the mode needs it, and its windows."""
    if situation.contention is None and situation.settings.mode is not HarvestMode.PREEMPTIBLE:
        situation = replace(situation, contention=contention_of(situation))
    return situation if situation.windows is not None else replace(situation, windows=windows_of(situation))


def contention_of(situation: Situation) -> Contention:
    """Return what prime jobs want of the nodes, as if our pilots were not there."""
    if situation.contention is not None:
        return situation.contention
    live = {pilot.name for pilot in situation.pilots}
    going = {pilot.name for pilot in situation.pilots if pilot.state is PilotState.DRAINING}
    if situation.mark:
        marked = {batch.name for batch in situation.snapshot.batch_jobs if batch.name.startswith(situation.mark)}
        going |= marked - live  # we believe them ended, so they were told to
    return contention(
        situation.snapshot,
        situation.now,
        ours=live | going,
        going=going,
        doubted=situation.doubted,
        disbelieved=situation.disbelieved,
    )


def windows_of(situation: Situation) -> tuple[Window, ...]:
    """Return the windows that pilots may be put into, open now or about to open by somebody's limit."""
    if situation.windows is not None:
        return situation.windows
    settings = situation.settings
    ours = {pilot.name for pilot in situation.pilots}
    found = windows.compute(
        situation.snapshot,
        situation.now,
        ours=ours,
        horizon=settings.cycle + settings.loop,
        next_claims=_next_claims(situation, ours),
    )
    shunned = {**excluded_nodes(situation), **leaving_nodes(situation)}
    return tuple(window for window in found if window.node not in shunned) if shunned else found


def _next_claims(situation: Situation, ours: set[str]) -> dict[str, NodeClaim] | None:
    """Return what ends windows; None: what the scheduler has planned."""
    mode = situation.settings.mode
    match mode:
        case HarvestMode.PREEMPTIBLE:
            return None
        case HarvestMode.STRICT:
            return contention_of(situation).claims
        case HarvestMode.YIELDING:
            # Pilots go when they must, so only what is wanted now ends a window that the scheduler leaves open.
            found = windows.claims(situation.snapshot, situation.now, ours=ours)
            for name, claim in contention_of(situation).claims.items():
                if claim.at <= situation.now + LEAD_S:
                    windows.put(found, (name,), claim._replace(at=min(claim.at, situation.now)))
            return found
        case _:
            assert_never(mode)


def departs_at(situation: Situation) -> float | None:
    """Return when the next pilot must be asked to leave for a start that is planned; None where none is."""
    settings = situation.settings
    lead = LEAD_S if settings.mode is HarvestMode.YIELDING else settings.window_margin.total_seconds()
    if settings.mode is HarvestMode.PREEMPTIBLE:
        return None
    wanted = contention_of(situation).wanted
    claims = [wanted[pilot.node] for pilot in situation.pilots if pilot.node in wanted]
    return min((claim.at - lead for claim in claims if claim.at - lead > situation.now), default=None)


def excluded_nodes(situation: Situation) -> dict[str, str]:
    """Return the nodes that pilots keep out of, and why."""
    configured = dict.fromkeys(situation.settings.excluded_nodes, "it is in harvest.excluded_nodes")
    return {**configured, **situation.bad_nodes, **situation.drained}


def leaving_nodes(situation: Situation) -> dict[str, str]:
    """Return the nodes that nobody should be on any longer, and why: a pilot there is asked to leave."""
    found: dict[str, str] = {}
    soon = situation.now + situation.settings.window_margin.total_seconds()
    for reservation in situation.snapshot.reservations:
        if reservation.start_at <= soon and (reservation.end_at is None or reservation.end_at > situation.now):
            found.update(dict.fromkeys(reservation.nodes, f"reservation {reservation.name} begins on it"))
    found.update((node.name, node.leaving) for node in situation.snapshot.nodes if node.leaving)
    return {**found, **situation.drained}
