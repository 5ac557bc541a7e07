"""Modes: what each way of being harmless lets pilots do, behind one protocol."""

from __future__ import annotations

from typing import Protocol, assert_never

from harvester.domain.harvest.planning import CancelPilot, HarvestMode, HarvestSettings, Shape, Situation, SubmitPilot
from harvester.domain.harvest.strict_mode import StrictRules
from harvester.domain.harvest.yielding_mode import YieldingRules, limited


class Rules(Protocol):
    """What a mode allows in one situation."""

    def fitted(self, wish: SubmitPilot, shape: Shape) -> tuple[SubmitPilot | None, str]:
        """Return `wish` as it may be submitted, or why it may not."""
        ...

    def departures(self) -> list[CancelPilot]:
        """Return the pilots that must leave for prime jobs."""
        ...

    def held(self) -> dict[str, str]:
        """Return the pilots that wait and must not be started for now, and why."""
        ...


class PreemptibleRules:
    """The scheduler evicts whoever is in the way, so everything is allowed where it does."""

    def __init__(self, situation: Situation) -> None:
        self._snapshot = situation.snapshot

    def fitted(self, wish: SubmitPilot, shape: Shape) -> tuple[SubmitPilot | None, str]:
        """Return `wish`, or why nobody would evict it: a site may change while the daemon runs."""
        partition = self._snapshot.partition(shape.partition)
        if partition is None or partition.is_preemptible:
            return wish, ""
        why = f": {partition.why_not}" if partition.why_not else ""
        return None, f"mode = preemptible, and pilots are not evicted from partition {partition.name}{why}"

    def departures(self) -> list[CancelPilot]:
        """Return nobody."""
        return []

    def held(self) -> dict[str, str]:
        """Return nobody."""
        return {}


def rules_of(situation: Situation) -> Rules:
    """Return the rules of the situation's mode."""
    mode = situation.settings.mode
    match mode:
        case HarvestMode.PREEMPTIBLE:
            return PreemptibleRules(situation)
        case HarvestMode.STRICT:
            return StrictRules(situation)
        case HarvestMode.YIELDING:
            return YieldingRules(situation)
        case _:
            assert_never(mode)


def settings_of(settings: HarvestSettings) -> HarvestSettings:
    """Return the settings as the mode limits them, for policies that choose lengths."""
    return limited(settings) if settings.mode is HarvestMode.YIELDING else settings
