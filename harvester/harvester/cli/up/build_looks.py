"""How often the scheduler is asked, out of a configuration."""

from __future__ import annotations

from datetime import timedelta

from harvester.config import Config
from harvester.domain.supervision.looks import LookSettings

_STRICT_GLANCE_S = 1.0  # strict promises prime jobs that they are late by at most two seconds


def look_settings(config: Config) -> LookSettings:
    """Return how often the scheduler is asked. The emulated one may be asked at every tick."""
    harvest = config.harvest
    if config.scheduler.kind == "local":
        return LookSettings()
    glances = {"preemptible": None, "strict": _STRICT_GLANCE_S, "yielding": max(1.0, harvest.max_delay_s / 5)}
    glance_s = glances[harvest.mode]
    return LookSettings(
        # Where pilots are wanted without work there is always something to do.
        rest=timedelta(seconds=harvest.look_s if _wants_pilots(config) else harvest.rest_look_s),
        busy=timedelta(seconds=harvest.look_s),
        glance=None if glance_s is None else timedelta(seconds=glance_s),
        # Where prime jobs depend on our looks, they must not wait for a budget.
        per_minute=harvest.commands_per_min if glance_s is None else None,
    )


def _wants_pilots(config: Config) -> bool:
    """Return whether pilots are wanted even while no work waits."""
    return config.harvest.everything or config.harvest.ready > 0 or any(pilot.ready for pilot in config.pilot)
