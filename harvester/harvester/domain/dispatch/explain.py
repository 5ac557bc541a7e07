"""Explanations: why an invocation waits. Pure reads of the dispatcher's books."""

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from harvester.domain.dispatch.dispatcher import Dispatcher
from harvester.domain.dispatch.leasing import placement
from harvester.domain.dispatch.leasing.placement import Obstacle
from harvester.domain.dispatch.ledger.entries import Entry, PilotEntry
from harvester.domain.dispatch.nesting import waits_for
from harvester.domain.model.invocations import InvocationState
from harvester.domain.model.pilots import PilotState

NAMED = 50  # pilots that are told of one by one


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why an open invocation is where it is."""

    summary: str  # one sentence
    details: tuple[str, ...] = ()


def explain(
    dispatcher: Dispatcher, invocation_id: str, now: float, known: Iterable[PilotState] = ()
) -> Explanation | None:
    """Return the explanation for an open invocation, None for one that is over or unknown.

    Parameters
    ----------
    known: the states of all pilots that are not over. The dispatcher knows none before it has called.
    """
    entry = dispatcher.entry(invocation_id)
    if entry is None:
        return None
    if entry.state is not InvocationState.ACCEPTED:
        return _held(dispatcher, entry)
    obstacles = _obstacles(dispatcher, entry, now)
    summary = _limit(entry) or _pilots(entry, obstacles, known)
    details = [*_family(dispatcher, entry), *_order(dispatcher, entry), *_history(dispatcher, entry, now)]
    details += [f"Pilot {pilot_id} {text}." for pilot_id, text in list(obstacles.items())[:NAMED]]
    return Explanation(summary=summary, details=tuple(details))


def _held(dispatcher: Dispatcher, entry: Entry) -> Explanation:
    pilot = dispatcher.pilot(entry.pilot_id or "")
    where = f"pilot {entry.pilot_id}" + ("" if pilot and pilot.is_connected else ", which is not connected now")
    if entry.lease is not None and entry.lease.is_ahead and entry.state is InvocationState.LEASED:
        summary = (
            f"It is leased ahead to {where} (activation {entry.attempts}): "
            "it begins as soon as a slot there is free, and goes elsewhere if that takes long."
        )
    else:
        waits = waits_for(entry)
        summary = f"It is {entry.state.value} on {where} (activation {entry.attempts}){'; ' if waits else ''}{waits}."
    return Explanation(summary=summary)


def _limit(entry: Entry) -> str | None:
    """Return the limit that keeps an invocation waiting, whatever pilots there are."""
    owner, function = entry.lane.owner, entry.lane.function
    if function.is_full:
        return (
            f"It waits: {function.leases} activations of {function.function_id} are leased or running, "
            f"and its limit is {function.max_running} at a time."
        )
    if owner.is_full:
        many = "1 activation" if owner.leases == 1 else f"{owner.leases} activations"
        return f"It waits: its owner has {many}, and may have {owner.limit} at a time."
    return None


def _obstacles(dispatcher: Dispatcher, entry: Entry, now: float) -> dict[str, str]:
    margin_s = dispatcher.settings.margin.total_seconds()
    shape = entry.lane.shape
    return {
        pilot.pilot_id: _words(placement.obstacle(shape, pilot, margin_s, now), pilot, now)
        for pilot in dispatcher.pilots
    }


def _pilots(entry: Entry, obstacles: dict[str, str], known: Iterable[PilotState]) -> str:
    coming = "; ".join(_counted(_coming(known)))
    if not obstacles:
        return f"It waits: {coming or 'no pilot is alive'}."
    why = "; ".join([*_counted(obstacles.values()), *([coming] if coming else [])])
    return f"It waits for {entry.lane.function.resources}: {why}."


def _coming(known: Iterable[PilotState]) -> Iterator[str]:
    """Yield of each pilot that has not called yet where it is."""
    for state in known:
        match state:
            case PilotState.BOOTING:
                yield "is starting"
            case PilotState.PLANNED | PilotState.QUEUED:
                yield "is waiting in the scheduler's queue"
            case _:
                pass  # it has called, and the dispatcher knows more of it


def _counted(texts: Iterable[str]) -> Iterator[str]:
    for text, count in Counter(texts).items():
        yield f"1 pilot {text}" if count == 1 else _of_many(count, text)


def _of_many(count: int, text: str) -> str:
    verb, _, rest = text.partition(" ")
    return f"{count} pilots { {'is': 'are', 'has': 'have', 'runs': 'run'}.get(verb, verb) } {rest}"


def _family(dispatcher: Dispatcher, entry: Entry) -> list[str]:
    """Return who waits for it, and which runs that wait keep what it needs."""
    details = []
    parent = dispatcher.entry(entry.parent) if entry.parent else None
    if parent is not None:
        waits = waits_for(parent)
        details.append(f"Invocation {entry.parent} has submitted it{': ' if waits else ''}{waits}.")
    limited = entry.lane.function
    if limited.is_full and limited.nests:
        details.append(f"Runs of {limited.function_id} that wait for others count for its limit.")
    return details


def _order(dispatcher: Dispatcher, entry: Entry) -> list[str]:
    """Return who goes before it."""
    lane = entry.lane
    details = [f"{dispatcher.position(entry)} invocations of its owner and function wait before it."]
    if not lane.is_listed or lane.group is None:
        return details
    if any(other.top > entry.priority for other in lane.group.lanes):
        details.append("Its owner has work of a higher priority waiting.")
    groups = lane.group.waiting.groups
    ahead = sum(1 for group in groups if group.owner.share.at < lane.owner.share.at)
    if ahead:
        owners = "1 other owner has" if ahead == 1 else f"{ahead} other owners have"
        details.append(f"{owners} had less of their share of the slots, and {'goes' if ahead == 1 else 'go'} first.")
    return details


def _history(dispatcher: Dispatcher, entry: Entry, now: float) -> list[str]:
    """Return what is known of its function and of its earlier activations."""
    details = []
    function = entry.lane.function
    estimate = dispatcher.estimate(function.function_id)
    if function.walltime_s is not None and not function.checkpoints:
        details.append(f"It declares a walltime of {function.walltime_s:.0f} s and does not checkpoint.")
    if estimate is not None:
        details.append(
            f"Runs of its function take {estimate.mean_s:.3g} s, and hardly ever more than {estimate.upper_s:.3g} s "
            f"(learned from {estimate.runs} runs)."
        )
        if function.shape.needs_s and function.learns_needs:
            details.append(f"So it goes to pilots that have {function.shape.needs_s:.3g} s left.")
    for by, what in ((entry.start_by, "start"), (entry.end_by, "end")):
        if by is not None and not (what == "start" and entry.has_started):
            details.append(f"It has to {what} within {max(0.0, by - now):.3g} s from now, or it is EXPIRED.")
    if entry.attempts:
        kept = "resumes from its checkpoint" if entry.has_checkpoint else "starts afresh: it kept no checkpoint"
        details.append(f"It had {entry.attempts} activations and {kept}.")
    if entry.lane.is_alone:
        details.append(f"{entry.losses} pilots were lost that had it, so it runs alone on a pilot from now on.")
    return details


def _words(obstacle: Obstacle | None, pilot: PilotEntry, now: float) -> str:
    match obstacle:
        case None:
            return "could take it"
        case Obstacle.LEAVING | Obstacle.BUSY | Obstacle.CUT_OFF:
            return f"is {obstacle.value}"
        case Obstacle.SMALL:
            return f"is too small ({pilot.capacity})"
        case Obstacle.PYTHON:
            return f"runs Python {pilot.python}"
        case Obstacle.TIME:
            return f"has only {max(0.0, pilot.ends_at - now):.0f} s left"
