"""Explanations: why an invocation waits. Pure reads of the dispatcher's books."""

from collections import Counter

import msgspec

from harvester.domain import placement
from harvester.domain.dispatcher import Dispatcher
from harvester.domain.entries import PilotEntry
from harvester.domain.invocations import InvocationState
from harvester.domain.placement import Obstacle


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why an open invocation is where it is."""

    summary: str  # one sentence
    details: tuple[str, ...] = ()


def explain(dispatcher: Dispatcher, invocation_id: str, now: float) -> Explanation | None:
    """Return the explanation for an open invocation, None for one that is over or unknown."""
    entry = dispatcher.entry(invocation_id)
    if entry is None:
        return None
    if entry.state is not InvocationState.ACCEPTED:
        pilot = dispatcher.pilot(entry.pilot_id or "")
        where = f"pilot {entry.pilot_id}" + ("" if pilot and pilot.is_connected else ", which is not connected now")
        return Explanation(summary=f"It is {entry.state.value} on {where} (activation {entry.attempts}).")
    ahead = dispatcher.position(entry)
    margin_s = dispatcher.settings.margin.total_seconds()
    obstacles = {
        pilot.pilot_id: _words(placement.obstacle(entry, pilot, margin_s, now), pilot, now)
        for pilot in dispatcher.pilots
    }
    counts = Counter(obstacles.values())
    if not obstacles:
        summary = "It waits: no pilot is alive."
    else:
        why = "; ".join(f"{count} {'pilot' if count == 1 else 'pilots'}: {text}" for text, count in counts.items())
        summary = f"It waits for {entry.key.resources}: {why}."
    details = [f"{ahead} invocations of the same shape wait before it."]
    if entry.key.needs_s:
        details.append(f"It declares a walltime of {entry.key.needs_s:.0f} s and does not checkpoint.")
    if entry.attempts:
        kept = "resumes from its checkpoint" if entry.has_checkpoint else "starts afresh: it kept no checkpoint"
        details.append(f"It had {entry.attempts} activations and {kept}.")
    details += [f"Pilot {pilot_id} {text}." for pilot_id, text in obstacles.items()]
    return Explanation(summary=summary, details=tuple(details))


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
